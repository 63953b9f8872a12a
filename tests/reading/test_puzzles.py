from __future__ import annotations

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.reading.puzzles import PUZZLES, make_prompt, multi_query

TOKENIZER = byte_tokenizer()
TEXT = np.array(TOKENIZER("Once upon a time there was a text. " * 100)["input_ids"])


def read(tokens) -> str:
    return TOKENIZER.decode(tokens)


def prompt(task, *, length=1500, depth=0.5, seed=0):
    puzzle = PUZZLES[task](np.random.default_rng(seed))
    return puzzle, make_prompt(TOKENIZER, puzzle, TEXT, length=length, depth=depth, seed=seed + 1000)


@pytest.mark.parametrize("task", PUZZLES)
@pytest.mark.parametrize("length", [1200, 1501])
@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
def test_a_prompt_has_its_length_and_ends_with_question_and_answer(task, length, depth):
    puzzle, made = prompt(task, length=length, depth=depth)
    assert made.tokens.shape == (length,)
    assert read(made.tokens).endswith(puzzle.question + puzzle.answer)
    assert read(made.tokens[-made.answer :]) == puzzle.answer
    assert read(made.tokens[-made.answer - made.question : -made.answer]) == puzzle.question
    assert all(part in puzzle.answer for part in made.parts)


@pytest.mark.parametrize("task", [task for task in PUZZLES if task != "common-words"])
def test_all_facts_stand_in_the_text_in_their_order_and_the_control_has_none(task):
    for seed in range(5):
        puzzle, made = prompt(task, seed=seed)
        text = read(made.tokens)
        places = [text.index(fact) for fact in puzzle.facts]
        assert places == sorted(places)
        assert made.control.shape == made.tokens.shape
        before = read(made.control[: -made.answer - made.question])
        assert not any(fact in before for fact in puzzle.facts)


@pytest.mark.parametrize("task", ["single", "passkey", "digits", "multi-key"])
def test_the_asked_fact_stands_at_its_depth(task):
    for depth in (0.0, 0.25, 0.5, 1.0):
        puzzle, made = prompt(task, depth=depth)
        place = read(made.tokens).index(puzzle.facts[puzzle.asked])
        others = sum(map(len, puzzle.facts))
        room = 1500 - others - len(puzzle.question) - len(puzzle.answer)
        # Facts before it move it on by their own length.
        assert depth * room - 1 <= place <= depth * room + 1 + others


def test_all_questions_of_a_multi_query_have_one_text_before_them_with_a_fact_at_each_depth():
    depths, length = (0.0, 0.3, 0.9), 1500
    puzzles = [multi_query(np.random.default_rng(4), depths, k) for k in range(3)]
    made = [make_prompt(TOKENIZER, one, TEXT, length=length, depth=depths[one.asked], seed=0) for one in puzzles]
    texts = [read(one.tokens[: -one.answer - one.question]) for one in made]
    shared = min(texts, key=len)
    assert all(text.startswith(shared) for text in texts)
    assert len({one.question for one in puzzles}) == len({one.answer for one in puzzles}) == 3
    for one in puzzles:
        fact = one.facts[one.asked]
        assert one.answer.strip() in fact
        assert shared.index(fact) == pytest.approx(depths[one.asked] * length, abs=0.2 * length)


def test_the_answer_follows_from_the_facts():
    puzzle, _ = prompt("variable-tracking", seed=3)
    holds: dict[str, str] = {}
    for fact in puzzle.facts:
        name, _, value = fact.strip().removeprefix("LET ").rstrip(".").partition(" = ")
        holds[name] = holds.get(value, value)
    value = puzzle.question.split("the value ")[1].split(",")[0]
    assert [name for name, own in holds.items() if own == value] == list(puzzle.parts)
    puzzle, made = prompt("common-words", length=3000, seed=4)
    words = read(made.tokens).split("\n")[0].split()
    most = sorted(set(words), key=words.count)[-5:]
    assert sorted(most) == list(puzzle.parts)


def test_text_that_leaves_no_room_is_refused():
    with pytest.raises(UserError, match="length is 60 tokens; the facts, question and answer of this task alone take"):
        prompt("single", length=60)

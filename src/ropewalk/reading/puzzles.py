"""Retrieval tasks in the manner of RULER (arXiv 2404.06654): facts to hide in a text, and a question whose answer only
they tell. Wording and words are our own; everything is made offline from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from transformers import PreTrainedTokenizerFast

from ropewalk.errors import NoRoomError
from ropewalk.reading.needle import FACT, QUALITIES, QUESTION, THINGS

DISTRACTORS = 3
"""Other keys of `multi-key`, and further values of `multi-value`."""
CHAIN = 4
"""Variables of a chain of `variable-tracking`."""
COMMON, COMMON_TIMES, RARE_TIMES = 5, 12, 2
"""Of `common-words`: how many words are common, and how often these and the others come, as shares of each other."""


@dataclass(frozen=True)
class Puzzle:
    """Facts and a question.

    Attributes:
        facts: texts to hide, in the order in which they are to stand.
        asked: which of them stands at the wanted depth; the others stand anywhere, but in order.
        question: the end of the prompt.
        answer: how it goes on.
        parts: what an answer must hold; each counts.
        words: the text is these, shuffled; empty where facts hide in a text.
        symbols: the text is random ones of these; empty where it is a document.
        depths: where each fact stands, as a share of the text; empty where only the asked one has a place.
    """

    facts: tuple[str, ...]
    asked: int
    question: str
    answer: str
    parts: tuple[str, ...]
    words: tuple[str, ...] = ()
    symbols: str = ""
    depths: tuple[float, ...] = ()


def _names(rng: np.random.Generator, count: int) -> list[str]:
    chosen = rng.choice(len(QUALITIES) * len(THINGS), size=count, replace=False)
    return [f"{QUALITIES[i // len(THINGS)]} {THINGS[i % len(THINGS)]}" for i in chosen]


def _codes(rng: np.random.Generator, count: int) -> list[str]:
    return [str(code) for code in rng.choice(9_000_000, size=count, replace=False) + 1_000_000]


def single(rng: np.random.Generator) -> Puzzle:
    """One code under one name."""
    [name], [code] = _names(rng, 1), _codes(rng, 1)
    return Puzzle((FACT.format(name=name, code=code),), 0, QUESTION.format(name=name), f" {code}", (code,))


def passkey(rng: np.random.Generator) -> Puzzle:
    """Five digits in the fewest words, for models that hold little."""
    key = str(rng.integers(10_000, 100_000))
    return Puzzle((f"\nKEY {key}\n",), 0, "\nKEY", f" {key}", (key,))


def digits(rng: np.random.Generator) -> Puzzle:
    """Digits among digits, asked for by those before them: no words, for models that only learned to copy."""
    key, value = ("".join(map(str, rng.integers(0, 10, size=count))) for count in (12, 8))
    return Puzzle((key + value,), 0, key, value, (value,), symbols="0123456789")


def multi_key(rng: np.random.Generator) -> Puzzle:
    """One of several codes, each under its own name."""
    names, codes = _names(rng, DISTRACTORS + 1), _codes(rng, DISTRACTORS + 1)
    asked = int(rng.integers(DISTRACTORS + 1))
    facts = tuple(FACT.format(name=name, code=code) for name, code in zip(names, codes, strict=True))
    return Puzzle(facts, asked, QUESTION.format(name=names[asked]), f" {codes[asked]}", (codes[asked],))


def multi_value(rng: np.random.Generator) -> Puzzle:
    """Several codes under one name, all asked for in their order."""
    [name], codes = _names(rng, 1), _codes(rng, DISTRACTORS + 1)
    facts = tuple(FACT.format(name=name, code=code) for code in codes)
    question = f"\nWhich {len(codes)} codes were noted down for the {name}, in their order? They are"
    return Puzzle(facts, 0, question, " " + ", ".join(codes), tuple(codes))


def variable_tracking(rng: np.random.Generator) -> Puzzle:
    """A value that is handed on from variable to variable, and another chain beside it."""
    letters = [f"{a}{b}" for a in "BCDFGHJK" for b in "LMNPQRST"]
    names = [letters[i] for i in rng.choice(len(letters), size=2 * CHAIN, replace=False)]
    values = _codes(rng, 2)
    facts = []
    for k in range(CHAIN):
        for chain, value in enumerate(values):
            own = names[chain * CHAIN : (chain + 1) * CHAIN]
            facts.append(f"\nLET {own[k]} = {own[k - 1] if k else value}.\n")
    question = f"\nWhich {CHAIN} variables hold the value {values[0]}, in their order? They are"
    return Puzzle(tuple(facts), 0, question, " " + ", ".join(names[:CHAIN]), tuple(names[:CHAIN]))


def common_words(rng: np.random.Generator) -> Puzzle:
    """A long list of words of which a few come much more often than the others."""
    chosen = [str(word) for word in rng.permutation([*QUALITIES, *THINGS])]
    common, rare = sorted(chosen[:COMMON]), chosen[COMMON:]
    words = tuple(common * COMMON_TIMES + rare * RARE_TIMES)
    question = f"\nWhich {COMMON} words come most often in this list, in the order of the alphabet? They are"
    return Puzzle((), 0, question, " " + ", ".join(common), tuple(common), words)


def multi_query(rng: np.random.Generator, depths: Sequence[float] = (0.5,), asked: int = 0) -> Puzzle:
    """A code at each depth, each under its own name, of which one is asked for; all questions have one text."""
    names, codes = _names(rng, len(depths)), _codes(rng, len(depths))
    facts = tuple(FACT.format(name=name, code=code) for name, code in zip(names, codes, strict=True))
    question = QUESTION.format(name=names[asked])
    return Puzzle(facts, asked, question, f" {codes[asked]}", (codes[asked],), depths=tuple(depths))


PUZZLES: Mapping[str, Callable[[np.random.Generator], Puzzle]] = MappingProxyType(
    {
        "single": single,
        "passkey": passkey,
        "digits": digits,
        "multi-key": multi_key,
        "multi-value": multi_value,
        "variable-tracking": variable_tracking,
        "common-words": common_words,
        "multi-query": multi_query,
    }
)
"""Tasks by name."""


@dataclass(frozen=True)
class Prompt:
    """A text with its question and answer.

    Attributes:
        tokens: ids, shape (length,); the last ``answer`` of them are the answer.
        control: the same without the facts, filled with text, of the same shape; None where there is no text.
        answer: tokens of the answer.
        question: tokens of the question.
        parts: what a generated answer must hold.
    """

    tokens: np.ndarray
    control: np.ndarray | None
    answer: int
    question: int
    parts: tuple[str, ...]


def make_prompt(
    tokenizer: PreTrainedTokenizerFast, puzzle: Puzzle, text: np.ndarray, *, length: int, depth: float, seed: int
) -> Prompt:
    """A prompt of exactly ``length`` tokens, its answer included.

    Args:
        tokenizer: of the model.
        puzzle: what is hidden and asked.
        text: token ids to hide it in, shape (at least ``length``,); its first token may open every text of the model.
        length: tokens of the whole.
        depth: where the asked fact stands, as a share of the text, 0 to 1.
        seed: of the places of other facts, and of the order of words.

    Raises:
        NoRoomError: facts, question and answer leave no room for text.
    """

    def encoded(words: str) -> np.ndarray:
        return np.array(tokenizer(words, add_special_tokens=False)["input_ids"], dtype=np.int64)

    rng = np.random.default_rng(seed)
    facts, question, answer = [encoded(f) for f in puzzle.facts], encoded(puzzle.question), encoded(puzzle.answer)
    fixed = sum(map(len, facts)) + len(question) + len(answer)
    room = length - fixed
    if room < 1:
        raise NoRoomError("the facts, question and answer of this task", length=length, needed=fixed)
    end = np.concatenate([question, answer])
    if puzzle.symbols:
        strewn = encoded("".join(rng.choice(list(puzzle.symbols), size=length)))
        text = np.concatenate([text[:1], np.resize(strewn, length)])
    body = text[: length - len(end)]
    if puzzle.words:
        # As often as the list fits; the counts stay in proportion.
        listed = encoded(" " + " ".join(str(word) for word in rng.permutation(puzzle.words)))
        body = np.concatenate([text[:1], np.resize(listed, length - len(end) - 1)])
        return Prompt(np.concatenate([body, end]), None, len(answer), len(question), puzzle.parts)
    if puzzle.depths:
        # Shares of what does not depend on the question, so that all questions have one text before them.
        whole = length - sum(map(len, facts))
        places = [min(room, max(1, round(share * whole))) for share in puzzle.depths]
    else:
        wanted = max(1, round(depth * room))
        before = np.sort(rng.integers(1, wanted + 1, size=puzzle.asked))
        after = np.sort(rng.integers(wanted, room + 1, size=len(facts) - puzzle.asked - 1))
        places = [*before, wanted, *after]
    pieces, last = [], 0
    for place, fact in zip(places, facts, strict=True):
        pieces += [text[last:place], fact]
        last = int(place)
    tokens = np.concatenate([*pieces, text[last:room], end]).astype(np.int64)
    control = np.concatenate([body, end]).astype(np.int64)
    return Prompt(tokens, control, len(answer), len(question), puzzle.parts)

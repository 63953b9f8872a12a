"""A pocket L-Eval: the seven tasks in the original's format, made offline from invented people and places.

It shows that generation and scoring work where the real documents cannot be had. Its scores say little about a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ropewalk.errors import UserError
from ropewalk.files import whole_folder
from ropewalk.reading.leval.tasks import TASKS
from ropewalk.reading.options import PocketOptions

NAMES = (
    "Abena", "Birk", "Cosima", "Dag", "Elodie", "Farid", "Gretchen", "Hamish", "Ines", "Jarek", "Kalindi", "Ludo",
    "Marisol", "Nils", "Oona", "Pavel", "Quincy", "Rosalind", "Sten", "Tamsin", "Umar", "Vesna", "Wilf", "Yara",
)  # fmt: skip
PLACES = (
    "Ashmere", "Brackwater", "Calder Hythe", "Dunfell", "Eastry Sound", "Fenwick Quay", "Gorsedale", "Hollin Tarn",
    "Inverlay", "Jutting Head", "Kelpton", "Lowmarsh", "Merrow Gate", "Northolm", "Orley Weir", "Penhallow Sands",
)  # fmt: skip
TRADES = (
    "baker", "clockmaker", "cooper", "farrier", "glazier", "lighthouse keeper", "mapmaker", "net maker", "organist",
    "potter", "saddler", "shipwright", "surveyor", "weaver",
)  # fmt: skip
FILLERS = (
    "The rain held off until evening, and the lamps were lit one after another along the quay.",
    "Nobody spoke much on the way, for the road was steep and the wind came straight from the sea.",
    "A cart went by with barrels on it, and two dogs followed it as far as the bridge.",
    "It was the week of the fair, so every window had a ribbon in it and every door stood open.",
    "The tide had left long pools behind, in which the children looked for crabs.",
    "Smoke rose from the chimneys in straight lines, which the old people took for a good sign.",
    "Someone was practising scales on a trumpet, always stopping at the same note.",
    "The post had come late again, and most of it was for the people at the mill.",
)
TOPICS = (
    "keeping bees on a rooftop", "the history of canal locks", "learning to bake rye bread", "caring for old bicycles",
    "how lighthouses were lit", "planning a walk along the coast", "growing tomatoes in the shade",
    "mending a dry stone wall", "choosing a first telescope", "the rules of bell ringing", "restoring a wooden boat",
    "watching bats in summer",
)  # fmt: skip
CONVERSATION = "Let us turn to another topic now: {topic}."
LETTERS = "ABCD"

Value = dict[str, Any]


def write_pocket(folder: str | Path, options: PocketOptions) -> None:
    """Write ``TASK.jsonl`` for the seven tasks into a folder, whole or not at all.

    Raises:
        UserError: there are more questions than facts.
    """
    if options.questions > len(TRADES):
        raise UserError(f"questions is {options.questions}; expected at most {len(TRADES)}.")
    with whole_folder(folder) as out:
        for place, task in enumerate(TASKS):
            lines = []
            for document in range(options.documents):
                rng = np.random.default_rng([options.seed, place, document])
                value = {
                    **MAKERS[task](rng, options.questions, options.words),
                    "source": "ropewalk pocket",
                    "evaluation": "exam",
                }
                lines.append(json.dumps(value, ensure_ascii=False) + "\n")
            (out / f"{task}.jsonl").write_text("".join(lines), encoding="utf-8")


def _value(text: str, asked: list[tuple[str, str]]) -> Value:
    return {"instructions": [one for one, _ in asked], "outputs": [one for _, one in asked], "input": text}


def _drawn(rng: np.random.Generator, known: tuple[str, ...], count: int) -> list[str]:
    return [str(one) for one in rng.choice(known, size=count, replace=False)]


def _padded(rng: np.random.Generator, facts: list[str], words: int) -> str:
    """Facts in their order, spread among sentences that say nothing, up to about so many words."""
    missing = max(0, words - sum(len(fact.split()) for fact in facts))
    fillers = []
    while missing > 0:
        fillers.append(str(rng.choice(FILLERS)))
        missing -= len(fillers[-1].split())
    places = np.sort(rng.integers(0, len(fillers) + 1, size=len(facts)))
    for offset, (place, fact) in enumerate(zip(places, facts, strict=True)):
        fillers.insert(int(place) + offset, fact)
    return " ".join(fillers)


def _people(rng: np.random.Generator, count: int) -> list[tuple[str, str, str]]:
    """Names, where they live, and what they do."""
    columns = (_drawn(rng, known, count) for known in (NAMES, PLACES, TRADES))
    return list(zip(*columns, strict=True))


def _story(rng: np.random.Generator, questions: int, words: int) -> tuple[str, list[tuple[str, str, str]]]:
    people = _people(rng, questions)
    return _padded(rng, [f"{name} lived in {place} and was a {trade}." for name, place, trade in people], words), people


def _options(rng: np.random.Generator, right: list[str], wrong: list[str]) -> tuple[list[str], str]:
    """Four options in random order, and the letters of the right ones."""
    mixed = [str(one) for one in rng.permutation([*right, *wrong])]
    return mixed, "".join(letter for letter, one in zip(LETTERS, mixed, strict=True) if one in right)


def _tpo(rng: np.random.Generator, questions: int, words: int) -> Value:
    text, people = _story(rng, questions, words)
    asked = []
    for name, place, _ in people:
        options, letter = _options(rng, [place], _drawn(rng, tuple(p for p in PLACES if p != place), 3))
        listed = "\n".join(f"{one}. {option}" for one, option in zip(LETTERS, options, strict=True))
        asked.append((f"where did {name} live\n{listed}", letter))
    return _value(text, asked)


def _quality(rng: np.random.Generator, questions: int, words: int) -> Value:
    text, people = _story(rng, questions, words)
    asked = []
    for name, _, trade in people:
        options, letter = _options(rng, [trade], _drawn(rng, tuple(t for t in TRADES if t != trade), 3))
        listed = "\n".join(f" ({one}) {option}" for one, option in zip(LETTERS, options, strict=True))
        asked.append((f"What was the trade of {name}?\n\n{listed}", f"({letter}) {trade}"))
    return _value(text, asked)


def _coursera(rng: np.random.Generator, questions: int, words: int) -> Value:
    facts, asked = [], []
    for number, name in enumerate(_drawn(rng, NAMES, questions), start=1):
        count = int(rng.integers(1, 4))
        places = _drawn(rng, PLACES, 4)
        options, letters = _options(rng, places[:count], places[count:])
        facts += [f"{name} once worked in {place}." for place in places[:count]]
        listed = "\n".join(f"{one}. {option}" for one, option in zip(LETTERS, options, strict=True))
        asked.append((f"Question {number}. In which of these places did {name} work?\n{listed}", letters))
    return _value(_padded(rng, facts, words), asked)


def _sci_fi(rng: np.random.Generator, questions: int, words: int) -> Value:
    wonders = (
        ("the sea is sweet to drink", "sea water is sweet to drink"),
        ("stones float on water", "stones float on water"),
        ("the sun rises in the west", "the sun rises in the west"),
        ("cats speak in whole sentences", "cats speak in whole sentences"),
        ("rain falls upwards", "rain falls upwards"),
        ("snow is warm to the touch", "snow is warm to the touch"),
    )
    places = _drawn(rng, PLACES, questions)
    facts, asked = [], []
    for number, place in enumerate(places, start=1):
        told, statement = wonders[int(rng.integers(len(wonders)))]
        holds = bool(rng.integers(2))
        facts.append(f"In {place}, {told}." if holds else f"In {place}, it is never so that {told}.")
        question = f"{number}. In {place}, {statement}, True or False?"
        asked.append(
            (f"{question} Answer this question based on the world described in the document.", f"{holds} [fact: False]")
        )
    return _value(_padded(rng, facts, words), asked)


def _sum(rng: np.random.Generator) -> tuple[str, str, int]:
    name, (first, second, third) = str(rng.choice(NAMES)), (int(one) for one in rng.integers(2, 40, size=3))
    question = (
        f"{name} has {first} nets with {second} floats each and finds {third} more floats on the beach. "
        "How many floats are there?"
    )
    steps = f"The nets hold {first} * {second} = {first * second} floats.\n{first * second} + {third} makes "
    total = first * second + third
    return question, f"{steps}{total}.", total


def _gsm(rng: np.random.Generator, questions: int, words: int) -> Value:
    def cued(question: str) -> str:
        return f"Question: {question}\nLet's think step by step\n"

    examples: list[str] = []
    while sum(len(one.split()) for one in examples) < words:
        question, steps, total = _sum(rng)
        examples.append(f"{cued(question)}{steps}\nThe answer is {total}\n")
    sums = [_sum(rng) for _ in range(questions)]
    return _value("\n".join(examples) + "\n", [(cued(question), str(total)) for question, _, total in sums])


def _code(rng: np.random.Generator, questions: int, words: int) -> Value:
    functions: list[str] = []
    asked: list[tuple[str, str]] = []
    count = 0
    while count < words or len(functions) < questions:
        number = len(functions)
        factor, shift = (int(one) for one in rng.integers(2, 10, size=2))
        functions.append(
            f"def step_{number}(values):\n"
            f"    # multiplies each value by {factor} and adds {shift}\n"
            f"    return [{factor} * value + {shift} for value in values]\n"
        )
        given = [int(one) for one in rng.integers(1, 20, size=3)]
        call = f"print(step_{number}({given}))"
        asked.append((f"What does this print?\n{call}", str([factor * one + shift for one in given])))
        count += len(functions[-1].split())
    chosen = rng.choice(len(asked), size=questions, replace=False)
    return _value("\n\n".join(functions), [asked[int(one)] for one in chosen])


def _topics(rng: np.random.Generator, questions: int, words: int) -> Value:
    topics = _drawn(rng, TOPICS, 5)
    turns = [
        f"USER: {CONVERSATION.format(topic=topic)}\nASSISTANT: {_padded(rng, [], words // len(topics))}"
        for topic in topics
    ]
    asked = [
        (f"What is the {order} topic we discussed? Reply with the topic only.", topic)
        for order, topic in zip(("first", "second", "third"), topics, strict=False)
    ]
    return _value("\n".join(turns), asked)


MAKERS: Mapping[str, Callable[[np.random.Generator, int, int], Value]] = MappingProxyType(
    {
        "tpo": _tpo,
        "quality": _quality,
        "coursera": _coursera,
        "sci_fi": _sci_fi,
        "gsm100": _gsm,
        "codeU": _code,
        "topic_retrieval_longchat": _topics,
    }
)

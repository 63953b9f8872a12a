"""A fact hidden in a long text, and the question for it at the end: does the model find it again?

After the magic numbers of RULER and LongRoPE2 (arXiv 2502.20082), which finds the NLL of the answer a better guide for
a search than the NLL of documents. Facts and words are our own and made offline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from ropewalk.errors import NoRoomError

QUALITIES = (
    "amber", "brisk", "copper", "distant", "early", "faded", "gentle", "hollow", "ivory", "jagged", "keen", "lofty",
    "mellow", "narrow", "oaken", "pale", "quiet", "rugged", "silent", "tidal", "upper", "violet", "woven", "young",
)  # fmt: skip
THINGS = (
    "anchor", "beacon", "cellar", "dune", "engine", "ferry", "garden", "harbour", "island", "jetty", "kiln", "lantern",
    "meadow", "needle", "orchard", "pier", "quarry", "river", "saddle", "tower", "urn", "valley", "willow", "yard",
)  # fmt: skip
FACT = "\nNote this down, it will be asked for at the end: the code of the {name} is {code}.\n"
QUESTION = "\nWhich code was noted down for the {name}? The code of the {name} is"


@dataclass(frozen=True)
class Haystack:
    """A text with a fact in it and its question at the end.

    Attributes:
        tokens: ids, shape (length,); the last ``answer`` of them are the code that was asked for.
        question: index of the first token of the question.
        answer: tokens of the answer.
        depth: where the fact stands, as a share of the length.
    """

    tokens: np.ndarray
    question: int
    answer: int
    depth: float


def hide(
    tokenizer: PreTrainedTokenizerFast,
    text: np.ndarray,
    length: int,
    *,
    deepest: float,
    rng: np.random.Generator,
    part: int = 0,
    parts: int = 1,
) -> Haystack:
    """Hide a random fact in a text.

    Args:
        tokenizer: of the model.
        text: token ids, shape (at least ``length``,).
        length: tokens of the whole, question and answer included.
        deepest: the fact's depth is uniform between 0 and this share of the length.
        rng: source of randomness.
        part: words come from this part of the lists, so that what one part was tuned on says nothing about another.
        parts: how many parts there are.

    Raises:
        NoRoomError: fact, question and answer leave no room for text.
    """

    def encoded(words: str) -> list[int]:
        ids: list[int] = tokenizer(words, add_special_tokens=False)["input_ids"]
        return ids

    name = f"{rng.choice(QUALITIES[part::parts])} {rng.choice(THINGS[part::parts])}"
    code = str(rng.integers(1_000_000, 10_000_000))
    fact, question, answer = (
        encoded(words) for words in (FACT.format(name=name, code=code), QUESTION.format(name=name), f" {code}")
    )
    room = length - len(fact) - len(question) - len(answer)
    if room < 1:
        raise NoRoomError("a fact, its question and its answer", length=length, needed=length - room)
    depth = float(rng.uniform(0, deepest))
    # After the first token, which may open every text of this model.
    place = min(room, max(1, round(depth * length)))
    tokens = np.concatenate([text[:place], fact, text[place:room], question, answer]).astype(np.int64)
    return Haystack(tokens, length - len(question) - len(answer), len(answer), depth)

"""The rule that turns measurements into an answer.

For each rope but the model's own, two questions, each of which is paired by document with the model's own rope:

- the gain: what the objective of searches says (:func:`ropewalk.search.value.document_values`: the NLL of the answer
  and half that of the tokens beyond the native length), in nats, above 0 where the rope is better;
- the cost: nats a token that texts up to the native length lose.

A rope is to be used if the whole interval of its gain is above 0 and that of its cost within the bound. Intervals are
Student's t over documents, and each of their ends is a bound of its own, at 1 - (1 - confidence) / ropes: the chance
that any rope is recommended that gains nothing or costs too much is at most 1 - confidence. Both questions have to be
answered for that, so that only the ropes are corrected for (Bonferroni), not the questions (Berger, "Multiparameter
Hypothesis Testing and Acceptance Sampling", Technometrics 24, 1982).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ropewalk.extending.measurements import Measured
from ropewalk.intervals import Interval, student
from ropewalk.search.value import document_values

FEWEST = 3
"""Documents below which nothing is decided."""
WORTH = 0.02
"""Nats of gain that are not worth another rope: a rope that surely gains no more is of no use."""

Verdict = Literal["use", "no gain", "too dear", "undecided"]
Answer = Literal["use", "leave it", "too dear", "undecided"]


@dataclass(frozen=True)
class Judged:
    """A rope against the model's own.

    Attributes:
        name: of the rope.
        gain: nats, above 0 where it reads long texts better.
        cost: nats a token that short texts lose.
        verdict: what both say.
    """

    name: str
    gain: Interval
    cost: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Recommendation:
    """The answer.

    Attributes:
        answer: what to do.
        rope: name of the rope to use, or None.
        ties: other ropes that may be used, and of which nobody can say that they are worse.
        judged: each rope but the model's own.
        comparisons: ropes that were corrected for.
        confidence: that no rope is recommended that gains nothing or costs too much.
        documents: that were read with all ropes.
    """

    answer: Answer
    rope: str | None
    ties: tuple[str, ...]
    judged: tuple[Judged, ...]
    comparisons: int
    confidence: float
    documents: int


def recommend(found: Measured, bound: float, confidence: float) -> Recommendation:
    """The answer to measurements.

    Args:
        found: of the model's own rope, first, and others.
        bound: nats a token that short texts may lose.
        confidence: that no rope is recommended that gains nothing or costs too much.
    """
    count, others = len(found.documents), range(1, len(found.names))
    # Two-sided, so that each end is one-sided at half of the rest.
    each = 1 - 2 * (1 - confidence) / max(1, len(others))
    gains = {k: -document_values(found.tail[k], found.answer[k], found.tail[0], found.answer[0]) for k in others}
    judged = tuple(
        _judged(found.names[k], student(gains[k], confidence=each), _cost(found, k, each), bound) for k in others
    )
    answer = _answer([one.verdict for one in judged])
    usable = [k for k, one in zip(others, judged, strict=True) if one.verdict == "use"]
    best = max(usable, key=lambda k: float(gains[k].mean()), default=None)
    ties: tuple[str, ...] = ()
    if best is not None and len(usable) > 1:
        between = 1 - 2 * (1 - confidence) / (len(usable) - 1)
        rest = [k for k in usable if k != best]
        ties = tuple(found.names[k] for k in rest if not student(gains[best] - gains[k], confidence=between).low > 0)
    name = None if best is None else found.names[best]
    return Recommendation(answer, name, ties, judged, len(others), confidence, count)


def _cost(found: Measured, k: int, confidence: float) -> Interval:
    return student(found.short[k] - found.short[0], confidence=confidence)


def _judged(name: str, gain: Interval, cost: Interval, bound: float) -> Judged:
    verdict: Verdict = "undecided"
    if gain.count >= FEWEST and not math.isnan(gain.low):
        if gain.high <= WORTH:
            verdict = "no gain"
        elif cost.low > bound:
            verdict = "too dear"
        elif gain.low > 0 and cost.high <= bound:
            verdict = "use"
    return Judged(name, gain, cost, verdict)


def _answer(verdicts: Sequence[Verdict]) -> Answer:
    """One rope that is to be used is enough; nothing is left alone while a rope might still be of use."""
    if "use" in verdicts:
        return "use"
    if "undecided" in verdicts or not verdicts:
        return "undecided"
    return "too dear" if "too dear" in verdicts else "leave it"

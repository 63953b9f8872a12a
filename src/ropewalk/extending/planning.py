"""What a time is enough for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ropewalk.errors import UserError
from ropewalk.extending.recommendation import FEWEST
from ropewalk.progress import clock
from ropewalk.search.by_hand import TunedYarn

GRID = math.prod(len(few) for few in TunedYarn.constants.values())
"""Ropes of the grid of YaRN's constants, at most."""
TRIALS = 32
"""Of the Bayesian search."""
JUDGED = 5
"""Best ones of either that are read once more, on other documents."""
DOCUMENTS = 2
"""Documents of each corpus that either searches on, and as many to select by."""
ENOUGH = 6
"""Documents to report on that come before any search."""

_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


def seconds(text: str) -> float:
    """A time such as ``90s``, ``20min`` or ``1.5h``, in seconds.

    Raises:
        UserError: it is not one.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|m|min|h)\s*", text)
    if found is None or not float(found[1]):
        raise UserError(f"--budget {text!r}: expected a time, as 20min, 90s or 1.5h.")
    return float(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True)
class Plan:
    """What is done in the time.

    Attributes:
        documents: to report on.
        tuned: whether YaRN's constants are tuned.
        searched: whether a rope is searched.
        seconds: that all of it takes, from now on, by the time of one reading.
        reading: seconds of one reading.
    """

    documents: int
    tuned: bool
    searched: bool
    seconds: float
    reading: float


def plan(
    reading: float, budget: float, *, ropes: int, documents: int, choosing: int, searches: bool, spent: float = 0.0
) -> Plan:
    """What a time is enough for: enough documents to report on come first, then the grid, then the search.

    Args:
        reading: seconds that one document takes with one rope.
        budget: seconds for all.
        ropes: to read each document with, before anything is searched.
        documents: to report on that there are.
        choosing: documents that a trial of a search reads; 0 where there are too few.
        searches: whether searching is possible at all.
        spent: seconds of an earlier run with the same texts.

    Raises:
        UserError: the time is not enough for one document.
    """
    if reading * ropes > budget:
        raise UserError(
            f"--budget {clock(budget)}: one document takes about {clock(reading)} with each of {ropes} ropes; expected "
            f"at least {clock(reading * ropes * FEWEST)}, which is {FEWEST} documents."
        )
    left = budget / reading
    grid = choosing * (GRID + JUDGED + 4)
    search = choosing * (TRIALS + JUDGED + 4)
    first = min(ENOUGH, documents)
    tuned = bool(searches and choosing and left >= first * (ropes + 1) + grid)
    searched = bool(tuned and left >= first * (ropes + 2) + grid + search)
    rest = left - tuned * grid - searched * search
    read = min(documents, max(1, int(rest / (ropes + tuned + searched))))
    passes = read * (ropes + tuned + searched) + tuned * grid + searched * search
    return Plan(read, tuned, searched, max(0.0, passes * reading - spent), reading)

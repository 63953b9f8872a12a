"""Numbers with their intervals, out of the scores of an experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ropewalk.intervals import FEWEST_RESAMPLED, student
from ropewalk.report.scorecard.claim import Evidence, Experiment
from ropewalk.scores import Score, metric_name

Case = Mapping[str | None, Score]
"""The rows of one number, by what their intervals are over."""


def cases(experiment: Experiment, **columns: Any) -> list[dict[str | None, Score]]:
    """The numbers that have these values in these columns."""
    return experiment.scores.by_interval(**columns)


def row_of(case: Case) -> Score:
    """Any row of a number: they differ in their interval alone."""
    return next(iter(case.values()))


def number(experiment: Experiment, **columns: Any) -> float:
    """The only number that has these values in these columns.

    Raises:
        KeyError: there is none.
    """
    row = experiment.scores.one(**columns)
    if row is None or row.value is None:
        raise KeyError(columns["quantity"])
    return row.value


def few_documents(experiment: Experiment) -> bool:
    """Whether an experiment read too few documents for any interval over them to decide."""
    return bool(experiment.setting.get("documents", FEWEST_RESAMPLED) < FEWEST_RESAMPLED)


def over_documents(experiment: Experiment, case: Case, where: str) -> Evidence:
    """A number with its interval over documents; without it where there were too few of them."""
    return covered(experiment, case, ("documents",), where)


def over_both(experiment: Experiment, case: Case, where: str) -> Evidence:
    """A number with what its intervals over documents and over seeds cover together; none where either is missing."""
    return covered(experiment, case, ("documents", "seeds"), where)


def covered(experiment: Experiment, case: Case, over: Sequence[str], where: str) -> Evidence:
    """A number with what its intervals cover together; without bounds where one of them is missing.

    Args:
        experiment: whose number it is.
        case: its rows.
        over: what the intervals are over.
        where: which case it is, in words.
    """
    row, known = row_of(case), [case[name] for name in over if name in case]
    low = high = math.nan
    if len(known) == len(over) and not few_documents(experiment):
        low, high = min(map(_low, known)), max(map(_high, known))
    return Evidence(_value(row), low, high, where, place(row))


def place(row: Score) -> str:
    """Where a number stands in its file: the name of its row."""
    return metric_name(replace(row, over=None))


def over_seeds(
    experiment: Experiment, one: Mapping[int, Score], other: Mapping[int, Score] | None, where: str, unit: float
) -> Evidence:
    """The difference of two numbers that each have a value a seed, with Student's t over the pairs.

    Args:
        experiment: whose numbers they are.
        one: rows by seed.
        other: what to take from them; nothing where None.
        where: which case it is, in words.
        unit: to multiply with.
    """
    pairs = [_value(row) - (_value(other[seed]) if other else 0.0) for seed, row in one.items()]
    key = place(replace(next(iter(one.values())), seed=None))
    return Evidence.of(student(pairs, confidence=experiment.setting["confidence"]), where, key, unit)


def named(experiment: Experiment, recipes: Sequence[str], **about: Any) -> list[str]:
    """The ropes that were made by one of these recipes, in their order, and of which the rest is true too."""
    return [
        rope["rope"]
        for rope in experiment.setting["ropes"]
        if rope["recipe"] in recipes and all(rope[name] == value for name, value in about.items())
    ]


def _value(row: Score) -> float:
    return math.inf if row.value is None else row.value


def _low(row: Score) -> float:
    """Not known where it is beyond all that was measured."""
    return math.nan if row.low is None else row.low


def _high(row: Score) -> float:
    return math.inf if row.high is None else row.high

"""Numbers with their intervals, out of the scores of an experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ropewalk.intervals import student
from ropewalk.report.scorecard.claim import Competence, Evidence, Experiment
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


def evidence(
    experiment: Experiment, case: Case, where: str, competence: Competence | None = None, unit: float = 1.0
) -> Evidence:
    """A number with its interval over the most that varies.

    Args:
        experiment: whose number it is.
        case: its rows.
        where: which case it is, in words.
        competence: of the models behind it.
        unit: to multiply with.
    """
    row = max(case.values(), key=lambda row: len((row.over or "").split()))
    return Evidence(
        unit * (math.inf if row.value is None else row.value),
        unit * (math.nan if row.low is None else row.low),
        # An end beyond all that was measured is left out of scores.
        unit * (row.high if row.high is not None else math.nan if row.low is None else math.inf),
        where,
        place(row),
        experiment.setting["confidence"],
        row.over or "",
        row.freedom,
        row.n_documents,
        row.n_seeds,
        row.n_models,
        competence,
    )


def place(row: Score) -> str:
    """Where a number stands in its file: the name of its row."""
    return metric_name(replace(row, over=None))


def over_seeds(
    experiment: Experiment,
    one: Mapping[int, Score],
    other: Mapping[int, Score] | None,
    where: str,
    unit: float,
    competence: Competence | None = None,
) -> Evidence:
    """The difference of two numbers that each have a value a seed, with Student's t over the pairs.

    Args:
        experiment: whose numbers they are.
        one: rows by seed.
        other: what to take from them; nothing where None.
        where: which case it is, in words.
        unit: to multiply with.
        competence: of the models behind them.
    """
    both = [seed for seed in one if other is None or seed in other]
    pairs = [_value(one[seed]) - (_value(other[seed]) if other else 0.0) for seed in both]
    key = place(replace(next(iter(one.values())), seed=None))
    confidence = experiment.setting["confidence"]
    about: dict[str, Any] = {"confidence": confidence, "over": "seeds", "n_seeds": len(pairs), "competence": competence}
    return Evidence.of(student(pairs, confidence=confidence), where, key, unit, **about)


def named(experiment: Experiment, recipes: Sequence[str], **about: Any) -> list[str]:
    """The ropes that were made by one of these recipes, in their order, and of which the rest is true too."""
    return [
        rope["rope"]
        for rope in experiment.setting["ropes"]
        if rope["recipe"] in recipes and all(rope[name] == value for name, value in about.items())
    ]


def _value(row: Score) -> float:
    return math.inf if row.value is None else row.value

"""Numbers with their intervals, out of the scores of an experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from ropewalk.intervals import FEWEST_RESAMPLED, student
from ropewalk.report.scorecard.claim import Evidence, Experiment


def few_documents(experiment: Experiment) -> bool:
    """Whether an experiment read too few documents for any interval over them to decide."""
    return bool(experiment.setting.get("documents", FEWEST_RESAMPLED) < FEWEST_RESAMPLED)


def over_documents(experiment: Experiment, path: Sequence[str], name: str, where: str) -> Evidence:
    """A number with its interval over documents; without it where there were too few of them.

    Args:
        experiment: where to look.
        path: keys down to the row.
        name: of the number in it, beside ``NAME_low`` and ``NAME_high``.
        where: which case it is, in words.
    """
    row = _row(experiment, path)
    few = few_documents(experiment)
    low, high = (math.nan if few else row.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    return Evidence(row[name], low, high, where, "/".join([*path, name]))


def over_both(experiment: Experiment, path: Sequence[str], name: str, where: str) -> Evidence:
    """A number with what its intervals over documents and over seeds cover together; none where either is missing."""
    row, first = _row(experiment, path), over_documents(experiment, path, name, where)
    low, high = (row.get(f"{name}_seeds_{end}", math.nan) for end in ("low", "high"))
    if math.isnan(first.low + low):
        return Evidence(first.value, math.nan, math.nan, where, first.key)
    return Evidence(first.value, min(first.low, low), max(first.high, high), where, first.key)


def over_seeds(one: Sequence[float], other: Sequence[float], where: str, key: str, unit: float) -> Evidence:
    """The difference of two rows of numbers, one a seed, with Student's t over the pairs."""
    return Evidence.of(student([a - b for a, b in zip(one, other, strict=True)]), where, key, unit)


def named(ropes: Mapping[str, Any], recipes: Sequence[str]) -> list[str]:
    """The ropes that were made by one of these recipes, in their order."""
    return [name for name, recipe in ropes.items() if recipe in recipes]


def _row(experiment: Experiment, path: Sequence[str]) -> dict[str, Any]:
    return dict(reduce(lambda inner, key: inner[key], path, experiment.scores))

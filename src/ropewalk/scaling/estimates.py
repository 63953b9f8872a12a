"""Numbers of a sweep with one interval over all that varies: documents, seeds of the tuning, and pre-trained models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from ropewalk.intervals import FEWEST_RESAMPLED, over_all
from ropewalk.rope.rope import FloatArray


class Run(NamedTuple):
    """Which of several tunings that are alike: a pre-trained model, by its name, and the seed of the tuning."""

    model: str
    seed: int


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, in the unit of what was measured.

    Attributes:
        value: infinite where it lies beyond all that was measured.
        low: lower end; nan without an interval.
        high: upper end.
        over: what the interval is over, in words.
        freedom: degrees of freedom of Student's t; None where the interval was resampled.
        n_documents: documents behind it.
        n_seeds: seeds of the tuning.
        n_models: pre-trained models.
    """

    value: float
    low: float
    high: float
    over: str
    freedom: float | None
    n_documents: int
    n_seeds: int
    n_models: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    @property
    def repetitions(self) -> str:
        """What lies behind the number, in words."""
        counts = {"document": self.n_documents, "seed": self.n_seeds, "model": self.n_models}
        return ", ".join(f"{n:,} {what}{'s' if n != 1 else ''}" for what, n in counts.items())

    def exponential(self) -> Estimate:
        """The exponential of the number and of its ends: from the logarithm of a length to the length."""
        return replace(self, value=math.exp(self.value), low=math.exp(self.low), high=math.exp(self.high))

    def per(self, value: float) -> Estimate:
        """The ratio to a number above zero."""
        return replace(self, value=self.value / value, low=self.low / value, high=self.high / value)


def mean(values: Mapping[Run, FloatArray], confidence: float) -> Estimate:
    """The mean of numbers that each document has.

    Args:
        values: shape (documents,), the same documents for all.
        confidence: probability that the interval is to cover.
    """
    found, over = over_all(_by_model(values), confidence=confidence)
    known = found.count >= found.fewest
    ends = (found.low, found.high) if known else (math.nan, math.nan)
    freedom = found.freedom if over != "documents" else None
    return Estimate(found.mean, *ends, over, freedom, found.count, *_counts(values))


def resampled(
    values: Mapping[Run, FloatArray],
    documents: int,
    confidence: float,
    scatter: Sequence[tuple[float, float]] = (),
) -> Estimate:
    """The mean of a statistic of many documents, which none of them has alone, like a limit.

    Its variance is that of models' means (of seeds, where there is one model) and that over resamples of the documents
    together, as in :func:`ropewalk.intervals.crossed`, with Satterthwaite's degrees of freedom.

    Args:
        values: shape (1 + resamples,): the statistic of all documents, then of each resample, the same resamples for
            all.
        documents: how many.
        confidence: probability that the interval is to cover.
        scatter: variances of the mean from elsewhere, each with its degrees of freedom; nan where one is not known, and
            then there is no interval.
    """
    models = _by_model(values)
    rows = np.stack([one.mean(axis=0) for one in models]) if len(models) > 1 else models[0]
    parts = [(float(rows[:, 1:].mean(axis=0).var()), documents - 1.0), *scatter]
    over = "documents"
    if len(rows) > 1:
        parts.append((float(rows[:, 0].var(ddof=1)) / len(rows), len(rows) - 1.0))
        over = "documents, seeds and models" if len(models) > 1 else "documents and seeds"
    value, counts = float(rows[:, 0].mean()), _counts(values)
    total = sum(variance for variance, _ in parts)
    if documents < FEWEST_RESAMPLED or math.isnan(total):
        return Estimate(value, math.nan, math.nan, over, None, documents, *counts)
    if total == 0:
        return Estimate(value, value, value, over, None, documents, *counts)
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in parts)
    half = float(-stdtrit(freedom, (1 - confidence) / 2)) * math.sqrt(total)
    return Estimate(value, value - half, value + half, over, freedom, documents, *counts)


def differences(one: Mapping[Run, FloatArray], other: Mapping[Run, FloatArray]) -> dict[Run, FloatArray]:
    """The first less the second, of the runs that both have, so that nothing else differs."""
    return {run: one[run] - other[run] for run in one if run in other}


def _by_model(values: Mapping[Run, FloatArray]) -> list[FloatArray]:
    """For each model, shape (seeds, …)."""
    models = sorted({run.model for run in values})
    return [np.stack([values[run] for run in sorted(values) if run.model == model]) for model in models]


def _counts(values: Mapping[Run, FloatArray]) -> tuple[int, int]:
    return len({run.seed for run in values}), len({run.model for run in values})

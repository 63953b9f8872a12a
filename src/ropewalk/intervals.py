"""Means with their intervals: over documents by the bootstrap, over the few seeds of a training by Student's t."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtrit

RESAMPLES = 10_000
CONFIDENCE = 0.95
FEWEST_RESAMPLED = 6
"""Values below which no bootstrap interval decides anything: it is too narrow for so few."""


@dataclass(frozen=True)
class Interval:
    """A mean with its interval, in the unit of what was averaged.

    Attributes:
        mean: of the values.
        low: lower end; nan where there are fewer than two values.
        high: upper end.
        count: how many values.
        fewest: values that it takes to decide anything.
    """

    mean: float
    low: float
    high: float
    count: int
    fewest: int

    @property
    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero, and there are values enough to say so."""
        return self.count >= self.fewest and (self.low > 0 or self.high < 0)


def bootstrap(values: ArrayLike, *, confidence: float = CONFIDENCE, seed: int = 0) -> Interval:
    """Mean and expanded percentile interval over 10,000 resamples, for values that may be skewed: one a document.

    The percentile interval is too narrow for few values, so its tails are taken further out, by what Student's t
    differs from the normal (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69,
    2015), and fewer than six values decide nothing.

    Args:
        values: shape (count,).
        confidence: probability that the interval is to cover.
        seed: of the resampling. The same seed and count draw the same places, so intervals of different quantities
            are comparable.
    """
    known = np.asarray(values, dtype=np.float64)
    if len(known) < 2:
        return _without_interval(known, FEWEST_RESAMPLED)
    means = known[_draws(len(known), seed)].mean(axis=1)
    t = stdtrit(len(known) - 1, (1 - confidence) / 2)
    tail = 100 * ndtr(t * math.sqrt(len(known) / (len(known) - 1)))
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(known.mean()), float(low), float(high), len(known), FEWEST_RESAMPLED)


def student(values: ArrayLike, *, confidence: float = CONFIDENCE) -> Interval:
    """Mean and Student's t interval, for values that are nearly normal and too few to resample: one a seed.

    Args:
        values: shape (count,).
        confidence: probability that the interval is to cover.
    """
    known = np.asarray(values, dtype=np.float64)
    if len(known) < 2:
        return _without_interval(known, 2)
    half = -stdtrit(len(known) - 1, (1 - confidence) / 2) * known.std(ddof=1) / math.sqrt(len(known))
    mean = float(known.mean())
    return Interval(mean, mean - float(half), mean + float(half), len(known), 2)


def _without_interval(values: np.ndarray, fewest: int) -> Interval:
    only = float(values[0]) if len(values) else math.nan
    return Interval(only, math.nan, math.nan, len(values), fewest)


@lru_cache(maxsize=8)
def _draws(count: int, seed: int) -> np.ndarray:
    """The places of each resample, shape (10,000, count): drawn once for all quantities of a table."""
    return np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count))

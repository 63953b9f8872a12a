"""Means with their intervals: over documents by the bootstrap, over few seeds by Student's t, and over both, or
models too, by the variance of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtrit

from ropewalk.options import CONFIDENCE

RESAMPLES = 10_000
CURVE_RESAMPLES = 2_000
FEWEST_RESAMPLED = 6
"""Values below which no bootstrap interval decides anything: it is too narrow for so few."""
_VALUES_AT_A_TIME = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A mean with its interval, in the unit of what was averaged.

    Attributes:
        mean: of the values.
        low: lower end; nan where there are fewer than two values.
        high: upper end.
        count: how many values.
        fewest: values that it takes to decide anything.
        freedom: degrees of freedom of Student's t, where they are not one less than the values.
    """

    mean: float
    low: float
    high: float
    count: int
    fewest: int
    freedom: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero, and there are values enough to say so."""
        return self.count >= self.fewest and (self.low > 0 or self.high < 0)

    def columns(self, name: str) -> dict[str, float]:
        """The mean and its bounds as columns of a table: ``NAME``, ``NAME_low`` and ``NAME_high``."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}

    def exponential(self) -> Interval:
        """The exponential of the mean and of its bounds: from nats a token to perplexity."""
        return replace(self, mean=math.exp(self.mean), low=math.exp(self.low), high=math.exp(self.high))

    def better(self, *, lower: bool = True) -> str:
        """What a difference says of the first of two: yes or no where the interval excludes zero, and else open.

        Args:
            lower: a smaller value is the better one, as of NLL; not so of accuracy.
        """
        if not self.excludes_zero:
            return "open"
        return "yes" if (self.mean < 0) == lower else "no"


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
    tail = _expanded_tail(len(known), confidence)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(known.mean()), float(low), float(high), len(known), FEWEST_RESAMPLED)


def resample_curves(
    curves: ArrayLike, statistic: Callable[[np.ndarray], np.ndarray], *, resamples: int = CURVE_RESAMPLES, seed: int = 0
) -> np.ndarray:
    """A statistic of the mean curve over documents: first of all of them, then of each bootstrap resample.

    Args:
        curves: shape (documents, positions).
        statistic: maps mean curves, shape (resamples, positions), to numbers, shape (resamples, …).
        resamples: how many.
        seed: of the resampling. The same seed and number of documents draw the same places, so that statistics of
            several models are resampled together.

    Returns:
        Shape (1 + resamples, …).
    """
    known = np.asarray(curves, dtype=np.float64)
    places = np.random.default_rng(seed).integers(0, len(known), size=(resamples, len(known)))
    weights = np.apply_along_axis(np.bincount, 1, places, minlength=len(known)) / len(known)
    # In parts: all resamples of a long curve would not fit into memory.
    part = max(1, _VALUES_AT_A_TIME // known.shape[1])
    parts = [statistic(weights[i : i + part] @ known) for i in range(0, resamples, part)]
    return np.concatenate([statistic(known.mean(axis=0, keepdims=True)), *parts])


def quantile_interval(draws: np.ndarray, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The expanded percentile interval of resampled values that may be infinite; nan for fewer than six documents.

    Args:
        draws: shape (resamples,).
        count: documents behind each.
        confidence: probability that the interval is to cover.
    """
    if count < FEWEST_RESAMPLED:
        return math.nan, math.nan
    tail = _expanded_tail(count, confidence)
    # An order statistic, since infinite values cannot be averaged.
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def _expanded_tail(count: int, confidence: float) -> float:
    t = stdtrit(count - 1, (1 - confidence) / 2)
    return float(ndtr(t * math.sqrt(count / (count - 1))))


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


def crossed(values: ArrayLike, *, confidence: float = CONFIDENCE) -> Interval:
    """Mean and interval over repetitions and documents at once: another repetition would differ, and other documents.

    The variance of the mean is that of repetitions' means and that of documents' means together, as for errors that are
    clustered both ways (Cameron, Gelbach and Miller, "Robust Inference With Multiway Clustering", Journal of Business &
    Economic Statistics 29, 2011), without the subtraction of what both have in common, which makes it wider rather than
    narrower. Student's t has the degrees of freedom of Satterthwaite ("An Approximate Distribution of Estimates of
    Variance Components", Biometrics Bulletin 2, 1946).

    Args:
        values: shape (repetitions, documents), of seeds or of models; every repetition has all documents.
        confidence: probability that the interval is to cover.

    Returns:
        Of as many values as there are documents; without ends for one repetition, or fewer than six documents.
    """
    known = np.asarray(values, dtype=np.float64)
    repetitions, documents = known.shape
    mean = float(known.mean()) if known.size else math.nan
    if repetitions < 2 or documents < FEWEST_RESAMPLED:
        return Interval(mean, math.nan, math.nan, documents, FEWEST_RESAMPLED)
    parts = [known.mean(axis=1), known.mean(axis=0)]
    variances = np.array([part.var(ddof=1) / len(part) for part in parts])
    total = float(variances.sum())
    if total == 0:
        return Interval(mean, mean, mean, documents, FEWEST_RESAMPLED)
    freedom = total**2 / sum(v**2 / (len(part) - 1) for v, part in zip(variances, parts, strict=True))
    half = float(-stdtrit(freedom, (1 - confidence) / 2)) * math.sqrt(total)
    return Interval(mean, mean - half, mean + half, documents, FEWEST_RESAMPLED, float(freedom))


def nested(models: Sequence[ArrayLike], *, confidence: float = CONFIDENCE) -> Interval:
    """Mean and interval over models, their seeds and documents; over seeds and documents where there is one model.

    Seeds belong to their model: the mean of a model's seeds varies with both, so that means of models hold all.

    Args:
        models: for each model, shape (seeds, documents), of the same documents.
        confidence: probability that the interval is to cover.
    """
    each = [np.asarray(values, dtype=np.float64) for values in models]
    rows = np.stack([values.mean(axis=0) for values in each]) if len(each) > 1 else each[0]
    return crossed(rows, confidence=confidence)


def over_all(models: Sequence[ArrayLike], *, confidence: float = CONFIDENCE) -> tuple[Interval, str]:
    """Mean and interval over everything of which there are several, and what that is, in words.

    Args:
        models: as of :func:`nested`; of a single model with a single seed, the interval is over documents alone.
        confidence: probability that the interval is to cover.
    """
    each = [np.asarray(values, dtype=np.float64) for values in models]
    if len(each) > 1:
        return nested(each, confidence=confidence), "documents, seeds and models"
    if len(each[0]) > 1:
        return crossed(each[0], confidence=confidence), "documents and seeds"
    return bootstrap(each[0][0], confidence=confidence), "documents"


def _without_interval(values: np.ndarray, fewest: int) -> Interval:
    only = float(values[0]) if len(values) else math.nan
    return Interval(only, math.nan, math.nan, len(values), fewest)


@lru_cache(maxsize=8)
def _draws(count: int, seed: int) -> np.ndarray:
    """The places of each resample, shape (10,000, count): drawn once for all quantities of a table."""
    return np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count))

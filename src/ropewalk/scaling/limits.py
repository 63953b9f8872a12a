"""How far a model reads before it breaks, from ``nll.parquet``.

The scaling laws' paper (arXiv 2310.05209) names no threshold for its maximum supported context. Here it is the position
from which reading everything costs more than a threshold against reading only the last tokens: a model that merely
fails to profit from a longer context has not broken. Perplexity of the first L tokens, which the paper plots, lags
behind, since sound early positions dilute it; its limit is a rule of its own.

Where a noisy curve first exceeds a threshold is early by chance, the more so the further its wall. So limits are read
off the non-decreasing curve that is nearest to the measured one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.intervals import resample_curves
from ropewalk.rope.rope import FloatArray


@dataclass(frozen=True)
class Curves:
    """NLL by document and position, in nats, for one model.

    Attributes:
        full: given everything before the token, shape (documents, positions); column i is position i + 1.
        windowed: given only the last tokens.
        documents: names of the rows.
    """

    full: FloatArray
    windowed: FloatArray
    documents: tuple[str, ...]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Curves:
        """Read the longest pass of ``nll.parquet``.

        Raises:
            UserError: there is no window to compare with.
        """
        if "window_nll" not in rows:
            raise UserError("no window_nll in this nll.parquet; read with the option window.")
        longest = rows[rows["pass_length"] == rows["pass_length"].max()]
        full, documents = nll_by_document(longest)
        return cls(full, nll_by_document(longest, "window_nll")[0], documents)

    @property
    def length(self) -> int:
        """Tokens of each text."""
        return self.full.shape[1] + 1

    @property
    def degradation(self) -> FloatArray:
        """What reading everything costs against the last tokens, in nats, shape (documents, positions)."""
        return self.full - self.windowed

    def mean_to(self, length: int) -> FloatArray:
        """Mean NLL of each document's first ``length`` tokens, in nats."""
        return np.asarray(self.full[:, : length - 1].mean(axis=1))


def nll_by_document(rows: pd.DataFrame, column: str = "nll") -> tuple[FloatArray, tuple[str, ...]]:
    """NLL in nats of one pass, shape (documents, positions), and the names of the documents."""
    wide = rows.pivot(index=["corpus", "document"], columns="position", values=column)
    return wide.to_numpy(np.float64), tuple(f"{corpus}/{document}" for corpus, document in wide.index)


def crossings(curves: FloatArray, thresholds: Sequence[float]) -> FloatArray:
    """How many values stand before the nearest non-decreasing curve exceeds each threshold.

    That curve, the isotonic regression by least squares, exceeds t from where the sum of all values less t is least
    (the switch relation: Groeneboom and Jongbloed, "Nonparametric Estimation under Shape Constraints", 2014). It needs
    no width to smooth over.

    Args:
        curves: shape (…, positions).
        thresholds: in the unit of the curves.

    Returns:
        Infinite where it never does, shape (…, thresholds).
    """
    count = curves.shape[-1]
    sums = np.concatenate([np.zeros_like(curves[..., :1]), np.cumsum(curves, axis=-1)], axis=-1)
    places = np.arange(count + 1)
    least = np.stack([(sums - threshold * places).argmin(axis=-1) for threshold in thresholds], axis=-1)
    return np.where(least < count, least, np.inf)


def degradation_draws(curves: Curves, thresholds: Sequence[float]) -> FloatArray:
    """Limits by degradation: the first position where it exceeds each threshold.

    Args:
        curves: of one model.
        thresholds: nats a token.

    Returns:
        Tokens, infinite where it never does, shape (1 + resamples, thresholds): of all documents first, then of each
        bootstrap resample. Models that were measured on the same documents are resampled together.
    """
    return resample_curves(curves.degradation, lambda means: crossings(means, thresholds) + 1)


def perplexity_draws(curves: Curves, length: int, ratio: float) -> FloatArray:
    """Limits by perplexity: the first L with ``ratio`` times the perplexity of the first ``length`` tokens.

    Args:
        curves: of one model.
        length: the tuning length, in tokens; L is above it.
        ratio: of perplexities.

    Returns:
        Tokens, shape (1 + resamples,), as in :func:`degradation_draws`.
    """

    def limits(means: FloatArray) -> FloatArray:
        to_here = np.cumsum(means, axis=1) / np.arange(1, means.shape[1] + 1)
        # The mean over positions 1 .. L - 1 stands at index L - 2.
        rise = to_here[:, length - 1 :] - to_here[:, length - 2 : length - 1]
        return crossings(rise, [math.log(ratio)])[:, 0] + length + 1

    return resample_curves(curves.full, limits)

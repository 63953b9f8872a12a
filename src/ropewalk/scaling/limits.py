"""How far a model reads before it breaks, from ``nll.parquet``.

The scaling laws' paper (arXiv 2310.05209) names no threshold for its maximum supported context. Here it is the first
position from which reading everything costs more than a threshold against reading only the last tokens: a model that
merely fails to profit from a longer context has not broken. Perplexity of the first L tokens, which the paper plots,
lags behind, since sound early positions dilute it; its limit is given for comparison.
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
        wide = longest.pivot(index=["corpus", "document"], columns="position", values=["nll", "window_nll"])
        full, windowed = (wide[column].to_numpy(np.float64) for column in ("nll", "window_nll"))
        return cls(full, windowed, tuple(f"{corpus}/{document}" for corpus, document in wide.index))

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


def smoothed(curve: FloatArray, width: int) -> FloatArray:
    """The mean of each ``width`` neighbours along the last axis; entry i is about position i + 1 + width // 2."""
    sums = np.cumsum(curve, axis=-1, dtype=np.float64)
    before = np.concatenate([np.zeros_like(sums[..., :1]), sums[..., :-width]], axis=-1)
    return (sums[..., width - 1 :] - before) / width


def degradation_draws(curves: Curves, thresholds: Sequence[float], smoothing: int) -> FloatArray:
    """Limits by degradation: the first position where its moving mean exceeds each threshold.

    Args:
        curves: of one model.
        thresholds: nats a token.
        smoothing: positions in the moving mean; a limit is the middle of the first such window.

    Returns:
        Tokens, infinite where it never does, shape (1 + resamples, thresholds): of all documents first, then of each
        bootstrap resample. Models that were measured on the same documents are resampled together.

    Raises:
        UserError: the texts are not longer than the moving mean.
    """
    if smoothing >= curves.length - 1:
        raise UserError(f"smoothing is {smoothing}; expected less than the {curves.length - 1} scored tokens.")

    def limits(means: FloatArray) -> FloatArray:
        middles = smoothed(means, smoothing)
        return np.stack([first_above(middles, threshold, 1 + smoothing // 2) for threshold in thresholds], axis=1)

    return resample_curves(curves.degradation, limits)


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
        return first_above(rise, math.log(ratio), length + 1)

    return resample_curves(curves.full, limits)


def first_above(curves: FloatArray, threshold: float, offset: int) -> FloatArray:
    """Index along the last axis, plus ``offset``, of the first value above ``threshold``; infinite without one."""
    above = curves > threshold
    return np.where(above.any(axis=-1), above.argmax(axis=-1) + offset, np.inf)

"""Angles, cosines and sines at positions, computed so that large positions lose nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ropewalk.rope.rope import FloatArray, Rope

# A wavelength this close to a whole number of tokens was rounded to it.
_INTEGER_TOLERANCE = 1e-9


def turn_fractions(rope: Rope, positions: ArrayLike) -> FloatArray:
    """Return the angle of every pair at every position as a fraction of a turn in [0, 1), shape (positions, pairs).

    A pair whose wavelength w is a whole number of tokens repeats exactly, so its fraction is (m mod w) / w: no product
    of a large position and a rounded frequency is ever formed (Resonance RoPE's cached table). The other pairs use
    m * inv_freq / (2 pi) in float64.
    """
    m = np.asarray(positions, dtype=np.float64).reshape(-1, 1)
    wavelengths = rope.wavelengths
    rounded = np.round(wavelengths)
    with np.errstate(invalid="ignore"):  # inf - inf, for pairs that do not rotate
        whole = np.abs(wavelengths - rounded) <= np.maximum(_INTEGER_TOLERANCE, 4 * np.spacing(wavelengths))
    fractions = np.empty((m.shape[0], rope.pairs))
    fractions[:, whole] = np.mod(m, rounded[whole]) / rounded[whole]
    fractions[:, ~whole] = np.mod(m * (rope.inv_freq[~whole] / (2 * np.pi)), 1.0)
    return fractions


def angles(rope: Rope, positions: ArrayLike) -> FloatArray:
    """Return the angle of every pair at every position, in radians within [0, 2 pi), shape (positions, pairs)."""
    return 2 * np.pi * turn_fractions(rope, positions)


def cos_sin(rope: Rope, positions: ArrayLike, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (cos, sin) times the attention factor, each of shape (positions, pairs).

    Only the finished values are rounded to ``dtype``; the angles are float64.
    """
    angle = angles(rope, positions)
    return (
        (np.cos(angle) * rope.attention_factor).astype(dtype),
        (np.sin(angle) * rope.attention_factor).astype(dtype),
    )

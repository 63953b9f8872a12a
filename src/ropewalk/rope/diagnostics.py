"""What a rotary table will do to a model, read from the table alone.

The gaps between the angles of training and of testing come from Resonance RoPE (arXiv 2403.00071, equation 8) and
LongRoPE2 (arXiv 2502.20082, equation 10). All scores weigh the pairs equally.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ropewalk.errors import UserError
from ropewalk.rope.rope import FloatArray, Rope, as_integer
from ropewalk.rope.tables import turn_fractions
from ropewalk.rope.theory import critical_dimension, critical_pairs

StoredType = Literal["float32", "bfloat16", "float16"]

# Bins of the circle for g_w1; its value moves by less than 1e-4 from 256 bins upwards.
_BINS = 512
# Distances, in tokens, over which r_ker compares the local kernels.
_LOCAL_DISTANCES = np.arange(1, 65)


def feature_gap(rope: Rope, train_length: int, test_length: int, *, trained: Rope | None = None) -> FloatArray:
    """Return per pair how far the worst test position is from the nearest training position (chord, 0 to 2).

    max over n in [L, L') of min over m in [0, L) of |exp(i m theta) - exp(i n theta)|, equation 8 of Resonance RoPE
    (arXiv 2403.00071) on unit vectors. Zero means that every test rotation was seen in training.

    Args:
        rope: the rope used at positions train_length .. test_length - 1.
        train_length: L, in tokens.
        test_length: L', in tokens; above L.
        trained: the rope of training, where it was another one; by default the same.
    """
    train_length = as_integer("train_length", train_length, at_least=1)
    test_length = as_integer("test_length", test_length, at_least=train_length + 1)
    seen = turn_fractions((trained or rope).at(train_length), np.arange(train_length))
    met = turn_fractions(rope.at(test_length), np.arange(train_length, test_length))
    return np.array([2 * math.sin(math.pi * _widest(a, b)) for a, b in zip(seen.T, met.T, strict=True)])


def _widest(seen: FloatArray, met: FloatArray) -> float:
    """Return the largest circular distance, in turns, from a value of ``met`` to its nearest in ``seen``."""
    seen = np.unique(seen)
    ring = np.concatenate([[seen[-1] - 1], seen, [seen[0] + 1]])
    after = np.searchsorted(ring, met).clip(1, ring.size - 1)
    return float(np.minimum(np.abs(ring[after] - met), np.abs(met - ring[after - 1])).max())


def wavelength_lcm(rope: Rope, length: int | None = None) -> int:
    """Return the tokens after which all pre-critical pairs, wavelengths rounded, repeat together.

    The least common multiple of the rounded wavelengths that are at most ``length`` (Resonance RoPE, arXiv 2403.00071,
    section 3.2).

    Args:
        rope: the rope.
        length: tokens; the original length where not given.
    """
    count = rope.original_length if length is None else length
    rounded = np.round(rope.wavelengths[rope.wavelengths <= count])
    return math.lcm(*(max(1, int(wavelength)) for wavelength in rounded))


def g_arc(rope: Rope, length: int, *, trained: Rope | None = None) -> float:
    """Return the mean share of the circle that ``length`` tokens reach and training did not.

    mean_i max(0, min(L' theta'_i, 2pi) - min(L theta_i, 2pi)) / 2pi (LongRoPE2, arXiv 2502.20082, equation 10).

    Args:
        rope: the rope used at ``length``.
        length: L', in tokens.
        trained: the rope of training over the original length; by default the original table.
    """
    seen = np.minimum(_trained(rope, trained).turns, 1)
    reached = np.minimum(length * rope.at(length).inv_freq / (2 * np.pi), 1)
    return float(np.maximum(0, reached - seen).mean())


def g_w1(rope: Rope, length: int, *, trained: Rope | None = None) -> float:
    """Return the mean circular Wasserstein-1 distance, in radians, of the angles at ``length`` from those of training.

    The law of delta * theta mod 2pi over the token distances delta = 0 .. L-1, weighted by the number L - delta of
    causal pairs at that distance. W1 on the circle is the mean of |D - median D| * 2pi, D the difference of the two
    distribution functions. Distances are whole tokens, so a rounded wavelength w has only w angles: compare a rounded
    rope with a rounded ``trained``.

    Args:
        rope: the rope used at ``length``.
        length: L', in tokens.
        trained: the rope of training over the original length; by default the original table.
    """
    return float(pair_mismatch(rope, length, trained=trained).mean())


def pair_mismatch(rope: Rope, length: int, *, trained: Rope | None = None) -> FloatArray:
    """Return what each pair adds to :func:`g_w1`, in radians, shape (pairs,)."""
    length = as_integer("length", length, at_least=1)
    before = _angle_distribution(_trained(rope, trained), rope.original_length)
    after = _angle_distribution(rope.at(length), length)
    difference = after - before
    difference -= np.median(difference, axis=1, keepdims=True)
    return np.asarray(np.abs(difference).mean(axis=1) * 2 * np.pi)


def _angle_distribution(rope: Rope, length: int) -> FloatArray:
    """Return the distribution function of the weighted angles on _BINS bins, shape (pairs, bins)."""
    distances = np.arange(length)
    weights = (length - distances) / (length * (length + 1) / 2)
    bins = np.minimum((turn_fractions(rope, distances) * _BINS).astype(np.intp), _BINS - 1)
    return np.cumsum([np.bincount(column, weights, _BINS) for column in bins.T], axis=1)


def r_fisher(rope: Rope) -> float:
    """Return the loss of local curvature, 1 - sum theta'_i^2 / sum theta_i^2; 0 for the original table.

    theta_i^2 is the curvature of cos(delta theta_i) at distance 0, so the fastest pairs rule it.

    Args:
        rope: the rope.
    """
    return float(1 - np.square(rope.inv_freq).sum() / np.square(rope.original_inv_freq).sum())


def r_ker(rope: Rope) -> float:
    """Return the distortion of the local kernel B(delta) = mean_i cos(delta theta_i); 0 for the original table.

    sqrt(sum_delta p (B'(delta) - B(delta))^2) over delta = 1 .. 64 tokens with p proportional to 1/delta.

    Args:
        rope: the rope.
    """
    return kernel_distortion(local_kernel(rope.inv_freq), local_kernel(rope.original_inv_freq))


def local_kernel(inv_freq: FloatArray) -> FloatArray:
    """Return B(delta) = mean_i cos(delta theta_i) at delta = 1 .. 64 tokens, shape (64,)."""
    return np.asarray(np.cos(np.outer(_LOCAL_DISTANCES, inv_freq)).mean(axis=1))


def kernel_distortion(changed: FloatArray, original: FloatArray) -> float:
    """Return :func:`r_ker` of two kernels of :func:`local_kernel`."""
    return float(np.sqrt(np.average(np.square(changed - original), weights=1 / _LOCAL_DISTANCES)))


def phase_error(rope: Rope, positions: ArrayLike, dtype: StoredType) -> float:
    """Return the largest error of an angle, in radians, when ``inv_freq`` is stored in ``dtype``.

    The product with the position is taken as exact, so this is the error of storage alone.

    Args:
        rope: the rope.
        positions: the positions that matter; only the largest magnitude counts.
        dtype: "float32", "bfloat16" or "float16".
    """
    if dtype == "bfloat16":
        stored = _bfloat16(rope.inv_freq)
    elif dtype in ("float32", "float16"):
        stored = rope.inv_freq.astype(dtype).astype(np.float64)
    else:
        raise UserError(f"dtype is {dtype!r}; expected 'float32', 'bfloat16' or 'float16'.")
    return float(np.abs(np.asarray(positions)).max() * np.abs(stored - rope.inv_freq).max())


def _bfloat16(values: FloatArray) -> FloatArray:
    """Round through float32 to bfloat16 (its upper 16 bits), half to even."""
    bits = values.astype(np.float32).view(np.uint32)
    bits = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)


def summary(rope: Rope, length: int, *, trained: Rope | None = None) -> dict[str, Any]:
    """Return the headline numbers of ``rope`` at ``length`` tokens, one table row.

    Without ``trained`` the feature gaps take the rope itself as the table of training, as their equation does, and
    g_arc and g_w1 take the original table, as theirs do. Pairs that do not rotate count for no wavelength or factor.

    Args:
        rope: the rope used at ``length``.
        length: the target length in tokens; above the original length.
        trained: the rope of training over the original length, where the model was trained on another one.
    """
    current = rope.at(length)
    rotating = current.inv_freq > 0
    gaps = feature_gap(rope, rope.original_length, length, trained=trained)
    pre_critical = critical_pairs(current)
    return {
        "method": " + ".join(step.method for step in rope.steps) or "default",
        "length": length,
        "attention_factor": current.attention_factor,
        "critical_dimension": critical_dimension(rope.rotary_dim, rope.base, rope.original_length),
        "pre_critical_pairs": pre_critical,
        "rotating_pairs": int(np.count_nonzero(rotating)),
        "slowest_wavelength": float(current.wavelengths[rotating].max(initial=0)),
        "largest_factor": float(current.factors[rotating].max(initial=0)),
        "gap_total": float(gaps.sum()),
        "gap_pre_critical": float(gaps[current.wavelengths <= rope.original_length].sum()),
        "g_arc": g_arc(rope, length, trained=trained),
        "g_w1": g_w1(rope, length, trained=trained),
        "r_fisher": r_fisher(current),
        "r_ker": r_ker(current),
        "phase_error_float32": phase_error(current, length, "float32"),
        "phase_error_bfloat16": phase_error(current, length, "bfloat16"),
    }


def _trained(rope: Rope, trained: Rope | None) -> Rope:
    if trained is None:
        return Rope(rope.rotary_dim, rope.base, rope.original_length, rope.original_inv_freq)
    return trained.at(rope.original_length)

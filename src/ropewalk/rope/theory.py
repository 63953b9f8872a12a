"""What published laws say of a rotary table whose base is changed and which is then trained further.

The scaling laws of RoPE-based extrapolation (arXiv 2310.05209) come first; what others say stands after them. d is the
number of rotated dimensions, b the base of pre-training and L its length, b' the new base and T the length of tuning;
lengths and limits are in tokens. ``ropewalk.rope.prediction`` asks all of them about one model.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np

from ropewalk.errors import ValueFault
from ropewalk.rope.rope import Rope, as_integer

Reading = Literal["discrete", "continuous", "last covered pair"]
Regime = Literal["hard wall", "middle", "soft"]

COVERED_ANGLES = (math.pi / 2, math.pi, 2 * math.pi)
"""Angles, in radians, that the slowest pair covers within the tuning length at the three small-base thresholds: cosine
ran from 1 to 0, from 1 to -1, and through a whole turn."""

BAND_ANGLE = 3.657210
"""Where 1/2 + sin(2x)/(4x) - (sin x/x)^2 is largest (Frequency Bands in RoPE, OpenReview PR1PPxvG9Q)."""

SIMILARITY_MOST = 1 << 22
"""Tokens up to which :func:`similarity_length` looks."""

# An exact integer comes out of the logarithms a few units in the last place off; ceil must not step over it.
_CEIL_GUARD = 1e-9


def critical_index(rotary_dim: int, base: float, original_length: int, angle: float = 2 * math.pi) -> float:
    """Return the fractional index of the pair that turns by ``angle`` radians within ``original_length`` tokens.

    (d/2) * log_b(L / angle): pairs before it turned further. Negative where no pair does; above d/2 where all do, and
    a base made of them would need more pairs than there are.
    """
    _check_table(rotary_dim, base, original_length)
    return rotary_dim // 2 * math.log(original_length / angle) / math.log(base)


def critical_dimension(rotary_dim: int, base: float, original_length: int, periods: float = 1.0) -> int:
    """Return the number of dimensions that saw at least ``periods`` turns in pre-training.

    d_extra = 2 * ceil((d/2) * log_b(L / (2 pi periods))), clamped to 0 .. d
    (Scaling Laws of RoPE-based Extrapolation, arXiv 2310.05209, Lemma 1, for ``periods`` = 1). LongRoPE2 (arXiv
    2502.20082) takes it as the theoretical value and finds the real one at two to three turns; its search starts at 10.

    Args:
        rotary_dim: d, the rotated dimensions of a head; even.
        base: b, the base of pre-training.
        original_length: L, the pre-training length in tokens.
        periods: how many turns a pair must have made to count.
    """
    if periods <= 0:
        raise ValueFault("periods", f"is {periods:g}; expected a number above 0.")
    covered = critical_index(rotary_dim, base, original_length, 2 * math.pi * periods)
    return 2 * min(rotary_dim // 2, max(0, math.ceil(covered - _CEIL_GUARD)))


def critical_pairs(rope: Rope, length: int | None = None) -> int:
    """Return how many pairs of ``rope`` make a whole turn within ``length`` tokens ("pre-critical" pairs).

    These are the pairs with wavelength <= length (Resonance RoPE, arXiv 2403.00071, section 3.2).

    Args:
        rope: the rope whose own wavelengths are counted, changed ones included.
        length: tokens; the original length where not given.
    """
    return int(np.count_nonzero(rope.wavelengths <= (rope.original_length if length is None else length)))


def critical_base(base: float, original_length: int, target_length: float) -> float:
    """Return beta_0, the base above which the large-base law rules at ``target_length``.

    beta_0 = exp(ln b * ln(T/2pi) / ln(L/2pi)) (arXiv 2310.05209, Theorem 3). It is the continuous inverse of the
    law, without the ceiling of the critical dimension: the pair whose period was L now has period T.

    Args:
        base: b, the base of pre-training.
        original_length: L, the pre-training length in tokens; above 2 pi.
        target_length: T, the length to reach in tokens; above 2 pi.
    """
    _check_lengths(original_length=original_length, target_length=target_length)
    return math.exp(
        math.log(base) * math.log(target_length / (2 * math.pi)) / math.log(original_length / (2 * math.pi))
    )


def base_for_length(rotary_dim: int, base: float, original_length: int, target_length: float) -> float:
    """Return the base whose first pair that pre-training did not cover has period ``target_length``.

    (T/2pi)^(d/d_extra), the discrete inverse of the law, as LongLLaDA (arXiv 2506.14429) and UltraLLaDA
    (arXiv 2510.10481) have it; smaller than :func:`critical_base`, for the same coverage.

    Args:
        rotary_dim: d, the rotated dimensions of a head.
        base: b, the base of pre-training.
        original_length: L, the pre-training length in tokens.
        target_length: T, the length to reach in tokens; above 2 pi.
    """
    _check_lengths(original_length=original_length, target_length=target_length)
    dimension = critical_dimension(rotary_dim, base, original_length)
    return float((target_length / (2 * math.pi)) ** (rotary_dim / dimension))


def wall(
    rotary_dim: int,
    base: float,
    original_length: int,
    new_base: float,
    *,
    reading: Reading = "discrete",
    periods: float = 1.0,
) -> float:
    """Return T_extra = 2 pi b'^(d_extra/d), the length at which a model with a larger base falls apart.

    The period, under the new base, of the first pair that did not turn fully in pre-training (arXiv 2310.05209,
    Theorem 2). Infinite where pre-training covered every pair: then no pair can meet a new angle.

    Args:
        rotary_dim: d, the rotated dimensions of a head.
        base: b, the base of pre-training.
        original_length: L, the pre-training length in tokens.
        new_base: b', the base of tuning.
        reading: "discrete" as above, with the ceiling of the critical dimension; "continuous" without it,
            2 pi b'^(log_b(L/2pi)), which gives back L at the old base; "last covered pair" for the pair before.
        periods: turns that a pair must have made to count; see :func:`critical_dimension`.
    """
    _check_table(rotary_dim, base, original_length)
    _check_base("new_base", new_base)
    _check_lengths(original_length=original_length)
    dimension = critical_dimension(rotary_dim, base, original_length, periods)
    if dimension == rotary_dim:
        return math.inf
    if reading == "continuous":
        index = critical_index(rotary_dim, base, original_length, 2 * math.pi * periods)
    else:
        index = dimension // 2 - (reading == "last covered pair")
    return float(2 * math.pi * new_base ** (2 * index / rotary_dim))


def regime(base: float, original_length: int, new_base: float, tune_length: int) -> Regime:
    """Return how a model fails beyond its tuning length (arXiv 2310.05209, Theorem 3).

    "hard wall" above the critical base; "soft", a slow decay without a bound, up to the largest small-base threshold;
    "middle" between them, where a model reads as far as it was tuned and no further.

    Args:
        base: b, the base of pre-training.
        original_length: L, the pre-training length in tokens.
        new_base: b', the base of tuning.
        tune_length: T, the length of tuning in tokens; at least L.
    """
    if tune_length < original_length:
        raise ValueFault(
            "tune_length",
            f"is {tune_length}; expected at least the pre-training length, {original_length}: the law says "
            "nothing about tuning on shorter texts.",
        )
    # At T = L the critical base is b itself, give or take the last bits.
    if new_base > critical_base(base, original_length, tune_length) * (1 + 1e-12):
        return "hard wall"
    return "soft" if new_base <= small_base_thresholds(tune_length)[0] else "middle"


def small_base_thresholds(tune_length: float, rotary_dim: int | None = None) -> tuple[float, float, float]:
    """Return beta_1 > beta_2 > beta_3, the bases below which a small base reads on ever better.

    2T/pi, T/pi and T/(2 pi), where an imagined pair of index d/2 turns by 90, 180 and 360 degrees within T tokens
    (arXiv 2310.05209, Theorem 3). With ``rotary_dim`` the exact ones, (T/angle)^(d/(d-2)), where the slowest pair that
    a head has, d/2 - 1, does.

    Args:
        tune_length: T, the length of tuning in tokens.
        rotary_dim: d; as printed in the paper where not given.
    """
    power = 1.0 if rotary_dim is None else rotary_dim / (rotary_dim - 2) if rotary_dim > 2 else math.inf
    first, second, third = ((tune_length / angle) ** power for angle in COVERED_ANGLES)
    return first, second, third


@lru_cache(maxsize=1024)
def similarity_length(rotary_dim: int, base: float, most: int = SIMILARITY_MOST) -> int | None:
    """Return L_max(b), the first distance m at which sum_i cos(m b^(-2i/d)) is negative; None up to ``most`` tokens.

    Below it a query prefers a similar key to a random one at any distance (Base of RoPE Bounds Context Length, arXiv
    2405.14591). Not monotone in the base: a larger one may end sooner.

    Args:
        rotary_dim: d, the rotated dimensions of a head.
        base: b.
        most: tokens to look at.
    """
    frequencies = np.power(float(base), -np.arange(0, rotary_dim, 2) / rotary_dim)
    start, size = 0, 4096
    while start < most:
        distances = np.arange(start, min(start + size, most), dtype=np.float64)
        negative = np.flatnonzero(np.cos(np.outer(distances, frequencies)).sum(axis=1) < 0)
        if negative.size:
            return start + int(negative[0])
        start, size = start + size, min(2 * size, 1 << 16)
    return None


def similarity_base(length: float) -> float:
    """Return 0.0424 L^1.628, the fit of the smallest base that keeps :func:`similarity_length` at L tokens.

    For heads of 128 dimensions (arXiv 2405.14591). A necessary base, by a ragged criterion: larger ones may fail it.
    """
    return float(0.0424 * length**1.628)


def band_limit(base: float, original_length: int, new_base: float) -> float:
    """Return the length at which the frequency band reaches the angle that it had at the end of pre-training.

    x b'^(log_b(L/x)) with x = 3.657, the angle at which a pair tells positions apart best (Frequency Bands in RoPE,
    OpenReview PR1PPxvG9Q): the continuous law with x in the place of 2 pi. That paper predicts which pair a model
    uses, (d/2) log_b(L/x); to read a limit off it is an inference made here.

    Args:
        base: b, the base of pre-training.
        original_length: L, the pre-training length in tokens.
        new_base: b', the base of tuning.
    """
    return float(BAND_ANGLE * new_base ** (math.log(original_length / BAND_ANGLE) / math.log(base)))


def aliasing_length(base: float) -> float:
    """Return 2 pi b, the length from which the slowest pair repeats itself (RoPE as phase modulation, 2602.10959)."""
    return 2 * math.pi * base


def stability_length(base: float) -> float:
    """Return b pi/2, up to which the slowest pair's cosine stays positive.

    RoPE as phase modulation (arXiv 2602.10959) asks for b arccos(e^(1/N)) at least, with e what is to be left of a
    constant component after N layers; b pi/2 is the bound for e = 0, which no other exceeds.
    """
    return base * math.pi / 2


def drift(rotary_dim: int, new_base: float, length: float) -> float:
    """Return the angle, in radians, by which the slowest pair turns within ``length`` tokens.

    Slow pairs carry meaning that ought not to depend on the position; beyond pi/2 it does (Round and Round We Go,
    arXiv 2410.06205, which argues for stopping them).
    """
    return float(length * new_base ** (2 / rotary_dim - 1))


def _check_table(rotary_dim: int, base: float, original_length: float) -> None:
    if as_integer("rotary_dim", rotary_dim, at_least=2) % 2:
        raise ValueFault("rotary_dim", f"is {rotary_dim}; expected an even number.")
    _check_base("base", base)
    if original_length <= 0:
        raise ValueFault("original_length", f"is {original_length:g}; expected a number above 0.")


def _check_base(name: str, base: float) -> None:
    if not 1 < base < math.inf:
        raise ValueFault(name, f"is {base:g}; expected a number above 1.")


def _check_lengths(**lengths: float) -> None:
    for name, length in lengths.items():
        if length <= 2 * math.pi:
            raise ValueFault(name, f"is {length:g}; expected more than 2 pi tokens, the shortest wavelength.")

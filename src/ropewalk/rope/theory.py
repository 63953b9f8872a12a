"""What the pre-training length says about which pairs of a rotary table can be trusted."""

from __future__ import annotations

import math

import numpy as np

from ropewalk.errors import UserError
from ropewalk.rope.rope import Rope

# An exact integer comes out of the logarithms a few units in the last place off; ceil must not step over it.
_CEIL_GUARD = 1e-9


def critical_dimension(rotary_dim: int, base: float, original_length: int, periods: float = 1.0) -> int:
    """Return the number of dimensions that saw at least ``periods`` turns in pre-training.

    d_extra = 2 * ceil((d/2) * log_b(L / (2 pi periods))), clamped to 0 .. d
    (Scaling Laws of RoPE-based Extrapolation, arXiv 2310.05209, Lemma 1, for ``periods`` = 1).

    Args:
        rotary_dim: d, the rotated dimensions of a head.
        base: b, the base of pre-training.
        original_length: L, the pre-training length in tokens.
        periods: how many turns a pair must have made to count.
    """
    for name, value, least in (("base", base, 1), ("original_length", original_length, 0), ("periods", periods, 0)):
        if value <= least:
            raise UserError(f"{name} is {value:g}; expected a number above {least}.")
    pairs = rotary_dim // 2
    covered = pairs * math.log(original_length / (2 * math.pi * periods)) / math.log(base)
    return 2 * min(pairs, max(0, math.ceil(covered - _CEIL_GUARD)))


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
    for name, length in (("original_length", original_length), ("target_length", target_length)):
        if length <= 2 * math.pi:
            raise UserError(f"{name} is {length:g}; expected more than 2 pi tokens, the shortest wavelength.")
    return math.exp(
        math.log(base) * math.log(target_length / (2 * math.pi)) / math.log(original_length / (2 * math.pi))
    )

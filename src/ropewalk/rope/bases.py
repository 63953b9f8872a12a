"""The table of pre-training, and methods that change its base or divide all its frequencies alike.

Symbols are those of :mod:`ropewalk.rope.methods`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from ropewalk.errors import UserError
from ropewalk.rope.rope import FloatArray, Rope, as_integer, as_number, inverse_frequencies
from ropewalk.rope.steps import factor_of, stepped
from ropewalk.rope.theory import critical_base, critical_dimension

Inverse = Literal["continuous", "discrete"]


def default_rope(rotary_dim: int, base: float, original_length: int) -> Rope:
    """Return the unchanged table theta_i = b^(-2i/d) (RoFormer, arXiv 2104.09864, section 3.2).

    Args:
        rotary_dim: d, rotated dimensions of a head; even.
        base: b, the base of pre-training.
        original_length: L, the pre-training length in tokens.
    """
    rotary_dim = as_integer("rotary_dim", rotary_dim, at_least=2)
    base = as_number("base", base)
    # The power is not a number for a base of 0 or less, which Rope would then report as a fault of the table.
    if base <= 1:
        raise UserError(f"base is {base:g}; expected a number above 1.")
    return Rope(rotary_dim, base, original_length, inverse_frequencies(rotary_dim, base))


def default(rope: Rope) -> Rope:
    """Leave the table as it is (RoFormer, arXiv 2104.09864).

    Args:
        rope: the rope to start from.
    """
    return stepped(rope, "default", {}, rope.inv_freq)


def pi(rope: Rope, *, factor: float) -> Rope:
    """Position interpolation: theta'_i = theta_i / s (Chen et al., arXiv 2306.15595, equation 4).

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
    """
    factor = factor_of(factor)
    return stepped(rope, "pi", {"factor": factor}, rope.inv_freq / factor)


def ntk(rope: Rope, *, factor: float) -> Rope:
    """NTK-aware scaling: b' = b s^(d/(d-2)), so theta'_i = theta_i s^(-2i/(d-2)) (YaRN, arXiv 2309.00071, section 3.1).

    The fastest pair is untouched and the slowest is divided by exactly s.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
    """
    factor = factor_of(factor)
    return stepped(rope, "ntk", {"factor": factor}, rope.inv_freq * _ntk_growth(rope, factor))


def ntk_critical(rope: Rope, *, factor: float, inverse: Inverse = "continuous") -> Rope:
    """Raise the base until the critical pair's period is the target length T = s L: theta'_i = theta_i (b'/b)^(-2i/d).

    continuous: b' = exp(ln b ln(T/2pi) / ln(L/2pi)), the critical base of arXiv 2310.05209, Theorem 3.
    discrete: b' = (T/2pi)^(d/d_extra), the inverse of Theorem 2 with its rounded-up critical dimension d_extra
    (arXiv 2310.05209), as LongLLaDA and UltraLLaDA use it. Its ceiling puts b' below b for s near 1, where b is kept.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        inverse: which inverse of the scaling law, "continuous" or "discrete".
    """
    factor = factor_of(factor)
    target = factor * rope.original_length
    if inverse == "continuous":
        new_base = critical_base(rope.base, rope.original_length, target)
    elif inverse == "discrete":
        dimension = critical_dimension(rope.rotary_dim, rope.base, rope.original_length)
        if dimension == 0:
            raise UserError(
                f"original_length is {rope.original_length}; expected more than 2 pi tokens, the shortest wavelength."
            )
        new_base = max(rope.base, (target / (2 * math.pi)) ** (rope.rotary_dim / dimension))
    else:
        raise UserError(f"inverse is {inverse!r}; expected 'continuous' or 'discrete'.")
    params = {"factor": factor, "inverse": inverse}
    return stepped(rope, "ntk_critical", params, rope.inv_freq * _base_change(rope, new_base))


def abf(rope: Rope, *, new_base: float) -> Rope:
    """Adjusted base frequency: theta'_i = theta_i (b'/b)^(-2i/d) (Xiong et al., arXiv 2309.16039, section 4.1).

    b is the base of pre-training, so on an unchanged table this is the table of base b'.

    Args:
        rope: the rope to start from.
        new_base: b', above 1; larger or smaller than the base of pre-training.
    """
    new_base = as_number("new_base", new_base)
    if new_base <= 1:
        raise UserError(f"new_base is {new_base:g}; expected a number above 1.")
    return stepped(rope, "abf", {"new_base": new_base}, rope.inv_freq * _base_change(rope, new_base))


def dynamic_ntk(rope: Rope, *, factor: float, length: int | None = None) -> Rope:
    """Dynamic NTK: theta'_i = theta_i g^(-2i/(d-2)), g = s l / L - (s - 1) for a current length l above L, else 1.

    As in transformers ``_compute_dynamic_ntk_parameters`` (b' = b g^(d/(d-2))). The result is not static:
    ``rope.at(l)`` recomputes it.

    Args:
        rope: the rope to start from.
        factor: s, how strongly the base grows with the length; at least 1.
        length: l, the current length in tokens; L where not given.
    """
    factor = factor_of(factor)
    current = rope.original_length if length is None else as_integer("length", length, at_least=1)
    growth = factor * max(current, rope.original_length) / rope.original_length - (factor - 1)
    params = {"factor": factor, "length": length}
    changed = stepped(rope, "dynamic_ntk", params, rope.inv_freq * _ntk_growth(rope, growth))
    return replace(changed, static=False)


def _base_change(rope: Rope, new_base: float) -> FloatArray:
    """Return (b'/b)^(-2i/d): what changing the base multiplies the frequencies by."""
    return np.power(new_base / rope.base, -2 * np.arange(rope.pairs) / rope.rotary_dim)


def _ntk_growth(rope: Rope, growth: float) -> FloatArray:
    """Return growth^(-2i/(d-2)): a change of base after which the slowest pair is divided by exactly ``growth``."""
    if rope.rotary_dim < 4:
        raise UserError(f"rotary_dim is {rope.rotary_dim}; expected at least 4 for NTK scaling.")
    return np.power(growth, -2 * np.arange(rope.pairs) / (rope.rotary_dim - 2))

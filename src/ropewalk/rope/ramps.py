"""Methods that leave fast pairs alone, divide slow ones by the factor, and go from one to the other between.

Symbols are those of :mod:`ropewalk.rope.methods`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from ropewalk.errors import UserError
from ropewalk.rope.rope import FloatArray, Rope
from ropewalk.rope.steps import factor_of, interval, positive, stepped

Mixing = Literal["frequency", "wavelength"]

# MrRoPE and YaRN leave pairs with more than 32 turns alone and give pairs with less than one the whole factor.
_FAST_TURNS = 32.0
_SLOW_TURNS = 1.0


def ntk_by_parts(rope: Rope, *, factor: float, alpha: float = 1.0, beta: float = 32.0) -> Rope:
    """NTK-by-parts: theta'_i = (1 - g_i) theta_i / s + g_i theta_i, g_i = clip((r_i - alpha) / (beta - alpha), 0, 1).

    YaRN, arXiv 2309.00071, section 3.2. No attention temperature.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        alpha: turns within L at or below which a pair is interpolated in full.
        beta: turns within L at or above which a pair is left alone.
    """
    factor, alpha, beta = factor_of(factor), *interval("alpha", alpha, "beta", beta)
    keep = _ramp_in_turns(rope, alpha, beta)
    params = {"factor": factor, "alpha": alpha, "beta": beta}
    return stepped(rope, "ntk_by_parts", params, rope.inv_freq * ((1 - keep) / factor + keep))


def yarn(
    rope: Rope,
    *,
    factor: float,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
    attention_factor: float | None = None,
) -> Rope:
    """YaRN as its authors' code and every engine compute it: a ramp linear in the pair index.

    theta'_i = x_i theta_i / s + (1 - x_i) theta_i, x_i = clip((i - low) / (high - low), 0, 1), where low and high are
    the indices of the pairs that make ``beta_fast`` and ``beta_slow`` turns within L, kept within 0 and d - 1.
    The attention factor is multiplied by 0.1 ln s + 1. Code of YaRN (arXiv 2309.00071), as in transformers
    ``_compute_yarn_parameters``; the paper's own formula is :func:`yarn_written`.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        beta_fast: turns within L at which the ramp starts; faster pairs are left alone.
        beta_slow: turns within L at which the ramp ends; slower pairs are interpolated in full.
        truncate: round the ends of the ramp outwards to whole indices.
        attention_factor: what cos and sin are multiplied by; 0.1 ln s + 1 where not given.
    """
    factor, beta_slow, beta_fast = factor_of(factor), *interval("beta_slow", beta_slow, "beta_fast", beta_fast)
    if not isinstance(truncate, bool):
        raise UserError(f"truncate is {truncate!r}; expected true or false.")
    low, high = _index_range(rope, beta_fast, beta_slow, truncate=truncate)
    low, high = max(low, 0), min(high, rope.rotary_dim - 1)
    if low == high:
        high += 0.001  # as the reference code keeps the division defined
    interpolate = np.clip((np.arange(rope.pairs) - low) / (high - low), 0, 1)
    temperature = _temperature(factor) if attention_factor is None else positive("attention_factor", attention_factor)
    params = {
        "factor": factor,
        "beta_fast": beta_fast,
        "beta_slow": beta_slow,
        "truncate": truncate,
        "attention_factor": temperature,
    }
    return stepped(rope, "yarn", params, rope.inv_freq * (interpolate / factor + (1 - interpolate)), temperature)


def yarn_written(
    rope: Rope, *, factor: float, alpha: float = 1.0, beta: float = 32.0, mixing: Mixing = "frequency"
) -> Rope:
    """YaRN as papers write it: a ramp linear in turns, g_i = clip((r_i - alpha) / (beta - alpha), 0, 1).

    frequency: theta'_i = (1 - g_i) theta_i / s + g_i theta_i (YaRN, arXiv 2309.00071, section 3.2).
    wavelength: lambda'_i = (1 - g_i) s lambda_i + g_i lambda_i (as Resonance RoPE, arXiv 2403.00071, restates YaRN).
    The attention factor is multiplied by 0.1 ln s + 1 (arXiv 2309.00071, section 3.4).

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        alpha: turns within L at or below which a pair is interpolated in full.
        beta: turns within L at or above which a pair is left alone.
        mixing: what is averaged between the two ends, "frequency" or "wavelength".
    """
    factor, alpha, beta = factor_of(factor), *interval("alpha", alpha, "beta", beta)
    keep = _ramp_in_turns(rope, alpha, beta)
    if mixing == "frequency":
        inv_freq = rope.inv_freq * ((1 - keep) / factor + keep)
    elif mixing == "wavelength":
        inv_freq = rope.inv_freq / ((1 - keep) * factor + keep)
    else:
        raise UserError(f"mixing is {mixing!r}; expected 'frequency' or 'wavelength'.")
    params = {"factor": factor, "alpha": alpha, "beta": beta, "mixing": mixing}
    return stepped(rope, "yarn_written", params, inv_freq, _temperature(factor))


def llama3(rope: Rope, *, factor: float, low_freq_factor: float = 1.0, high_freq_factor: float = 4.0) -> Rope:
    """Llama 3.1 scaling: theta'_i = (1 - g_i) theta_i / s + g_i theta_i, g_i = clip((r_i - low) / (high - low), 0, 1).

    As in transformers ``_compute_llama3_parameters``: :func:`ntk_by_parts` with other ends.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        low_freq_factor: turns within L at or below which a pair is interpolated in full.
        high_freq_factor: turns within L at or above which a pair is left alone.
    """
    factor = factor_of(factor)
    low, high = interval("low_freq_factor", low_freq_factor, "high_freq_factor", high_freq_factor)
    keep = _ramp_in_turns(rope, low, high)
    params = {"factor": factor, "low_freq_factor": low, "high_freq_factor": high}
    return stepped(rope, "llama3", params, rope.inv_freq * ((1 - keep) / factor + keep))


def mrrope_uni(rope: Rope, *, factor: float, beta_fast: float = _FAST_TURNS, beta_slow: float = _SLOW_TURNS) -> Rope:
    """MrRoPE-Uni: theta'_i = theta_i s^(-t/n), t = clip(i - low, 0, n), n = high - low (arXiv 2601.22181).

    low and high are the indices at beta_fast turns (rounded down) and beta_slow turns (rounded up) within L, as YaRN's
    code takes them. The attention factor is multiplied by 0.1 ln s + 1.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        beta_fast: turns within L at which the ramp starts; faster pairs are left alone. The paper's is 32.
        beta_slow: turns within L at which the ramp ends; slower pairs are divided by s. The paper's is 1.
    """
    return _mrrope(rope, "mrrope_uni", factor, (beta_fast, beta_slow), lambda t, n: t / n)


def mrrope_pro(rope: Rope, *, factor: float, beta_fast: float = _FAST_TURNS, beta_slow: float = _SLOW_TURNS) -> Rope:
    """MrRoPE-Pro: theta'_i = theta_i s^(-t(t+1)/(n(n+1))), t = clip(i - low, 0, n), n = high - low (arXiv 2601.22181).

    low and high are the indices at beta_fast turns (rounded down) and beta_slow turns (rounded up) within L, as YaRN's
    code takes them. The attention factor is multiplied by 0.1 ln s + 1.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        beta_fast: turns within L at which the ramp starts; faster pairs are left alone. The paper's is 32.
        beta_slow: turns within L at which the ramp ends; slower pairs are divided by s. The paper's is 1.
    """
    return _mrrope(rope, "mrrope_pro", factor, (beta_fast, beta_slow), lambda t, n: t * (t + 1) / (n * (n + 1)))


def _mrrope(
    rope: Rope,
    method: str,
    factor: float,
    turns: tuple[float, float],
    exponent: Callable[[FloatArray, float], FloatArray],
) -> Rope:
    factor, beta_slow, beta_fast = factor_of(factor), *interval("beta_slow", turns[1], "beta_fast", turns[0])
    low, high = _index_range(rope, beta_fast, beta_slow, truncate=True)
    low = max(low, 0)
    span = max(high - low, 1)
    steps_in = np.clip(np.arange(rope.pairs) - low, 0, span).astype(np.float64)
    inv_freq = rope.inv_freq * np.power(factor, -exponent(steps_in, span))
    params = {"factor": factor, "beta_fast": beta_fast, "beta_slow": beta_slow}
    return stepped(rope, method, params, inv_freq, _temperature(factor))


def _ramp_in_turns(rope: Rope, low: float, high: float) -> FloatArray:
    """Return 1 for pairs that turn at least ``high`` times within L, 0 for at most ``low`` times, linear between.

    Where both are the same it is a step.
    """
    if low == high:
        return np.where(rope.turns >= high, 1.0, 0.0)
    return np.clip((rope.turns - low) / (high - low), 0, 1)


def _index_range(rope: Rope, fast: float, slow: float, *, truncate: bool) -> tuple[float, float]:
    low, high = _index_of_turns(rope, fast), _index_of_turns(rope, slow)
    # An index that is whole but for the logarithms' last bits must not be rounded away from itself.
    return (math.floor(low + 1e-9), math.ceil(high - 1e-9)) if truncate else (low, high)


def _index_of_turns(rope: Rope, turns: float) -> float:
    """Return the fractional index of the pair that turns ``turns`` times within L, log-linear between and beyond pairs.

    On a table b^(-2i/d) this is d ln(L / (2 pi turns)) / (2 ln b), as YaRN's code has it. Reading it off the table
    instead gives the same answer for a table whose base was changed before, and a sensible one for any other.
    """
    rotating = rope.inv_freq[rope.inv_freq > 0]
    if rotating.size < 2:
        raise UserError(f"the rope has {rotating.size} rotating pairs; expected at least 2 to place a ramp on.")
    descent = -np.minimum.accumulate(np.log(rotating))
    target = -math.log(2 * math.pi * turns / rope.original_length)
    after = int(np.clip(np.searchsorted(descent, target), 1, descent.size - 1))
    slope = descent[after] - descent[after - 1]
    if slope == 0:  # only beyond an end of the table whose last two pairs are equal
        return float(after if target >= descent[after] else after - 1)
    return float(after - 1 + (target - descent[after - 1]) / slope)


def _temperature(factor: float) -> float:
    """Return 0.1 ln s + 1, YaRN's attention factor (arXiv 2309.00071, section 3.4)."""
    return 0.1 * math.log(factor) + 1

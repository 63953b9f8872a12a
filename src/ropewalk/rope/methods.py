"""Methods that change a rotary table so that a model can read further than it was trained to.

A method is a pure function from :class:`Rope` to :class:`Rope` that works on the table it is given, so methods compose
in the order in which they are called. Symbols used below: theta_i is the frequency of pair i (radians per token),
lambda_i = 2 pi / theta_i its wavelength (tokens), d the rotary dimension, b the base and L the length (tokens) of
pre-training, s the factor, and r_i = L theta_i / (2 pi) the turns that pair i makes within L.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ropewalk.errors import UserError
from ropewalk.rope.position_map import PositionMap
from ropewalk.rope.rope import LAYERS, FloatArray, Rope, Step, as_integer, as_number, inverse_frequencies
from ropewalk.rope.theory import critical_base, critical_dimension

Inverse = Literal["continuous", "discrete"]
Mixing = Literal["frequency", "wavelength"]
Layers = Literal["global", "local", "all"]

# MrRoPE and YaRN leave pairs with more than 32 turns alone and give pairs with less than one the whole factor.
_FAST_TURNS = 32.0
_SLOW_TURNS = 1.0


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
    return _stepped(rope, "default", {}, rope.inv_freq)


def pi(rope: Rope, *, factor: float) -> Rope:
    """Position interpolation: theta'_i = theta_i / s (Chen et al., arXiv 2306.15595, equation 4).

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
    """
    factor = _factor(factor)
    return _stepped(rope, "pi", {"factor": factor}, rope.inv_freq / factor)


def ntk(rope: Rope, *, factor: float) -> Rope:
    """NTK-aware scaling: b' = b s^(d/(d-2)), so theta'_i = theta_i s^(-2i/(d-2)) (YaRN, arXiv 2309.00071, section 3.1).

    The fastest pair is untouched and the slowest is divided by exactly s.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
    """
    factor = _factor(factor)
    return _stepped(rope, "ntk", {"factor": factor}, rope.inv_freq * _ntk_growth(rope, factor))


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
    factor = _factor(factor)
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
    return _stepped(rope, "ntk_critical", params, rope.inv_freq * _base_change(rope, new_base))


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
    return _stepped(rope, "abf", {"new_base": new_base}, rope.inv_freq * _base_change(rope, new_base))


def ntk_by_parts(rope: Rope, *, factor: float, alpha: float = 1.0, beta: float = 32.0) -> Rope:
    """NTK-by-parts: theta'_i = (1 - g_i) theta_i / s + g_i theta_i, g_i = clip((r_i - alpha) / (beta - alpha), 0, 1).

    YaRN, arXiv 2309.00071, section 3.2. No attention temperature.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        alpha: turns within L at or below which a pair is interpolated in full.
        beta: turns within L at or above which a pair is left alone.
    """
    factor, alpha, beta = _factor(factor), *_interval("alpha", alpha, "beta", beta)
    keep = _ramp_in_turns(rope, alpha, beta)
    params = {"factor": factor, "alpha": alpha, "beta": beta}
    return _stepped(rope, "ntk_by_parts", params, rope.inv_freq * ((1 - keep) / factor + keep))


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
    factor, beta_slow, beta_fast = _factor(factor), *_interval("beta_slow", beta_slow, "beta_fast", beta_fast)
    if not isinstance(truncate, bool):
        raise UserError(f"truncate is {truncate!r}; expected true or false.")
    low, high = _index_range(rope, beta_fast, beta_slow, truncate=truncate)
    low, high = max(low, 0), min(high, rope.rotary_dim - 1)
    if low == high:
        high += 0.001  # as the reference code keeps the division defined
    interpolate = np.clip((np.arange(rope.pairs) - low) / (high - low), 0, 1)
    temperature = _temperature(factor) if attention_factor is None else _positive("attention_factor", attention_factor)
    params = {
        "factor": factor,
        "beta_fast": beta_fast,
        "beta_slow": beta_slow,
        "truncate": truncate,
        "attention_factor": temperature,
    }
    return _stepped(rope, "yarn", params, rope.inv_freq * (interpolate / factor + (1 - interpolate)), temperature)


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
    factor, alpha, beta = _factor(factor), *_interval("alpha", alpha, "beta", beta)
    keep = _ramp_in_turns(rope, alpha, beta)
    if mixing == "frequency":
        inv_freq = rope.inv_freq * ((1 - keep) / factor + keep)
    elif mixing == "wavelength":
        inv_freq = rope.inv_freq / ((1 - keep) * factor + keep)
    else:
        raise UserError(f"mixing is {mixing!r}; expected 'frequency' or 'wavelength'.")
    params = {"factor": factor, "alpha": alpha, "beta": beta, "mixing": mixing}
    return _stepped(rope, "yarn_written", params, inv_freq, _temperature(factor))


def dynamic_ntk(rope: Rope, *, factor: float, length: int | None = None) -> Rope:
    """Dynamic NTK: theta'_i = theta_i g^(-2i/(d-2)), g = s l / L - (s - 1) for a current length l above L, else 1.

    As in transformers ``_compute_dynamic_ntk_parameters`` (b' = b g^(d/(d-2))). The result is not static:
    ``rope.at(l)`` recomputes it.

    Args:
        rope: the rope to start from.
        factor: s, how strongly the base grows with the length; at least 1.
        length: l, the current length in tokens; L where not given.
    """
    factor = _factor(factor)
    current = rope.original_length if length is None else as_integer("length", length, at_least=1)
    growth = factor * max(current, rope.original_length) / rope.original_length - (factor - 1)
    params = {"factor": factor, "length": length}
    stepped = _stepped(rope, "dynamic_ntk", params, rope.inv_freq * _ntk_growth(rope, growth))
    return replace(stepped, static=False)


def llama3(rope: Rope, *, factor: float, low_freq_factor: float = 1.0, high_freq_factor: float = 4.0) -> Rope:
    """Llama 3.1 scaling: theta'_i = (1 - g_i) theta_i / s + g_i theta_i, g_i = clip((r_i - low) / (high - low), 0, 1).

    As in transformers ``_compute_llama3_parameters``: :func:`ntk_by_parts` with other ends.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        low_freq_factor: turns within L at or below which a pair is interpolated in full.
        high_freq_factor: turns within L at or above which a pair is left alone.
    """
    factor = _factor(factor)
    low, high = _interval("low_freq_factor", low_freq_factor, "high_freq_factor", high_freq_factor)
    keep = _ramp_in_turns(rope, low, high)
    params = {"factor": factor, "low_freq_factor": low, "high_freq_factor": high}
    return _stepped(rope, "llama3", params, rope.inv_freq * ((1 - keep) / factor + keep))


def longrope(
    rope: Rope,
    *,
    long_factor: Sequence[float],
    short_factor: Sequence[float] | None = None,
    factor: float | None = None,
    attention_factor: float | None = None,
    length: int | None = None,
) -> Rope:
    """LongRoPE: theta'_i = theta_i / f_i with one divisor f_i per pair (arXiv 2402.13753, section 3.1).

    The attention factor is multiplied by sqrt(1 + ln s / ln L), as in transformers ``_compute_longrope_parameters``.
    Where a different ``short_factor`` is given, it holds up to L tokens and the result is not static: ``rope.at(l)``
    chooses between the two.

    Args:
        rope: the rope to start from.
        long_factor: f_i, one positive divisor per pair.
        short_factor: the divisors for sequences of at most L tokens; the long ones where not given.
        factor: s, target length over pre-training length, for the attention factor alone; at least 1.
        attention_factor: what cos and sin are multiplied by; from ``factor`` where not given, and 1 without either.
        length: the current length in tokens; L where not given.
    """
    long_divisors = _divisors(rope, "long_factor", long_factor)
    short_divisors = long_divisors if short_factor is None else _divisors(rope, "short_factor", short_factor)
    current = rope.original_length if length is None else as_integer("length", length, at_least=1)
    if attention_factor is not None:
        attention_factor = _positive("attention_factor", attention_factor)
    if factor is not None:
        factor = _factor(factor)
    temperature = 1.0 if attention_factor is None else attention_factor
    if attention_factor is None and factor is not None and factor > 1:
        if rope.original_length < 2:
            raise UserError("original_length is 1; expected at least 2 for LongRoPE's attention factor.")
        temperature = math.sqrt(1 + math.log(factor) / math.log(rope.original_length))
    params = {
        "long_factor": long_divisors.tolist(),
        "short_factor": None if short_factor is None else short_divisors.tolist(),
        "factor": factor,
        "attention_factor": attention_factor,
        "length": length,
    }
    divisors = long_divisors if current > rope.original_length else short_divisors
    stepped = _stepped(rope, "longrope", params, rope.inv_freq / divisors, temperature)
    return replace(stepped, static=rope.static and np.array_equal(long_divisors, short_divisors))


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


def switched(rope: Rope, *, length: int | None = None) -> Rope:
    """Two tables: that of pre-training up to L tokens, and the rope's own beyond, as LongRoPE and Phi-3 have them.

    The attention factor is the same for both, since no configuration has room for two. The result is not static:
    ``rope.at(l)`` chooses.

    Args:
        rope: the rope for texts of more than L tokens.
        length: the current length in tokens; L where not given.
    """
    current = rope.original_length if length is None else as_integer("length", length, at_least=1)
    table = rope.inv_freq if current > rope.original_length else rope.original_inv_freq
    return replace(_stepped(rope, "switched", {"length": length}, table), static=False)


def p_rope(rope: Rope, *, p: float) -> Rope:
    """p-RoPE: keep the fastest floor(p d/2) pairs rotating and stop the others (Barbero et al., arXiv 2410.06205).

    Args:
        rope: the rope to start from.
        p: fraction of the pairs that keep rotating, 0 to 1.
    """
    p = as_number("p", p)
    if not 0 <= p <= 1:
        raise UserError(f"p is {p:g}; expected a fraction from 0 to 1.")
    rotating = np.arange(rope.pairs) < int(p * rope.rotary_dim // 2)
    return _stepped(rope, "p_rope", {"p": p}, np.where(rotating, rope.inv_freq, 0.0))


def cope(rope: Rope, *, clipped: int, hard: bool = False) -> Rope:
    """CoPE: the slowest n pairs are slowed down, the last one to nothing (arXiv 2602.05258).

    With D pairs, theta'_(D-n+j) = theta_(D-n+j) (1 + cos(pi j / (n - 1))) / 2, j = 0 … n - 1; the hard clip stops
    all n. The authors clip 20 of 64 pairs of Llama 3 and train on.

    Args:
        rope: the rope to start from.
        clipped: n, pairs that are clipped; at least 2.
        hard: stop all of them, as the authors' control does.
    """
    clipped = as_integer("clipped", clipped, at_least=2)
    if clipped > rope.pairs:
        raise UserError(f"clipped is {clipped}; expected at most {rope.pairs}, the pairs that there are.")
    multiplier = np.ones(rope.pairs)
    multiplier[-clipped:] = 0.0 if hard else (1 + np.cos(np.linspace(0, np.pi, clipped))) / 2
    return _stepped(rope, "cope", {"clipped": clipped, "hard": hard}, rope.inv_freq * multiplier)


def drope(rope: Rope, *, factor: float = 1.0, temperature: float = 0.0) -> Rope:
    """DroPE: no rotation at all (arXiv 2512.12167), which a model takes after a short tuning at its training length.

    Longer texts are read with logits that are multiplied by 1 + c ln s: the attention factor is its square root.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        temperature: c; the authors choose it for each model. 0 leaves logits alone.
    """
    factor, temperature = _factor(factor), as_number("temperature", temperature)
    scale = 1 + temperature * math.log(factor)
    if scale <= 0:
        raise UserError(f"temperature is {temperature:g}; expected one that keeps 1 + c ln s above 0.")
    params = {"factor": factor, "temperature": temperature}
    return _stepped(rope, "drope", params, np.zeros(rope.pairs), math.sqrt(scale))


def self_extend(rope: Rope, *, window: int, factor: float | None = None, group: int | None = None) -> Rope:
    """Self-Extend: far keys are seen in groups, near ones as they are (Jin et al., arXiv 2401.01325).

    Args:
        rope: the rope to start from, which stays.
        window: tokens that are near.
        factor: s; the group is the smallest with which no distance within s L tokens is one that training had not.
        group: tokens of a group, in the place of a factor.
    """
    if group is None:
        last, free = _farthest(rope, window, factor)
        # No smaller one could; then as few more as its rounding asks for.
        group = max(2, math.ceil((last - window) / (free + 1)))
        while last // group + window - window // group >= rope.original_length:
            group += 1
    elif factor is not None:
        raise UserError("self_extend has a factor and a group; expected one of them.")
    return _mapped(rope, "self_extend", {"window": window, "group": group}, PositionMap("self_extend", window, group))


def leaky_rerope(rope: Rope, *, window: int, factor: float | None = None, group: float | None = None) -> Rope:
    """Leaky ReRoPE: distances beyond a window grow more slowly (Su, 2023).

    Args:
        rope: the rope to start from, which stays.
        window: tokens that are near.
        factor: s; the farthest distance within s L tokens becomes the farthest of training.
        group: what the distance beyond the window is divided by, in the place of a factor.
    """
    if group is None:
        last, free = _farthest(rope, window, factor)
        group = max(1.0, (last - window) / free)
    elif factor is not None:
        raise UserError("leaky_rerope has a factor and a group; expected one of them.")
    group = as_number("group", group)
    return _mapped(rope, "leaky_rerope", {"window": window, "group": group}, PositionMap("leaky_rerope", window, group))


def dual_chunk(rope: Rope, *, chunk: int, window: int) -> Rope:
    """Dual chunk attention: positions within chunks, and a local window across their border (arXiv 2402.17463).

    Args:
        rope: the rope to start from, which stays.
        chunk: tokens of a chunk; with the window, at most the training length.
        window: tokens that are near across the border of chunks.
    """
    if rope.original_length < chunk + window:
        raise UserError(
            f"chunk is {chunk} and window {window}; expected together at most {rope.original_length} tokens, the "
            "length of training."
        )
    return _mapped(rope, "dual_chunk", {"chunk": chunk, "window": window}, PositionMap("dual_chunk", window, chunk))


def string(rope: Rope, *, shift: int, window: int) -> Rope:
    """STRING: distances from a shift on become that much shorter, but for a window (An et al., arXiv 2410.18745).

    Rare, large distances take the place of frequent, smaller ones.

    Args:
        rope: the rope to start from, which stays.
        shift: tokens from which on distances are shifted; the authors take a third of the training length.
        window: tokens that are kept between shifted distances and the nearest; the authors take 32 to 128.
    """
    return _mapped(rope, "string", {"shift": shift, "window": window}, PositionMap("string", window, shift))


def log_scaling(rope: Rope, *, length: int | None = None) -> Rope:
    """Log-scaled attention: logits of the query at 1-based position t are multiplied by max(1, ln t / ln L0).

    Used by Scaling Laws of RoPE-based Extrapolation (arXiv 2310.05209) for very long contexts; the table stays.

    Args:
        rope: the rope to start from.
        length: L0, the training or tuning length in tokens, at least 2; the pre-training length where not given.
    """
    length = as_integer("length", rope.original_length if length is None else length, at_least=2)
    return replace(_stepped(rope, "log_scaling", {"length": length}, rope.inv_freq), log_scaling_length=length)


def resonance(rope: Rope) -> Rope:
    """Resonance RoPE: lambda'_i = round(lambda_i), theta'_i = 2 pi / lambda'_i (arXiv 2403.00071, Algorithm 1).

    Rounds half to even, to at least one token; a pair that does not rotate stays still. It rounds the table it is
    given, so it comes last: a method applied after it would undo the whole wavelengths.

    Args:
        rope: the rope to start from.
    """
    return _stepped(rope, "resonance", {}, 2 * np.pi / np.maximum(np.round(rope.wavelengths), 1.0))


def layers(rope: Rope, *, which: Layers) -> Rope:
    """Say which layers of a model the rope is for, where it has one for each type of layer; the table stays.

    Args:
        rope: the rope to start from.
        which: "global" layers, which see the whole text, "local" ones, which see a sliding window, or "all".
    """
    if which not in LAYERS:
        raise UserError(f"which is {which!r}; expected one of {', '.join(LAYERS)}.")
    return replace(_stepped(rope, "layers", {"which": which}, rope.inv_freq), layers=which)


METHODS: dict[str, Callable[..., Rope]] = {
    "default": default,
    "pi": pi,
    "ntk": ntk,
    "ntk_critical": ntk_critical,
    "abf": abf,
    "ntk_by_parts": ntk_by_parts,
    "yarn": yarn,
    "yarn_written": yarn_written,
    "dynamic_ntk": dynamic_ntk,
    "llama3": llama3,
    "longrope": longrope,
    "mrrope_uni": mrrope_uni,
    "mrrope_pro": mrrope_pro,
    "switched": switched,
    "p_rope": p_rope,
    "cope": cope,
    "drope": drope,
    "self_extend": self_extend,
    "leaky_rerope": leaky_rerope,
    "dual_chunk": dual_chunk,
    "string": string,
    "log_scaling": log_scaling,
    "resonance": resonance,
    "layers": layers,
}

# Methods whose ``length`` is the current length of the sequence, which replay sets.
_FOLLOWS_LENGTH = ("dynamic_ntk", "longrope", "switched")


def apply(rope: Rope, method_name: str, **params: Any) -> Rope:
    """Apply the method called ``method_name``.

    Raises:
        UserError: the method or a parameter is unknown, a parameter is missing, or a value is out of range.
    """
    if method_name not in METHODS:
        raise UserError(
            f"method is {method_name!r}; expected one of {', '.join(METHODS)}{_nearest(method_name, METHODS)}."
        )
    method = METHODS[method_name]
    known = list(inspect.signature(method).parameters.values())[1:]
    names = [parameter.name for parameter in known]
    for name in params:
        if name not in names:
            expected = f"one of {', '.join(names)}" if names else "no parameter"
            raise UserError(f"{method_name} has no parameter {name!r}; expected {expected}{_nearest(name, names)}.")
    for parameter in known:
        if parameter.default is parameter.empty and parameter.name not in params:
            raise UserError(f"{method_name} needs the parameter {parameter.name!r}; it was not given.")
    try:
        return method(rope, **params)
    except UserError as error:
        raise UserError(f"{method_name}: {error}") from None


def cook(rope: Rope, steps: Sequence[Mapping[str, Any]]) -> Rope:
    """Apply methods one after the other.

    Args:
        rope: what they are applied to.
        steps: each a method with its parameters, as ``{"method": "yarn", "factor": 8.0}``.

    Raises:
        UserError: see :func:`apply`.
    """
    for step in steps:
        rope = apply(rope, step["method"], **{key: value for key, value in step.items() if key != "method"})
    return rope


def replay(rope: Rope, length: int) -> Rope:
    """Make ``rope`` again from its original table and its steps, at a current length of ``length`` tokens."""
    length = as_integer("length", length, at_least=1)
    result = default_rope(rope.rotary_dim, rope.base, rope.original_length)
    for step in rope.steps:
        current = {"length": length} if step.method in _FOLLOWS_LENGTH else {}
        result = apply(result, step.method, **{**step.params, **current})
    return result


def _stepped(
    rope: Rope, method: str, params: dict[str, Any], inv_freq: FloatArray, attention_factor: float = 1.0
) -> Rope:
    return replace(
        rope,
        inv_freq=inv_freq,
        attention_factor=rope.attention_factor * attention_factor,
        steps=(*rope.steps, Step(method, params)),
    )


def _farthest(rope: Rope, window: int, factor: float | None) -> tuple[int, int]:
    """The farthest distance within s L tokens, and how many distances beyond a window a model was trained on."""
    if factor is None:
        raise UserError("a map of positions has no group and no factor; expected one of them.")
    window = as_integer("window", window, at_least=0)
    free = rope.original_length - 1 - window
    if free < 1:
        raise UserError(
            f"window is {window}; expected less than {rope.original_length - 1} tokens, the farthest distance that the "
            "model was trained on."
        )
    return math.ceil(_factor(factor) * rope.original_length) - 1, free


def _mapped(rope: Rope, method: str, params: dict[str, Any], wanted: PositionMap) -> Rope:
    if rope.position_map is not None:
        raise UserError(f"{method} maps positions that {rope.position_map.kind} has mapped already; expected one map.")
    return replace(_stepped(rope, method, params, rope.inv_freq), position_map=wanted)


def _base_change(rope: Rope, new_base: float) -> FloatArray:
    """Return (b'/b)^(-2i/d): what changing the base multiplies the frequencies by."""
    return np.power(new_base / rope.base, -2 * np.arange(rope.pairs) / rope.rotary_dim)


def _ntk_growth(rope: Rope, growth: float) -> FloatArray:
    """Return growth^(-2i/(d-2)): a change of base after which the slowest pair is divided by exactly ``growth``."""
    if rope.rotary_dim < 4:
        raise UserError(f"rotary_dim is {rope.rotary_dim}; expected at least 4 for NTK scaling.")
    return np.power(growth, -2 * np.arange(rope.pairs) / (rope.rotary_dim - 2))


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


def _mrrope(
    rope: Rope,
    method: str,
    factor: float,
    turns: tuple[float, float],
    exponent: Callable[[FloatArray, float], FloatArray],
) -> Rope:
    factor, beta_slow, beta_fast = _factor(factor), *_interval("beta_slow", turns[1], "beta_fast", turns[0])
    low, high = _index_range(rope, beta_fast, beta_slow, truncate=True)
    low = max(low, 0)
    span = max(high - low, 1)
    steps_in = np.clip(np.arange(rope.pairs) - low, 0, span).astype(np.float64)
    inv_freq = rope.inv_freq * np.power(factor, -exponent(steps_in, span))
    params = {"factor": factor, "beta_fast": beta_fast, "beta_slow": beta_slow}
    return _stepped(rope, method, params, inv_freq, _temperature(factor))


def _temperature(factor: float) -> float:
    """Return 0.1 ln s + 1, YaRN's attention factor (arXiv 2309.00071, section 3.4)."""
    return 0.1 * math.log(factor) + 1


def _factor(factor: float) -> float:
    factor = as_number("factor", factor)
    if factor < 1:
        raise UserError(f"factor is {factor:g}; expected a number of at least 1.")
    return factor


def _positive(name: str, value: float) -> float:
    number = as_number(name, value)
    if number <= 0:
        raise UserError(f"{name} is {number:g}; expected a positive number.")
    return number


def _interval(low_name: str, low: float, high_name: str, high: float) -> tuple[float, float]:
    low, high = _positive(low_name, low), _positive(high_name, high)
    if low > high:
        raise UserError(f"{low_name} is {low:g}; expected at most {high_name}, which is {high:g}.")
    return low, high


def _divisors(rope: Rope, name: str, values: Sequence[float]) -> FloatArray:
    try:
        divisors = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{name} is {values!r}; expected a list of numbers.") from None
    if divisors.shape != (rope.pairs,):
        raise UserError(f"{name} has shape {divisors.shape}; expected ({rope.pairs},), one divisor per pair.")
    bad = np.flatnonzero(~np.isfinite(divisors) | (divisors <= 0))
    if bad.size:
        raise UserError(f"{name}[{bad[0]}] is {divisors[bad[0]]}; expected a positive number.")
    return divisors


def _nearest(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

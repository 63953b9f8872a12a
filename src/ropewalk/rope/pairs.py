"""Methods that give each pair a frequency of its own: divisors, whole wavelengths, pairs that stop.

Symbols are those of :mod:`ropewalk.rope.methods`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ropewalk.errors import UserError
from ropewalk.rope.rope import FloatArray, Rope, as_integer, as_number
from ropewalk.rope.steps import factor_of, positive, stepped


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
        attention_factor = positive("attention_factor", attention_factor)
    if factor is not None:
        factor = factor_of(factor)
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
    changed = stepped(rope, "longrope", params, rope.inv_freq / divisors, temperature)
    return replace(changed, static=rope.static and np.array_equal(long_divisors, short_divisors))


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
    return replace(stepped(rope, "switched", {"length": length}, table), static=False)


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
    return stepped(rope, "p_rope", {"p": p}, np.where(rotating, rope.inv_freq, 0.0))


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
    return stepped(rope, "cope", {"clipped": clipped, "hard": hard}, rope.inv_freq * multiplier)


def drope(rope: Rope, *, factor: float = 1.0, temperature: float = 0.0) -> Rope:
    """DroPE: no rotation at all (arXiv 2512.12167), which a model takes after a short tuning at its training length.

    Longer texts are read with logits that are multiplied by 1 + c ln s: the attention factor is its square root.

    Args:
        rope: the rope to start from.
        factor: s, target length over pre-training length; at least 1.
        temperature: c; the authors choose it for each model. 0 leaves logits alone.
    """
    factor, temperature = factor_of(factor), as_number("temperature", temperature)
    scale = 1 + temperature * math.log(factor)
    if scale <= 0:
        raise UserError(f"temperature is {temperature:g}; expected one that keeps 1 + c ln s above 0.")
    params = {"factor": factor, "temperature": temperature}
    return stepped(rope, "drope", params, np.zeros(rope.pairs), math.sqrt(scale))


def resonance(rope: Rope) -> Rope:
    """Resonance RoPE: lambda'_i = round(lambda_i), theta'_i = 2 pi / lambda'_i (arXiv 2403.00071, Algorithm 1).

    Rounds half to even, to at least one token; a pair that does not rotate stays still. It rounds the table it is
    given, so it comes last: a method applied after it would undo the whole wavelengths.

    Args:
        rope: the rope to start from.
    """
    return stepped(rope, "resonance", {}, 2 * np.pi / np.maximum(np.round(rope.wavelengths), 1.0))


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

"""Methods that keep the table and change what goes with it: maps of positions, log-scaled attention, layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from ropewalk.errors import UserError
from ropewalk.rope.position_map import Kind, PositionMap
from ropewalk.rope.rope import LAYERS, Rope, as_integer, as_number
from ropewalk.rope.steps import factor_of, stepped

Layers = Literal["global", "local", "all"]


def self_extend(rope: Rope, *, window: int, factor: float | None = None, group: int | None = None) -> Rope:
    """Self-Extend: far keys are seen in groups, near ones as they are (Jin et al., arXiv 2401.01325).

    Args:
        rope: the rope to start from, which stays.
        window: tokens that are near.
        factor: s; the group is the smallest with which no distance within s L tokens is one that training had not.
        group: tokens of a group, in the place of a factor.
    """

    def smallest(last: int, free: int) -> int:
        # No smaller one could; then as few more as its rounding asks for.
        found = max(2, math.ceil((last - window) / (free + 1)))
        while last // found + window - window // found >= rope.original_length:
            found += 1
        return found

    return _grouped(rope, "self_extend", window, factor, group, smallest)


def leaky_rerope(rope: Rope, *, window: int, factor: float | None = None, group: float | None = None) -> Rope:
    """Leaky ReRoPE: distances beyond a window grow more slowly (Su, 2023).

    Args:
        rope: the rope to start from, which stays.
        window: tokens that are near.
        factor: s; the farthest distance within s L tokens becomes the farthest of training.
        group: what the distance beyond the window is divided by, in the place of a factor.
    """
    group = None if group is None else as_number("group", group)
    return _grouped(rope, "leaky_rerope", window, factor, group, lambda last, free: max(1.0, (last - window) / free))


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
    return replace(stepped(rope, "log_scaling", {"length": length}, rope.inv_freq), log_scaling_length=length)


def layers(rope: Rope, *, which: Layers) -> Rope:
    """Say which layers of a model the rope is for, where it has one for each type of layer; the table stays.

    Args:
        rope: the rope to start from.
        which: "global" layers, which see the whole text, "local" ones, which see a sliding window, or "all".
    """
    if which not in LAYERS:
        raise UserError(f"which is {which!r}; expected one of {', '.join(LAYERS)}.")
    return replace(stepped(rope, "layers", {"which": which}, rope.inv_freq), layers=which)


def _grouped(
    rope: Rope,
    method: Kind,
    window: int,
    factor: float | None,
    group: float | None,
    smallest: Callable[[int, int], float],
) -> Rope:
    """Map positions by a group, or by the smallest one that a factor allows.

    Args:
        rope: the rope to start from.
        method: also the kind of the map.
        window: tokens that are near.
        factor: s; or None.
        group: itself, in the place of a factor; or None.
        smallest: the group for the farthest distance within s L tokens, and for how many distances beyond the window
            a model was trained on.
    """
    if group is None and factor is not None:
        group = smallest(*_farthest(rope, window, factor))
    elif group is None or factor is not None:
        found = "no group and no factor" if group is None else "a factor and a group"
        raise UserError(f"a map of positions has {found}; expected one of them.")
    return _mapped(rope, method, {"window": window, "group": group}, PositionMap(method, window, group))


def _farthest(rope: Rope, window: int, factor: float) -> tuple[int, int]:
    """The farthest distance within s L tokens, and how many distances beyond a window a model was trained on."""
    window = as_integer("window", window, at_least=0)
    free = rope.original_length - 1 - window
    if free < 1:
        raise UserError(
            f"window is {window}; expected less than {rope.original_length - 1} tokens, the farthest distance that the "
            "model was trained on."
        )
    return math.ceil(factor_of(factor) * rope.original_length) - 1, free


def _mapped(rope: Rope, method: str, params: dict[str, Any], wanted: PositionMap) -> Rope:
    if rope.position_map is not None:
        raise UserError(f"{method} maps positions that {rope.position_map.kind} has mapped already; expected one map.")
    return replace(stepped(rope, method, params, rope.inv_freq), position_map=wanted)

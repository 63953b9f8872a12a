"""How a method says what it made of a rope, and how it checks what it was given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ropewalk.errors import UserError
from ropewalk.rope.rope import FloatArray, Rope, Step, as_number


def stepped(
    rope: Rope, method: str, params: dict[str, Any], inv_freq: FloatArray, attention_factor: float = 1.0
) -> Rope:
    """A rope with another table and one step more; what it multiplies cos and sin by is multiplied."""
    return replace(
        rope,
        inv_freq=inv_freq,
        attention_factor=rope.attention_factor * attention_factor,
        steps=(*rope.steps, Step(method, params)),
    )


def factor_of(factor: float) -> float:
    """A factor, which is at least 1."""
    factor = as_number("factor", factor)
    if factor < 1:
        raise UserError(f"factor is {factor:g}; expected a number of at least 1.")
    return factor


def positive(name: str, value: float) -> float:
    """A number above 0."""
    number = as_number(name, value)
    if number <= 0:
        raise UserError(f"{name} is {number:g}; expected a positive number.")
    return number


def interval(low_name: str, low: float, high_name: str, high: float) -> tuple[float, float]:
    """Two positive numbers of which the first is not the larger one."""
    low, high = positive(low_name, low), positive(high_name, high)
    if low > high:
        raise UserError(f"{low_name} is {low:g}; expected at most {high_name}, which is {high:g}.")
    return low, high

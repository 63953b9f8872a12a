"""Methods that change a rotary table so that a model can read further than it was trained to, by their names.

A method is a pure function from :class:`Rope` to :class:`Rope` that works on the table it is given, so methods compose
in the order in which they are called. Symbols used in their descriptions: theta_i is the frequency of pair i (radians
per token), lambda_i = 2 pi / theta_i its wavelength (tokens), d the rotary dimension, b the base and L the length
(tokens) of pre-training, s the factor, and r_i = L theta_i / (2 pi) the turns that pair i makes within L.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ropewalk.errors import UserError
from ropewalk.options import nearest
from ropewalk.rope.bases import abf, default, default_rope, dynamic_ntk, ntk, ntk_critical, pi
from ropewalk.rope.beside_table import dual_chunk, layers, leaky_rerope, log_scaling, self_extend, string
from ropewalk.rope.pairs import cope, drope, longrope, p_rope, resonance, switched
from ropewalk.rope.ramps import llama3, mrrope_pro, mrrope_uni, ntk_by_parts, yarn, yarn_written
from ropewalk.rope.rope import Rope, as_integer

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
            f"method is {method_name!r}; expected one of {', '.join(METHODS)}{nearest(method_name, METHODS)}."
        )
    method = METHODS[method_name]
    known = list(inspect.signature(method).parameters.values())[1:]
    names = [parameter.name for parameter in known]
    for name in params:
        if name not in names:
            expected = f"one of {', '.join(names)}" if names else "no parameter"
            raise UserError(f"{method_name} has no parameter {name!r}; expected {expected}{nearest(name, names)}.")
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

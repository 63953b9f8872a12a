"""The frozen value that describes one rotary position embedding, and its JSON file."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ropewalk.errors import UserError, ValueFault
from ropewalk.files import read_json, write_json
from ropewalk.rope.position_map import PositionMap

FORMAT = "ropewalk.rope/1"

FloatArray = NDArray[np.float64]

GLOBAL = "global"
LAYERS = (GLOBAL, "local", "all")
"""Which layers a rope may be for, where a model has one for each type of layer."""


@dataclass(frozen=True)
class Step:
    """One method that was applied to a rope, with every parameter as JSON would hold it."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Rope:
    """One rotary position embedding: an angle of ``position * inv_freq[i]`` radians for pair ``i``.

    ``base`` and ``original_length`` always describe the table that the model was pre-trained with,
    ``inv_freq[i] = base ** (-2 i / rotary_dim)``. A method that changes the base shows in ``inv_freq`` alone.

    Attributes:
        rotary_dim: rotated dimensions of a head; even.
        base: base of the original table.
        original_length: pre-training context length, in tokens.
        inv_freq: angular frequency of each pair, in radians per token; float64, read-only. Zero means no rotation.
        attention_factor: multiplies cos and sin, so attention logits are multiplied by its square.
        log_scaling_length: where set to L0, logits of the query at 1-based position t are multiplied by
            max(1, ln t / ln L0).
        steps: the methods that made this rope, in order.
        static: False where ``inv_freq`` depends on the current length; see :meth:`at`.
        layers: which layers take it where a model has a rope for each type of layer: ``global``, those that see the
            whole text; ``local``, those that see a sliding window; or ``all``. The others keep the model's own.
        position_map: which relative position attention gives a distance; the distance itself where None.
    """

    rotary_dim: int
    base: float
    original_length: int
    inv_freq: FloatArray
    attention_factor: float = 1.0
    log_scaling_length: int | None = None
    steps: tuple[Step, ...] = ()
    static: bool = True
    layers: str = GLOBAL
    position_map: PositionMap | None = None

    def __post_init__(self) -> None:
        rotary_dim = as_integer("rotary_dim", self.rotary_dim, at_least=2)
        if rotary_dim % 2:
            raise ValueFault("rotary_dim", f"is {rotary_dim}; expected an even number.")
        base = as_number("base", self.base)
        if base <= 1:
            raise ValueFault("base", f"is {base:g}; expected a number above 1.")
        attention_factor = as_number("attention_factor", self.attention_factor)
        if attention_factor <= 0:
            raise ValueFault("attention_factor", f"is {attention_factor:g}; expected a positive number.")
        log_scaling_length = self.log_scaling_length
        if log_scaling_length is not None:
            log_scaling_length = as_integer("log_scaling_length", log_scaling_length, at_least=2)
        if self.layers not in LAYERS:
            raise ValueFault("layers", f"is {self.layers!r}; expected one of {', '.join(LAYERS)}.")
        set_field = object.__setattr__
        set_field(self, "rotary_dim", rotary_dim)
        set_field(self, "base", base)
        set_field(self, "original_length", as_integer("original_length", self.original_length, at_least=1))
        set_field(self, "inv_freq", _frequencies(self.inv_freq, rotary_dim))
        set_field(self, "attention_factor", attention_factor)
        set_field(self, "log_scaling_length", log_scaling_length)
        set_field(self, "steps", tuple(self.steps))

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that may have changed the table."""
        return tuple(step for step in self.steps if step.method not in ("default", "layers"))

    @property
    def lengthened_by(self) -> list[str]:
        """The methods that may have changed the table, but for p-RoPE, which models are pre-trained with."""
        return [step.method for step in self.changes if step.method != "p_rope"]

    @property
    def recipe(self) -> str:
        """The methods that made this rope, in order, joined by ``+``; ``default`` where nothing was changed."""
        return "+".join(step.method for step in self.steps if step.method != "default") or "default"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rope):
            return NotImplemented
        return all(
            np.array_equal(self.inv_freq, other.inv_freq)
            if entry.name == "inv_freq"
            else getattr(self, entry.name) == getattr(other, entry.name)
            for entry in fields(self)
        )

    def __hash__(self) -> int:
        # 0.0 and -0.0 are equal, so the bytes of the table must not tell them apart.
        known = (self.rotary_dim, self.base, self.original_length, self.attention_factor, self.position_map)
        return hash((*known, tuple(self.inv_freq)))

    @property
    def pairs(self) -> int:
        """Number of rotated pairs, rotary_dim / 2."""
        return self.rotary_dim // 2

    @property
    def original_inv_freq(self) -> FloatArray:
        """The table of pre-training, base^(-2i/d), in radians per token."""
        return inverse_frequencies(self.rotary_dim, self.base)

    @property
    def wavelengths(self) -> FloatArray:
        """Tokens per turn of each pair; infinite for a pair that does not rotate."""
        with np.errstate(divide="ignore"):
            return 2 * np.pi / self.inv_freq

    @property
    def factors(self) -> FloatArray:
        """What each original frequency was divided by; infinite for a pair that does not rotate."""
        with np.errstate(divide="ignore"):
            return self.original_inv_freq / self.inv_freq

    @property
    def turns(self) -> FloatArray:
        """Turns that each pair makes within ``original_length`` tokens."""
        return self.original_length * self.inv_freq / (2 * np.pi)

    def at(self, length: int) -> Rope:
        """Return the static rope that applies to a sequence of ``length`` tokens: itself unless a step follows it."""
        if self.static:
            return self
        # Methods build on this module; only a dynamic rope needs them back.
        from ropewalk.rope.methods import replay

        return replace(replay(self, length), static=True, layers=self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary for JSON; floats survive it to the last bit."""
        return {
            "format": FORMAT,
            "rotary_dim": self.rotary_dim,
            "base": self.base,
            "original_length": self.original_length,
            "inv_freq": self.inv_freq.tolist(),
            "attention_factor": self.attention_factor,
            "log_scaling_length": self.log_scaling_length,
            "steps": [{"method": step.method, "params": dict(step.params)} for step in self.steps],
            "static": self.static,
            # Of most ropes nothing is said: few models have several.
            **({"layers": self.layers} if self.layers != "global" else {}),
            **({"position_map": self.position_map.to_json()} if self.position_map is not None else {}),
        }

    @classmethod
    def from_json(cls, value: Any) -> Rope:
        """Rebuild a rope from :meth:`to_json`.

        Raises:
            UserError: a key is missing or holds something else than it should.
        """
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, Mapping) else type(value).__name__
            raise ValueFault("format", f"is {found!r}; expected {FORMAT!r}.")
        value = {"layers": "global", "position_map": None, **value}
        missing = [entry.name for entry in fields(cls) if entry.name not in value]
        if missing:
            raise UserError(f"{', '.join(missing)} missing; expected every key of a {FORMAT} object.")
        if not isinstance(value["static"], bool):
            raise ValueFault("static", f"is {value['static']!r}; expected true or false.")
        try:
            steps = tuple(Step(str(step["method"]), dict(step["params"])) for step in value["steps"])
        except (KeyError, TypeError, ValueError):
            raise ValueFault("steps", f"is {value['steps']!r}; expected a list of {{method, params}}.") from None
        given = {entry.name: value[entry.name] for entry in fields(cls)} | {"steps": steps}
        if given["position_map"] is not None:
            given["position_map"] = PositionMap.from_json(given["position_map"])
        return cls(**given)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the rope to a JSON file, whole or not at all."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Rope:
        """Read a rope from the file that :meth:`save` wrote.

        Raises:
            UserError: the file is missing, damaged or no rope.
        """
        value = read_json(path, "a rope")
        try:
            return cls.from_json(value)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def inverse_frequencies(rotary_dim: int, base: float) -> FloatArray:
    """Return base^(-2i/d) for i = 0 .. d/2 - 1, in radians per token (RoFormer, arXiv 2104.09864, section 3.2)."""
    return np.power(float(base), -np.arange(0, rotary_dim, 2, dtype=np.float64) / rotary_dim)


def _frequencies(values: Any, rotary_dim: int) -> FloatArray:
    try:
        table = np.array(values, dtype=np.float64)  # a copy: making it read-only must not lock the caller's array
    except (TypeError, ValueError):
        raise ValueFault("inv_freq", f"is {values!r}; expected a list of numbers.") from None
    if table.shape != (rotary_dim // 2,):
        raise ValueFault(
            "inv_freq",
            f"has shape {table.shape}; expected ({rotary_dim // 2},), one frequency for each pair of "
            f"rotary_dim {rotary_dim}: this rope was made for another dimension.",
        )
    bad = np.flatnonzero(~np.isfinite(table) | (table < 0))
    if bad.size:
        raise UserError(f"inv_freq[{bad[0]}] is {table[bad[0]]}; expected a finite number of at least 0.")
    table.flags.writeable = False
    return table


def as_number(name: str, value: Any) -> float:
    """Return ``value`` as a finite float, or raise a UserError that calls it ``name``."""
    if isinstance(value, bool | str):
        raise ValueFault(name, f"is {value!r}; expected a number.")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueFault(name, f"is {value!r}; expected a number.") from None
    if not math.isfinite(number):
        raise ValueFault(name, f"is {number}; expected a finite number.")
    return number


def as_integer(name: str, value: Any, *, at_least: int) -> int:
    """Return ``value`` as an int of at least ``at_least``, or raise a UserError that calls it ``name``."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < at_least:
        raise ValueFault(name, f"is {value!r}; expected a whole number of at least {at_least}.")
    return number

"""What a search space is: a few numbers between bounds that make a rope.

Every space gives one divisor of the frequency of each pair, lambda_i > 0, and a temperature c, from which the attention
factor is 1 + c ln s for a factor s. Those that are searched are in :mod:`ropewalk.search.spaces`, hand-made methods
with a few values of their constants in :mod:`ropewalk.search.by_hand`.

Symbols: d the rotary dimension, D = d/2 pairs, L the length of pre-training in tokens, b the base, and n(t) the
fractional index at which a pair makes t turns within L.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ropewalk.errors import UserError
from ropewalk.rope import Rope
from ropewalk.rope.bases import default_rope
from ropewalk.rope.pairs import longrope
from ropewalk.rope.rope import FloatArray, as_number

YARN_TEMPERATURE = 0.1
"""c of YaRN and of the MrRoPE methods (arXiv 2309.00071, section 3.4)."""

AT_BOUND = 0.01
"""A value that is no farther from a bound than this share of the range lies on it."""
INSIDE = 0.1
"""A rope is a point of a space where the nearest point is off by no more than this: root mean square of ln lambda."""


@dataclass(frozen=True)
class Parameter:
    """One searched number between two bounds, on a logarithmic scale or not, whole or not."""

    name: str
    low: float
    high: float
    log: bool = False
    integer: bool = False

    def clip(self, value: float) -> float:
        """The nearest value within the bounds."""
        value = min(max(float(value), self.low), self.high)
        return float(round(value)) if self.integer else value

    def share(self, value: float) -> float:
        """Where a value lies between the bounds, on the scale: 0 at the lower one, 1 at the upper one."""
        low, high, value = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (value - low) / (high - low)

    def at(self, share: float) -> float:
        """The value at a share of the way from the lower bound to the upper one: the inverse of :meth:`share`."""
        low, high = (math.log(x) if self.log else x for x in (self.low, self.high))
        value = low + share * (high - low)
        return self.clip(math.exp(value) if self.log else value)


TEMPERATURE = Parameter("c", 0.0, 0.2)


class Space(ABC):
    """A box of numbers, each point of which is a rope for one table and one factor."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]

    def __init__(self, table: Rope, factor: float) -> None:
        """Bind the space to a table.

        Args:
            table: the rope of pre-training.
            factor: s, target length over pre-training length; above 1.

        Raises:
            UserError: the table is not an original one, or the factor is not above 1.
        """
        factor = as_number("factor", factor)
        if factor <= 1:
            raise UserError(
                f"factor is {factor:g}; expected more than 1: within the training length nothing is to find."
            )
        if not np.array_equal(table.inv_freq, table.original_inv_freq):
            raise UserError(
                "a search starts from the table of pre-training with every pair turning; this rope was changed already."
            )
        if table.original_length <= 2 * math.pi:
            raise UserError(f"original_length is {table.original_length}; expected more than 2 pi tokens.")
        original = default_rope(table.rotary_dim, table.base, table.original_length)
        self.table, self.factor = replace(original, layers=table.layers), factor
        self.log_factor = math.log(factor)
        self.last = table.pairs - 1

    @abstractmethod
    def log_divisors(self, values: Mapping[str, float]) -> FloatArray:
        """ln lambda_i of a point, shape (pairs,)."""

    @abstractmethod
    def nearest(self, log_divisors: FloatArray) -> dict[str, float]:
        """The values, but for c, of a point near ln lambda_i, shape (pairs,)."""

    def rope(self, values: Mapping[str, float]) -> Rope:
        """The rope of a point, made by :func:`ropewalk.rope.pairs.longrope`, so that one command makes it again."""
        return longrope(
            self.table,
            long_factor=np.exp(self.log_divisors(values)).tolist(),
            factor=self.factor,
            attention_factor=1 + values["c"] * self.log_factor,
        )

    def point(self, rope: Rope) -> dict[str, float]:
        """The values of the point that is nearest to a rope, within the bounds.

        Args:
            rope: a static rope on the same table, all of whose pairs rotate.
        """
        values = self.nearest(np.log(rope.factors)) | {"c": (rope.attention_factor - 1) / self.log_factor}
        return {parameter.name: parameter.clip(values[parameter.name]) for parameter in self.parameters}

    def distance(self, rope: Rope) -> float:
        """Root mean square of ln lambda between a rope and its nearest point; infinite if a pair stands still."""
        if not rope.static or np.any(rope.inv_freq == 0):
            return math.inf
        found = self.log_divisors(self.point(rope))
        return float(np.sqrt(np.square(found - np.log(rope.factors)).mean()))

    def on_bounds(self, values: Mapping[str, float]) -> dict[str, float]:
        """The bounds that a point lies on, by parameter: there the space ends, and a better point may lie beyond."""
        shares = {p.name: p.share(values[p.name]) for p in self.parameters}
        return {
            p.name: p.low if shares[p.name] < 0.5 else p.high
            for p in self.parameters
            if min(shares[p.name], 1 - shares[p.name]) <= AT_BOUND
        }

    def index(self, turns: float) -> float:
        """n(t) = d ln(L / (2 pi t)) / (2 ln b), the fractional index of the pair that makes ``turns`` turns in L."""
        table = self.table
        return table.pairs * math.log(table.original_length / (2 * math.pi * turns)) / math.log(table.base)

    def turns_at(self, index: float) -> float:
        """Turns within L at a fractional index: the inverse of :meth:`index`."""
        table = self.table
        return table.original_length / (2 * math.pi) * table.base ** (-index / table.pairs)

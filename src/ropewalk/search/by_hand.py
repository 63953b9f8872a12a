"""Hand-made methods with a few values of their constants: what a person tries who tunes them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import product

import numpy as np

from ropewalk.errors import UserError
from ropewalk.rope import Rope
from ropewalk.rope.pairs import longrope
from ropewalk.rope.ramps import mrrope_pro, mrrope_uni, yarn
from ropewalk.rope.rope import FloatArray
from ropewalk.search.space import YARN_TEMPERATURE, Parameter, Space


class ByHand(Space):
    """A hand-made method with a few values of its constants, all of which are tried (sampler ``grid``).

    Constants are given in turns within L where they can be, so that the same values suit every table.

    Attributes:
        constants: the values of each, the published one among them where there is one.
    """

    constants: Mapping[str, tuple[float, ...]]

    def __init__(self, table: Rope, factor: float) -> None:
        super().__init__(table, factor)
        self.parameters = tuple(Parameter(name, min(few), max(few)) for name, few in self.constants.items())

    @abstractmethod
    def make(self, values: Mapping[str, float]) -> Rope:
        """The rope of some values of the constants."""

    def rope(self, values: Mapping[str, float]) -> Rope:
        return self.make(values)

    @property
    def points(self) -> dict[str, dict[str, float]]:
        """Every combination of the constants that makes a rope, by its text; of those that make the same, the first."""
        found: dict[bytes, dict[str, float]] = {}
        for few in product(*self.constants.values()):
            values = dict(zip(self.constants, few, strict=True))
            with suppress(UserError):  # a ramp that ends before it starts
                found.setdefault(self.make(values).inv_freq.tobytes(), values)
        return {", ".join(f"{name} {value:g}" for name, value in v.items()): v for v in found.values()}

    def log_divisors(self, values: Mapping[str, float]) -> FloatArray:
        return np.log(self.make(values).factors)

    def nearest(self, log_divisors: FloatArray) -> dict[str, float]:
        return min(
            self.points.values(), key=lambda values: float(np.square(self.log_divisors(values) - log_divisors).sum())
        )


class _Ramped(ByHand):
    """A ramp between two numbers of turns, as YaRN's code takes them: fast pairs are left alone, slow ones divided."""

    constants: Mapping[str, tuple[float, ...]] = {
        "beta_fast": (32.0, 16.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.5),
        "beta_slow": (1.0, 0.5, 2.0),
    }
    method: Callable[..., Rope]

    def make(self, values: Mapping[str, float]) -> Rope:
        if values["beta_fast"] <= values["beta_slow"]:
            raise UserError("a ramp is searched that starts before it ends; steps are a space of their own.")
        return type(self).method(self.table, factor=self.factor, **values)


class TunedYarn(_Ramped):
    """YaRN as coded (arXiv 2309.00071), whose authors chose 32 turns and 1 for LLaMA at 4,096 tokens."""

    name = "yarn"
    description = "YaRN: where its ramp starts and ends, in turns"
    method = staticmethod(yarn)


class TunedMrRopeUni(_Ramped):
    """MrRoPE-Uni (arXiv 2601.22181), which has the ends of YaRN."""

    name = "mrrope-uni"
    description = "MrRoPE-Uni: where its ramp starts and ends, in turns"
    method = staticmethod(mrrope_uni)


class TunedMrRopePro(_Ramped):
    """MrRoPE-Pro (arXiv 2601.22181), which has the ends of YaRN."""

    name = "mrrope-pro"
    description = "MrRoPE-Pro: where its ramp starts and ends, in turns"
    method = staticmethod(mrrope_pro)


class TunedStep(ByHand):
    """The simplest rope that there is: pairs of fewer turns than a number are divided by s; YaRN's temperature."""

    name = "step"
    description = "a step: the turns below which pairs are divided by the factor"
    constants: Mapping[str, tuple[float, ...]] = {"turns": (4.0, 2.8, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35)}

    def make(self, values: Mapping[str, float]) -> Rope:
        divisors = np.where(self.table.turns < values["turns"], self.factor, 1.0)
        temperature = 1 + YARN_TEMPERATURE * self.log_factor
        return longrope(self.table, long_factor=divisors.tolist(), factor=self.factor, attention_factor=temperature)


BY_HAND: dict[str, type[ByHand]] = {
    space.name: space for space in (TunedYarn, TunedMrRopeUni, TunedMrRopePro, TunedStep)
}
"""What is tuned by hand."""

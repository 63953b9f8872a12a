"""The spaces that are searched, by their names.

``ramp`` and ``bands`` are few numbers in which the hand-made methods are points; ``tail`` and ``pairs`` free each pair,
under the condition that slower pairs are divided by no less; ``groups`` drops that condition; ``mapped-ramp`` adds a
map of positions. They are derived from published work (below), not from the ORoPE paper, whose own space could not be
read. ``wavelengths`` moves the wavelengths that Resonance RoPE rounds, and keeps the temperature.

Symbols are those of :mod:`ropewalk.search.space`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

from ropewalk.errors import UserError
from ropewalk.rope import Rope
from ropewalk.rope.beside_table import leaky_rerope
from ropewalk.rope.ramps import yarn
from ropewalk.rope.rope import FloatArray
from ropewalk.search.by_hand import BY_HAND
from ropewalk.search.space import TEMPERATURE, YARN_TEMPERATURE, Parameter, Space

STEEPEST = 1e-9
"""Pairs over which a ramp rises at least: one that rises at once is a step."""


def _ends(values: Mapping[str, float], log_factor: float) -> tuple[float, float]:
    """ln lambda of the fastest and the slowest pair, which is divided by no less."""
    last = log_factor + values["kappa"]
    return min(values["u"] ** 2 * log_factor, last), last


class Ramp(Space):
    """Six numbers: a ramp in the index, between two numbers of turns, with a power as its shape.

    ln lambda_i = sigma + (ln s + kappa - sigma) x_i^p, x_i = clip((i - l)/(h - l), 0, 1), h = n(alpha),
    l = n(alpha rho), sigma = u^2 ln s, but at most ln s + kappa. PI is u = 1; NTK-aware p = 1 over all pairs;
    MrRoPE-Uni p = 1 between 32 turns and 1; YaRN and MrRoPE-Pro have p between 0.4 and 3, depending on the factor. With
    rho = 1 the ramp is a step.
    """

    name = "ramp"
    description = "six numbers: ends of a ramp in turns, its power, over-scaling, scaling of the fastest, temperature"

    def __init__(self, table: Rope, factor: float) -> None:
        super().__init__(table, factor)
        slowest, fastest = self.turns_at(self.last), self.turns_at(0)
        self.parameters = (
            Parameter("alpha", slowest, min(16.0, fastest), log=True),
            Parameter("rho", 1.0, max(2.0, fastest / slowest), log=True),
            Parameter("p", 0.3, 8.0, log=True),
            Parameter("kappa", -0.3, math.log(2)),
            Parameter("u", 0.0, 1.0),
            TEMPERATURE,
        )

    def log_divisors(self, values: Mapping[str, float]) -> FloatArray:
        high = self.index(values["alpha"])
        low = self.index(values["alpha"] * values["rho"])
        first, last = _ends(values, self.log_factor)
        x = np.clip((np.arange(self.table.pairs) - low) / max(high - low, STEEPEST), 0, 1)
        return np.asarray(first + (last - first) * np.power(x, values["p"]))

    def nearest(self, log_divisors: FloatArray) -> dict[str, float]:
        first, last = float(log_divisors[0]), float(log_divisors[-1])
        first = min(max(first, 0.0), self.log_factor)
        kappa = self.parameters[3].clip(last - self.log_factor)
        values = {"kappa": kappa, "u": math.sqrt(first / self.log_factor)}
        alpha, rho, power = self.parameters[:3]

        def shape(x: FloatArray) -> dict[str, float]:
            """Ends as indices, and the power, within the bounds."""
            low, high, exponent = x
            slow = alpha.clip(self.turns_at(high))
            fast = self.turns_at(low)
            return {"alpha": slow, "rho": rho.clip(fast / slow), "p": power.clip(exponent)}

        def error(x: FloatArray) -> float:
            return float(np.square(self.log_divisors(values | shape(x) | {"c": 0.0}) - log_divisors).sum())

        if last - first < 1e-9:  # a flat table has no ramp; any will do
            return values | shape(np.array([0.0, self.last, 1.0]))
        inner = (log_divisors - first) / (last - first)
        starts = int(np.flatnonzero(inner <= 1e-9).max(initial=0)), int(np.argmax(inner >= 1 - 1e-9))
        fast, slow = self.index(32), self.index(1)
        ends = {starts, (0, self.last), (fast, slow), (math.floor(fast), math.ceil(slow))}
        tried = [(low, high, p) for low, high in ends for p in (0.4, 0.6, 1.0, 1.5, 2.2, 3.2) if high > low]
        best = min((np.array(x, dtype=float) for x in tried), key=error)
        if error(best) > 1e-12:
            best = minimize(error, best, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12}).x
        return values | shape(best)


class MappedRamp(Ramp):
    """A ramp and a map of positions: the six numbers of ``ramp``, a window and the divisor of distances beyond it.

    The map is leaky ReRoPE, whose two numbers go smoothly to no map at all: with a divisor of 1, or a window that holds
    the text. The window is rounded to whole tokens when a rope is made of it.
    """

    name = "mapped-ramp"
    description = "the six numbers of ramp, and a map of positions: its window and the divisor of distances beyond it"

    def __init__(self, table: Rope, factor: float) -> None:
        super().__init__(table, factor)
        length = table.original_length
        self.parameters = (
            *self.parameters,
            Parameter("window", min(8, length), length, log=True),
            Parameter("group", 1.0, 4 * factor, log=True),
        )

    def nearest(self, log_divisors: FloatArray) -> dict[str, float]:
        # A hand-made rope has no map.
        return super().nearest(log_divisors) | {"window": self.table.original_length, "group": 1.0}

    def rope(self, values: Mapping[str, float]) -> Rope:
        return leaky_rerope(super().rope(values), window=round(values["window"]), group=values["group"])


class Bands(Space):
    """Nine numbers: a monotone curve through eight knots.

    Knots stand at the first pair, at six indices evenly between 64 turns and a quarter of one, and at the last pair.
    Between the two ends, the curve rises by shares that sum to one, by breaking a stick: z_k in [0, 1] breaks off
    v_k = 1 - (1 - z_k)^(1/(K-k-1)) of what is left, so that uniform z give shares that are uniform on the simplex.
    Every point is monotone.
    """

    name = "bands"
    description = (
        "nine numbers: a monotone curve through eight knots, over-scaling, scaling of the fastest, temperature"
    )
    KNOTS = 8

    def __init__(self, table: Rope, factor: float) -> None:
        super().__init__(table, factor)
        if self.last < self.KNOTS:
            raise UserError(
                f"rotary_dim is {table.rotary_dim}; expected more than {2 * self.KNOTS} for the space bands."
            )
        first, last = (min(max(self.index(turns), 1.0), self.last - 1.0) for turns in (64, 0.25))
        self.knots = np.array([0.0, *np.linspace(first, last, self.KNOTS - 2), float(self.last)])
        self.sticks = tuple(f"z{k}" for k in range(1, self.KNOTS - 1))
        self.parameters = (
            *(Parameter(name, 0.0, 1.0) for name in self.sticks),
            Parameter("kappa", -0.3, math.log(2)),
            Parameter("u", 0.0, 1.0),
            TEMPERATURE,
        )

    def log_divisors(self, values: Mapping[str, float]) -> FloatArray:
        first, last = _ends(values, self.log_factor)
        left, heights = 1.0, [0.0]
        for k, name in enumerate(self.sticks, start=1):
            broken = left * (1 - (1 - values[name]) ** (1 / (self.KNOTS - k - 1)))
            heights.append(heights[-1] + broken)
            left -= broken
        curve = np.interp(np.arange(self.table.pairs), self.knots, [*heights, 1.0])
        return np.asarray(first + (last - first) * curve)

    def nearest(self, log_divisors: FloatArray) -> dict[str, float]:
        first, last = float(log_divisors[0]), float(log_divisors[-1])
        at_knots = np.interp(self.knots, np.arange(self.table.pairs), log_divisors)
        span = last - first
        # A flat curve has no shares; any will do.
        shares = np.diff((at_knots - first) / span).clip(0, 1) if span > 1e-9 else np.full(self.KNOTS - 1, 1 / 7)
        values, left = {}, 1.0
        for k, name in enumerate(self.sticks, start=1):
            broken = min(1.0, shares[k - 1] / left) if left > 1e-12 else 1.0
            values[name] = 1 - (1 - broken) ** (self.KNOTS - k - 1)
            left -= shares[k - 1]
        scaled = min(max(first, 0.0), self.log_factor)
        return values | {"kappa": last - self.log_factor, "u": math.sqrt(scaled / self.log_factor)}


class Tail(Space):
    """A searched critical pair k; pairs from it on are free between s and 2s, faster ones follow an NTK curve up to it.

    LongRoPE2 (arXiv 2502.20082) searches so: k between the pair of 10 turns and that of 1, lambda_i monotone in [s, 2s]
    for i >= k, and lambda_i = lambda_k^(i/k) below.
    """

    name = "tail"
    description = "a critical pair, a free monotone divisor for each pair after it, temperature"

    def __init__(self, table: Rope, factor: float) -> None:
        super().__init__(table, factor)
        low = min(max(1, math.ceil(self.index(10))), self.last)
        high = min(max(low, math.ceil(self.index(1))), self.last)
        self.free = {i: f"f{i}" for i in range(low, table.pairs)}
        self.parameters = (
            Parameter("k", low, high, integer=True),
            *(Parameter(name, 0.0, 1.0) for name in self.free.values()),
            TEMPERATURE,
        )

    def log_divisors(self, values: Mapping[str, float]) -> FloatArray:
        k = int(values["k"])
        over = np.maximum.accumulate([values[self.free[i]] for i in range(k, self.table.pairs)])
        tail = self.log_factor + math.log(2) * over
        return np.concatenate([tail[0] * np.arange(k) / k, tail])

    def nearest(self, log_divisors: FloatArray) -> dict[str, float]:
        over = {name: (log_divisors[i] - self.log_factor) / math.log(2) for i, name in self.free.items()}
        over = {name: min(max(value, 0.0), 1.0) for name, value in over.items()}
        bounds = self.parameters[0]
        candidates = [over | {"k": float(k), "c": 0.0} for k in range(int(bounds.low), int(bounds.high) + 1)]
        return min(candidates, key=lambda values: float(np.square(self.log_divisors(values) - log_divisors).sum()))


class Pairs(Space):
    """A divisor of its own for each pair, in [1, 1.25 s], raised to that of the pair before where it is smaller.

    The space of LongRoPE (arXiv 2402.13753), without its unscaled first tokens.
    """

    name = "pairs"
    description = "a monotone divisor for each pair, temperature"

    def __init__(self, table: Rope, factor: float) -> None:
        super().__init__(table, factor)
        self.highest = 1.25 * factor
        self.free = tuple(f"f{i}" for i in range(table.pairs))
        self.parameters = (*(Parameter(name, 1.0, self.highest) for name in self.free), TEMPERATURE)

    def log_divisors(self, values: Mapping[str, float]) -> FloatArray:
        return np.log(np.maximum.accumulate([values[name] for name in self.free]))

    def nearest(self, log_divisors: FloatArray) -> dict[str, float]:
        return dict(zip(self.free, np.exp(log_divisors).tolist(), strict=True))


class Groups(Space):
    """Eight groups of neighbouring pairs, each with a factor between 1 and 8s of its own, in any order.

    The space of DPE (arXiv 2504.18857), whose published optima are not monotone; its levels are 1, 2, 4, …, 8s for
    s = 16.
    """

    name = "groups"
    description = "a factor for each of eight groups of pairs, in any order, temperature"
    COUNT = 8
    LEVELS = 8

    def __init__(self, table: Rope, factor: float) -> None:
        super().__init__(table, factor)
        if table.pairs < self.COUNT:
            raise UserError(
                f"rotary_dim is {table.rotary_dim}; expected at least {2 * self.COUNT} for the space groups."
            )
        self.members = np.array_split(np.arange(table.pairs), self.COUNT)
        self.free = tuple(f"g{k}" for k in range(self.COUNT))
        self.parameters = (*(Parameter(name, 0.0, math.log2(8 * factor)) for name in self.free), TEMPERATURE)

    def log_divisors(self, values: Mapping[str, float]) -> FloatArray:
        sizes = [len(members) for members in self.members]
        return np.repeat([math.log(2) * values[name] for name in self.free], sizes)

    def nearest(self, log_divisors: FloatArray) -> dict[str, float]:
        means = [float(log_divisors[members].mean()) / math.log(2) for members in self.members]
        return dict(zip(self.free, means, strict=True))


class Wavelengths(Space):
    """Whole wavelengths near those that Resonance RoPE rounds to; its authors leave better ones to others.

    The table is YaRN's as coded, with its temperature, all wavelengths rounded. Of pairs that turn at least once in
    training, each wavelength may be up to ``REACH`` tokens longer or shorter, but no shorter than two.
    """

    name = "wavelengths"
    description = "a whole wavelength for each pair that turns in training, near that of YaRN"
    REACH = 3
    WHOLE = True

    def __init__(self, table: Rope, factor: float) -> None:
        super().__init__(table, factor)
        self.start = yarn(self.table, factor=factor)
        self.wavelengths = np.round(self.start.wavelengths) if self.WHOLE else self.start.wavelengths
        moved = np.flatnonzero(self.start.wavelengths <= self.table.original_length)
        self.free = {int(i): f"w{i}" for i in moved}
        self.parameters = tuple(
            Parameter(
                name, max(2.0, self.wavelengths[i] - self.REACH), self.wavelengths[i] + self.REACH, False, self.WHOLE
            )
            for i, name in self.free.items()
        )

    @property
    def points(self) -> dict[str, dict[str, float]]:
        """What is tried first: the table that is moved."""
        return {"unmoved": {name: float(self.wavelengths[i]) for i, name in self.free.items()}}

    def log_divisors(self, values: Mapping[str, float]) -> FloatArray:
        moved = self.wavelengths.copy()
        moved[list(self.free)] = [values[name] for name in self.free.values()]
        return np.log(moved / self.table.wavelengths)

    def nearest(self, log_divisors: FloatArray) -> dict[str, float]:
        wavelengths = self.table.wavelengths * np.exp(log_divisors)
        return {name: float(wavelengths[i]) for i, name in self.free.items()}

    def rope(self, values: Mapping[str, float]) -> Rope:
        return super().rope({**values, "c": YARN_TEMPERATURE})


class FreeWavelengths(Wavelengths):
    """The same, unrounded: what whole wavelengths are held against at equal budget."""

    name = "free-wavelengths"
    description = "a wavelength for each pair that turns in training, near that of YaRN, whole or not"
    WHOLE = False


SPACES: dict[str, type[Space]] = {
    space.name: space for space in (Ramp, MappedRamp, Bands, Tail, Pairs, Groups, Wavelengths, FreeWavelengths)
}
"""What samplers search."""


def make_space(name: str, table: Rope, factor: float) -> Space:
    """The space called ``name``.

    Raises:
        UserError: there is none of that name, or it does not fit the table.
    """
    known = SPACES | BY_HAND
    if name not in known:
        raise UserError(f"space {name!r}: expected one of {', '.join(known)}.")
    return known[name](table, factor)

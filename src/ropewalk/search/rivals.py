"""Who proposes the next rope: Bayesian optimisation, and what it is held against.

All search with the same harness, documents and accounting, and all but the grid with the same first points. Optuna's
samplers are asked through :mod:`ropewalk.search.study`; the rivals here are functions of what was tried so far, so that
a search which was killed goes on as if nothing had happened. The first ``STARTUP`` trials of all but evolution and scan
are the hand-made ropes and points of one Sobol sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from ropewalk.search.causes import sobol_values
from ropewalk.search.space import YARN_TEMPERATURE, Parameter, Space
from ropewalk.search.spaces import Groups, Pairs

Values = dict[str, float]

STARTUP = 16
"""Trials before a model of the objective is asked."""

POPULATION, MUTATIONS, CROSSOVERS, PARENTS, CHANCE = 32, 8, 8, 16, 0.3
"""Half the sizes of LongRoPE's evolution (arXiv 2402.13753), so that 192 trials make ten generations; its 1,344
evaluations, 64 and then 40 generations of 32, make 82."""
GRAIN = 0.01
"""Its step of a divisor."""
STRIDE = 0.15
"""Standard deviation of a mutation of any other number, as a share of its range."""


@dataclass(frozen=True)
class Tried:
    """A finished trial.

    Attributes:
        values: by parameter.
        objective: nats; smaller is better.
        excess: nats a token above the allowed cost of short texts; at most 0 is allowed.
        given: it is one of the first points, not proposed by a sampler.
        whole: all documents were read; the objective is not a mean of some.
    """

    values: Mapping[str, float]
    objective: float
    excess: float
    given: bool = False
    whole: bool = True

    @property
    def rank(self) -> tuple[float, float]:
        """Allowed ones by their objective, then the others by how far they are off."""
        return (max(0.0, self.excess), self.objective if self.excess <= 0 else 0.0)


def best_of(history: Sequence[Tried]) -> float | None:
    """The least objective of the trials that are allowed and read all documents; None where there is none."""
    return min((tried.objective for tried in history if tried.excess <= 0 and tried.whole), default=None)


def sobol(space: Space, history: Sequence[Tried], number: int, seed: int) -> Values:
    """Point ``number`` of a scrambled Sobol sequence."""
    sequence = qmc.Sobol(len(space.parameters), seed=seed)
    if number:
        sequence.fast_forward(number)
    # A single point of a sequence has no balance to lose.
    return sobol_values(space, sequence.random(1))[0]


def evolution(space: Space, history: Sequence[Tried], number: int, seed: int) -> Values:
    """LongRoPE's evolutionary search: mutants and crosses of the best.

    A mutant draws each divisor of ``pairs`` anew with probability 0.3 between its neighbours, and moves every other
    number, the temperature among them, with the same probability by a normal step; a cross takes each from either
    parent. The first population is the given points and mutants of them. A generation is bred from the best of all
    before it.
    """
    rng = np.random.default_rng([seed, number])
    if number < POPULATION:
        parents = [trial for trial in history if trial.given] or [Tried(_middle(space), math.inf, 0.0)]
        crossed = False
    else:
        generation, child = divmod(number - POPULATION, MUTATIONS + CROSSOVERS)
        known = history[: POPULATION + generation * (MUTATIONS + CROSSOVERS)]
        parents = sorted(known, key=lambda trial: trial.rank)[:PARENTS]
        crossed = child >= MUTATIONS
    first, second = (parents[k].values for k in rng.choice(len(parents), size=2, replace=len(parents) < 2))
    divisors = space.free if isinstance(space, Pairs) else ()
    others = [p for p in space.parameters if p.name not in divisors]
    if crossed:
        values = {p.name: (first, second)[rng.integers(2)][p.name] for p in space.parameters}
        genes = np.array([values[name] for name in divisors])
    else:
        genes = _mutated(np.array([first[name] for name in divisors]), space.factor, rng)
        values = _moved(others, first, rng)
    # Mixed by chance, and in order again.
    return values | dict(zip(divisors, np.maximum.accumulate(genes).tolist(), strict=True))


def _middle(space: Space) -> Values:
    """What evolution starts from where nothing is given: all pairs divided by the factor, or the middle of the box."""
    if isinstance(space, Pairs):
        return {**dict.fromkeys(space.free, space.factor), "c": YARN_TEMPERATURE}
    return {p.name: p.at(0.5) for p in space.parameters}


def _moved(parameters: Sequence[Parameter], values: Mapping[str, float], rng: np.random.Generator) -> Values:
    """Each of some numbers, moved by chance within its bounds."""
    steps = np.where(rng.random(len(parameters)) < CHANCE, STRIDE * rng.standard_normal(len(parameters)), 0.0)
    return {
        p.name: p.at(min(max(p.share(values[p.name]) + step, 0.0), 1.0)) if step else values[p.name]
        for p, step in zip(parameters, steps.tolist(), strict=True)
    }


def _mutated(genes: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    genes, highest = np.maximum.accumulate(genes), 1.25 * factor
    for i in np.flatnonzero(rng.random(len(genes)) < CHANCE):
        low = genes[i - 1] if i else 1.0
        high = genes[i + 1] if i + 1 < len(genes) else highest
        genes[i] = min(high, low + GRAIN * rng.integers(0, math.floor((high - low) / GRAIN) + 1))
    return genes


def scan(space: Space, history: Sequence[Tried], number: int, seed: int) -> Values:
    """A coordinate scan over groups, after DPE (arXiv 2504.18857): each group tries eight levels, the others fixed.

    All groups start at 2s. Unlike DPE, a group keeps its best level while later ones are scanned, so that the last rope
    of a round is measured as it is; further rounds start from it.
    """
    assert isinstance(space, Groups)
    tried = [trial for trial in history if not trial.given]
    levels = np.linspace(0, math.log2(8 * space.factor), space.LEVELS)
    values = {**dict.fromkeys(space.free, math.log2(2 * space.factor)), "c": YARN_TEMPERATURE}
    for done in range(len(tried) // space.LEVELS):
        own = tried[done * space.LEVELS : (done + 1) * space.LEVELS]
        values = dict(min(own, key=lambda trial: trial.rank).values)
    group, level = divmod(len(tried), space.LEVELS)
    return {**values, space.free[group % space.COUNT]: float(levels[level])}


Proposer = Callable[[Space, Sequence[Tried], int, int], Values]

PROPOSERS: dict[str, Proposer] = {"sobol": sobol, "evolution": evolution, "scan": scan}
"""Our own samplers; the others are Optuna's."""

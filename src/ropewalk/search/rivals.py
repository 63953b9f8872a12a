"""Who proposes the next rope: Bayesian optimisation, and what it is held against.

All search with the same harness, documents, first points and accounting. Optuna's samplers are asked through
:mod:`ropewalk.search.study`; the rivals here are functions of what was tried so far, so that a search which was killed
goes on as if nothing had happened. The first ``STARTUP`` trials of all but evolution and scan are the hand-made ropes
and points of one Sobol sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from ropewalk.search.causes import sobol_values
from ropewalk.search.space import YARN_TEMPERATURE, Groups, Pairs, Space

Values = dict[str, float]

STARTUP = 16
"""Trials before a model of the objective is asked."""

POPULATION, MUTATIONS, CROSSOVERS, PARENTS, CHANCE = 64, 16, 16, 32, 0.3
"""LongRoPE's evolution (arXiv 2402.13753): 64, then 40 generations of 32, are its 1,344 evaluations."""
GRAIN = 0.01
"""Its step of a divisor."""


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
    """LongRoPE's evolutionary search: mutants and crosses of the best, monotone throughout.

    A mutant draws each divisor anew with probability 0.3 between its neighbours; a cross takes each from either parent.
    The first population is the given points and mutants of them. A generation is bred from the best of all before it.
    """
    rng = np.random.default_rng([seed, number])
    names = space.free if isinstance(space, Pairs) else ()
    if number < POPULATION:
        parents = [trial for trial in history if trial.given] or [
            Tried({**dict.fromkeys(names, space.factor), "c": YARN_TEMPERATURE}, math.inf, 0.0)
        ]
        crossed = False
    else:
        generation, child = divmod(number - POPULATION, MUTATIONS + CROSSOVERS)
        known = history[: POPULATION + generation * (MUTATIONS + CROSSOVERS)]
        parents = sorted(known, key=lambda trial: trial.rank)[:PARENTS]
        crossed = child >= MUTATIONS
    picked = rng.choice(len(parents), size=min(2, len(parents)), replace=False)
    first = np.array([parents[picked[0]].values[name] for name in names])
    if crossed:
        second = np.array([parents[picked[-1]].values[name] for name in names])
        # Mixed by chance, and in order again.
        genes = np.maximum.accumulate(np.where(rng.random(len(names)) < 0.5, first, second))
    else:
        genes = _mutated(first, space.factor, rng)
    return {**dict(zip(names, genes.tolist(), strict=True)), "c": parents[picked[0]].values["c"]}


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

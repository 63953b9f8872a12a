"""Options of a search, of the reading that tests a rope as a search would, and of the report of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ropewalk.errors import UserError
from ropewalk.options import DTYPE, Count, Dtype, Options, Range, ReportOptions, Seed, Split, Tokens

Retrieval = Literal["needle", "copy", "none"]
Lengthening = Annotated[float, Range(above=1)]

BY_HAND = ("yarn", "mrrope-uni", "mrrope-pro", "step")
"""Spaces that are hand-made methods with a few values of their constants; the sampler grid tries all of them."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions(Options):
    """A search of a rope for one factor, without training."""

    factor: Lengthening
    """target length over the training length"""
    length: Tokens | None = None
    """training length in tokens; what the model's configuration says where null"""
    layers: Literal["global", "local", "all"] = "global"
    """which layers the rope is searched for, where types of layers have ropes of their own: those that see everything,
    those with windows, or both, which then need one table"""
    sampler: Literal["gp", "tpe", "cma", "sobol", "evolution", "scan", "grid"] = "gp"
    """who proposes ropes: Bayesian optimisation, another of Optuna's samplers (tpe, cma), a Sobol sequence, LongRoPE's
    evolution, a coordinate scan (of groups), or nobody: grid tries every constant of a hand-made method"""
    space: Literal[
        "ramp",
        "mapped-ramp",
        "bands",
        "tail",
        "pairs",
        "groups",
        "wavelengths",
        "free-wavelengths",
        "yarn",
        "mrrope-uni",
        "mrrope-pro",
        "step",
    ] = "ramp"
    """what is searched: six numbers, these and a map of positions, nine numbers, a critical pair and all after it,
    every pair, eight groups in any order, wavelengths near YaRN's that are whole tokens or need not be; or, with grid,
    the constants of a hand-made method"""
    budget: Count = 64
    """trials to finish, the hand-made ropes among them; raised later, the search goes on. A grid has as many as it has
    ropes"""
    seed: Seed = 0
    """seed of the proposals"""
    documents: Count = 6
    """documents of each corpus to search on, and as many to choose the best trial on"""
    retrieval: Retrieval = "needle"
    """answers that the objective asks for: a hidden fact, digits to copy, or none; left out where the model cannot give
    them at its training length"""
    short_cost: Annotated[float, Range(at_least=0)] | None = None
    """nats a token that texts up to the training length may cost against the original rope; what YaRN costs and 0.02
    more where null"""
    prune: bool = False
    """stop reading documents for a trial that is already seen to be worse than the best, by Wilcoxon's test"""
    patience: Count | None = None
    """trials without progress after which the search stops; never where null"""
    candidates: Count = 5
    """best trials that are measured on the split selection, which decides"""
    answer_seed: Seed = 0
    """seed of hidden facts and digits"""
    dtype: Dtype = DTYPE
    """type of the weights"""

    def check(self) -> None:
        if self.sampler == "scan" and self.space != "groups":
            raise UserError(f"sampler 'scan' searches the space groups, not {self.space}.")
        if (self.sampler == "grid") != (self.space in BY_HAND):
            raise UserError(
                f"sampler {self.sampler!r} with the space {self.space}: grid, and it alone, tries the constants of "
                f"hand-made methods, {', '.join(BY_HAND)}."
            )


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(Options):
    """A reading of a rope by what searches make small, at several lengths."""

    factors: list[Lengthening]
    """target lengths over the training length at which the rope is read"""
    length: Tokens | None = None
    """training length in tokens; what the model's configuration says where null"""
    split: Split = "test"
    """part of the documents that is read; searches see search and selection"""
    documents: Count = 6
    """documents of each corpus that are read"""
    retrieval: Retrieval = "needle"
    """answers to ask for: a hidden fact, digits to copy, or none; left out where the model cannot give them at its
    training length"""
    seed: Seed = 0
    """seed of hidden facts and digits"""
    dtype: Dtype = DTYPE
    """type of the weights"""

    def check(self) -> None:
        if not self.factors or len(set(self.factors)) < len(self.factors):
            raise UserError(f"factors is {self.factors}; expected one or more, all different.")


@dataclass(frozen=True, kw_only=True)
class SearchReportOptions(ReportOptions):
    """A report of searches and of readings of what they found."""

    reference: str = "yarn"
    """method of the hand-made rope, at each factor, that ropes are measured against"""

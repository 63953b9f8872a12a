"""Searches of a rope."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ropewalk.config.section import Name, Section, faults_of_a_key
from ropewalk.search.samplers import check_sampler


class SearchKind(Section):
    """A sampler in a space."""

    sampler: Literal["gp", "tpe", "cma", "sobol", "evolution", "scan"] = Field(
        description="Bayesian optimisation, another of Optuna's samplers, a Sobol sequence, LongRoPE's evolution (of "
        "pairs), or a coordinate scan (of groups)"
    )
    space: Literal["ramp", "bands", "tail", "pairs", "groups"] = Field(
        description="six numbers; nine; a critical pair and all after it; every pair; eight groups in any order"
    )
    budget: int | None = Field(None, ge=1, description="trials; those of the experiment where null")

    @model_validator(mode="after")
    def _sampler_fits_the_space(self) -> SearchKind:
        with faults_of_a_key():
            check_sampler(self.sampler, self.space)
        return self


class Search(Section):
    """Searches of a rope without training, each kind for each factor and seed."""

    factors: list[Annotated[float, Field(gt=1)]] = Field(
        min_length=1, description="target lengths over the training length"
    )
    searches: list[SearchKind] = Field(min_length=1, description="others are compared with the first of them")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0, 1], min_length=1, description="of the proposals")
    budget: int = Field(64, ge=1, description="trials of a search, the hand-made ropes among them")
    corpora: list[Name] | None = Field(
        None, description="names of the corpora to search on; all where null. Tests are on all of them"
    )
    documents: int = Field(
        6, ge=1, description="documents of each corpus to search on, and as many to choose the best trial on"
    )
    test_documents: int = Field(6, ge=1, description="documents of each corpus to test found ropes on")
    retrieval: Literal["needle", "copy", "none"] = Field(
        "needle", description="answers that the objective asks for: a hidden fact, digits to copy, or none"
    )
    short_cost: float | None = Field(
        None,
        ge=0,
        description="nats a token that texts up to the training length may cost; what YaRN costs and 0.02 where null",
    )
    prune: bool = Field(False, description="stop trials that are already seen to be worse than the best")
    patience: int | None = Field(None, ge=1, description="stop after so many trials without progress; never where null")
    candidates: int = Field(5, ge=1, description="best trials among which the split selection decides")
    answer_seed: int = Field(0, ge=0, description="of hidden facts and digits")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="of the weights")
    workers: int = Field(
        0, ge=0, description="jobs that share the journal of one search, for models whose trials take minutes"
    )

    @model_validator(mode="after")
    def _searches_differ(self) -> Search:
        names = [f"{kind.sampler} of {kind.space}" for kind in self.searches]
        for values, what in ((names, "searches"), (self.factors, "factors"), (self.seeds, "seeds")):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} are {', '.join(map(str, values))}; expected different ones")
        return self

    @property
    def studies(self) -> dict[str, dict[str, Any]]:
        """The options of each search by its name."""
        shared = self.model_dump(
            include={
                "documents",
                "retrieval",
                "short_cost",
                "prune",
                "patience",
                "candidates",
                "answer_seed",
                "dtype",
            }
        )
        return {
            f"{kind.sampler}-{kind.space}-{factor:g}x-seed-{seed}": {
                "factor": factor,
                "sampler": kind.sampler,
                "space": kind.space,
                "budget": kind.budget or self.budget,
                "seed": seed,
                **shared,
            }
            for factor in self.factors
            for kind in self.searches
            for seed in self.seeds
        }

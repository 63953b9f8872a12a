"""Sweeps of the base, and the models that they are made of."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ropewalk.config.models import FreshModel, Pretraining
from ropewalk.config.section import Section, Tokens
from ropewalk.errors import UserError
from ropewalk.rope.prediction import Setting
from ropewalk.rope.theory import critical_base, small_base_thresholds

BASE_NAMES = ("original", "beta0", "beta1", "beta2", "beta3")


def _base_is_known(value: Any) -> Any:
    if value in BASE_NAMES:
        return value
    number = value
    if isinstance(value, str):  # YAML reads 1e6 as one
        with suppress(ValueError):
            number = float(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 < number < math.inf:
        raise ValueError(f"base {value!r}: expected a number above 1, or one of {', '.join(BASE_NAMES)}")
    return number


Base = Annotated[float | str, BeforeValidator(_base_is_known)]


class Tuning(Section):
    """How each base is tuned: all weights, starting from one pre-trained model."""

    steps: int = Field(250, ge=1, description="optimiser steps")
    batch_tokens: int = Field(2048, ge=2, description="tokens a step, a multiple of every tuning length")
    copy_fraction: float = Field(0.25, ge=0, le=1, description="share of sequences that are periodic strings of digits")
    learning_rate: float = Field(1e-3, gt=0, description="its peak")
    warmup_steps: int = Field(20, ge=0, description="steps of linear rise to the peak")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="shape of the fall after it")
    final_fraction: float = Field(0.1, ge=0, le=1, description="learning rate at the end, as a share of the peak")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW, on matrices")
    clip_norm: float = Field(1.0, ge=0, description="largest norm of the gradient; 0 does not clip")
    accumulation: int = Field(1, ge=1, description="micro-batches a batch is cut into")
    checkpoint_every: int = Field(250, ge=1, description="steps between the checkpoints that a killed job resumes from")


class Sweep(Section):
    """Bases that are tuned alike: a cell for each base and seed."""

    length: Tokens | None = Field(None, description="tuning length in tokens; that of pre-training where null")
    bases: list[Base] = Field(
        min_length=1,
        description="numbers; or original; beta0, up to which the law speaks of no walls; beta1, beta2, beta3, the "
        "thresholds of small bases; rounded down, for this tuning length",
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1, description="of the data of tuning")
    steps: int | None = Field(None, ge=1, description="optimiser steps; those of `tuning` where null")
    log_scaling: bool = Field(False, description="read each cell a second time with log-scaled attention")


@dataclass(frozen=True)
class Cell:
    """One model of a sweep: what tells it from the others."""

    base: float
    length: int
    steps: int
    seed: int
    log_scaling: bool

    @property
    def name(self) -> str:
        return f"base-{self.base:.10g}_length-{self.length}_steps-{self.steps}_seed-{self.seed}"


class Table(Section):
    """The rotary table of a model that is not made here."""

    head_dim: int = Field(ge=2, multiple_of=2, description="rotated dimensions of a head")
    base: float = Field(gt=1, description="base of pre-training")
    length: Tokens = Field(description="length of pre-training in tokens")


class Scaling(Section):
    """A sweep of the base, read with the lengths, documents and copying of `evaluation`."""

    table: Table | None = Field(
        None,
        description="the table of a model that is not made here: with it bases can be named, and predictions need no "
        "model",
    )

    fresh: FreshModel | None = Field(
        None, description="sizes of a model that is pre-trained for this sweep; null takes that of the study"
    )
    pretraining: Pretraining | None = Field(None, description="how it is trained; null is as the study's")
    tuning: Tuning = Tuning()
    sweeps: list[Sweep] = Field(min_length=1, description="what is tuned; a preset replaces the whole list")
    thresholds: list[Annotated[float, Field(gt=0)]] = Field(
        [0.05, 0.1, 0.2],
        min_length=1,
        description="nats a token that reading everything may cost against reading the last tokens; predictors are "
        "held against the first",
    )
    smoothing: int | None = Field(
        None, ge=1, description="positions in the moving mean of that cost; a quarter of the pre-training where null"
    )
    perplexity_ratio: float = Field(1.1, gt=1, description="for the rule on perplexity: by how much it may rise")

    def cells(self, table: Table | None) -> list[Cell]:
        """The models to tune, in order; a cell that two sweeps name is one.

        Args:
            table: of the model that is tuned, where it is known: names of bases and lengths need it.

        Raises:
            UserError: a name where no table is known, or a cell that cannot be.
        """
        found: dict[str, Cell] = {}
        for sweep in self.sweeps:
            length = sweep.length or (table.length if table else None)
            if length is None:
                raise UserError(
                    "a sweep of a model that is not made here needs its length in tokens, or a table; null removes it"
                )
            if length % 2:
                raise UserError(f"length is {length}; expected an even number, for windows that overlap by half")
            if self.tuning.batch_tokens % length:
                raise UserError(
                    f"tuning.batch_tokens is {self.tuning.batch_tokens}; expected a multiple of the length {length}"
                )
            if self.tuning.batch_tokens // length % self.tuning.accumulation:
                raise UserError(
                    f"tuning.accumulation is {self.tuning.accumulation}; expected a divisor of the "
                    f"{self.tuning.batch_tokens // length} sequences of {length} tokens in a batch"
                )
            for named in sweep.bases:
                base = _base(named, length, table)
                if table is not None:
                    Setting(table.head_dim, table.base, table.length, length, base)
                for seed in sweep.seeds:
                    cell = Cell(base, length, sweep.steps or self.tuning.steps, seed, sweep.log_scaling)
                    scaled = cell.log_scaling or (cell.name in found and found[cell.name].log_scaling)
                    found[cell.name] = replace(cell, log_scaling=scaled)
        return list(found.values())


def _base(named: float | str, length: int, table: Table | None) -> float:
    if isinstance(named, float | int):
        return float(named)
    if named in ("beta1", "beta2", "beta3"):
        # Down, so that the base lies below the threshold that it is named after.
        return float(math.floor(small_base_thresholds(length)[int(named[-1]) - 1]))
    if table is None:
        raise UserError(
            f"the base {named!r} of a model that is not made here is not known; expected a number, or a table"
        )
    return table.base if named == "original" else float(math.floor(critical_base(table.base, table.length, length)))

"""The limits of every cell of a sweep, resampled together, so that every comparison of two cells is paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ropewalk.progress import Progress
from ropewalk.rope.prediction import Setting
from ropewalk.rope.rope import FloatArray
from ropewalk.scaling.cells import Cell, Key
from ropewalk.scaling.estimates import Run
from ropewalk.scaling.limits import degradation_draws, perplexity_draws
from ropewalk.scaling.options import SweepOptions


@dataclass(frozen=True)
class Measured:
    """A cell and its limits.

    Attributes:
        cell: of the sweep.
        limits: tokens by rule, infinite where censored: of all documents, then of each bootstrap resample of them.
    """

    cell: Cell
    limits: Mapping[str, FloatArray]

    def log_limits(self, rule: str) -> FloatArray:
        """Logarithms of the limits by a rule; where a text ends before the limit, that of its length."""
        return np.log(np.minimum(self.limits[rule], self.cell.curves.length))

    def censored(self, rule: str) -> bool:
        """Whether the limit by a rule lies beyond the texts."""
        return bool(np.isinf(self.limits[rule][0]))


def measure(cells: Sequence[Cell], options: SweepOptions) -> list[Measured]:
    """The limits of every cell by every rule, resampled together."""
    found = []
    with Progress("limits", len(cells), unit="cell") as progress:
        for cell in cells:
            degradation = degradation_draws(cell.curves, options.thresholds)
            perplexity = perplexity_draws(cell.curves, cell.setting.tune_length, options.perplexity_ratio)
            draws = np.concatenate([degradation, perplexity[:, None]], axis=1)
            found.append(Measured(cell, dict(zip(options.rules, draws.T, strict=True))))
            progress.advance(note=cell.name)
    return found


Group = Mapping[Run, Measured]
"""Cells that differ in their model and seed alone."""


def groups(measured: Sequence[Measured]) -> dict[Key, Group]:
    """Cells that differ in their model and seed alone, in the order of their keys."""
    ordered = sorted(measured, key=lambda one: (one.cell.key, one.cell.run))
    return {key: {one.cell.run: one for one in found} for key, found in groupby(ordered, key=lambda one: one.cell.key)}


def setting_of(group: Group) -> Setting:
    """What all cells of a group have in common."""
    return next(iter(group.values())).cell.setting


def log_limits(group: Group, rule: str) -> dict[Run, FloatArray]:
    """Logarithms of the limits by a rule, by run: of all documents, then of each resample."""
    return {run: one.log_limits(rule) for run, one in group.items()}


def costs(group: Group, start: int, stop: int) -> dict[Run, FloatArray]:
    """What reading everything costs each document against the last tokens, at the positions from start to stop."""
    return {run: one.cell.curves.degradation[:, start - 1 : stop - 1].mean(axis=1) for run, one in group.items()}


def losses(group: Group, start: int, stop: int) -> dict[Run, FloatArray]:
    """Mean NLL of each document at the positions from start to stop, the last excluded."""
    return {run: one.cell.curves.full[:, start - 1 : stop - 1].mean(axis=1) for run, one in group.items()}


def documents(measured: Sequence[Measured]) -> int:
    """How many documents a sweep was measured on."""
    return len(measured[0].cell.curves.documents)

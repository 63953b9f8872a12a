"""The limits of every cell of a sweep, resampled together, so that every comparison of two cells is paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ropewalk.progress import Progress
from ropewalk.rope.rope import FloatArray
from ropewalk.scaling.cells import Cell, Key
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


def measure(cells: Sequence[Cell], options: SweepOptions) -> list[Measured]:
    """The limits of every cell by every rule, resampled together.

    Raises:
        UserError: the texts are too short for the moving mean.
    """
    found = []
    with Progress("limits", len(cells), unit="cell") as progress:
        for cell in cells:
            degradation = degradation_draws(cell.curves, options.thresholds, options.width)
            perplexity = perplexity_draws(cell.curves, cell.setting.tune_length, options.perplexity_ratio)
            draws = np.concatenate([degradation, perplexity[:, None]], axis=1)
            found.append(Measured(cell, dict(zip(options.rules, draws.T, strict=True))))
            progress.advance(note=cell.name)
    return found


def groups(measured: Sequence[Measured]) -> dict[Key, list[Measured]]:
    """Cells that differ in their seed alone, in the order of their keys."""
    ordered = sorted(measured, key=lambda one: (one.cell.key, one.cell.seed))
    return {key: list(found) for key, found in groupby(ordered, key=lambda one: one.cell.key)}


def alike(group: Sequence[Measured], other: Sequence[Measured]) -> tuple[Sequence[Measured], Sequence[Measured]]:
    """Two groups cut down to the seeds that both have, so that seeds do not differ where something else is compared.

    Both are empty where they share none.
    """
    shared = {one.cell.seed for one in group} & {one.cell.seed for one in other}
    first, second = ([one for one in side if one.cell.seed in shared] for side in (group, other))
    return first, second


def mean_log_limits(group: Sequence[Measured], options: SweepOptions) -> FloatArray:
    """Mean over seeds of ln limit by the main rule: of all documents, then of each resample."""
    return np.asarray(np.mean([np.log(one.limits[options.rules[0]]) for one in group], axis=0))


def documents(measured: Sequence[Measured]) -> int:
    """How many documents a sweep was measured on."""
    return len(measured[0].cell.curves.documents)

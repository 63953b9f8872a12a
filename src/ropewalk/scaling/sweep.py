"""A sweep of the base, read whole: its cells and every statistic of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ropewalk.rope.prediction import Setting
from ropewalk.scaling.cells import Key, read_cells
from ropewalk.scaling.comparisons import log_scaling_effects, tuning_effects
from ropewalk.scaling.measured import Measured, groups, measure
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.predictors import Slope, predictor_errors, slopes
from ropewalk.scaling.retrieval import retrieval_table
from ropewalk.scaling.tables import base_table, limit_table


@dataclass(frozen=True)
class Sweep:
    """A sweep and all that is read from it; each table is described where it is made."""

    measured: Sequence[Measured]
    options: SweepOptions
    limits: pd.DataFrame
    bases: pd.DataFrame
    slopes: list[Slope]
    errors: pd.DataFrame
    tuning: pd.DataFrame
    log_scaling: pd.DataFrame
    retrieval: pd.DataFrame

    @property
    def setting(self) -> Setting:
        """Of any cell: dimension, base and length of pre-training."""
        return self.measured[0].cell.setting

    @property
    def keys(self) -> dict[Key, list[Measured]]:
        return groups(self.measured)


def read_sweep(readings: Sequence[Path], options: SweepOptions) -> Sweep:
    """Read the cells of a sweep and hold the laws against them.

    Args:
        readings: of tuned models: of kind nll, with a window of the tuning length, and of kind copying where it was
            measured.
        options: how the limits are read.

    Raises:
        UserError: a cell cannot be read, or the cells do not belong together.
    """
    cells = read_cells(readings)
    options = replace(options, smoothing=options.smoothing or max(1, cells[0].setting.train_length // 4))
    measured = measure(cells, options)
    return Sweep(
        measured,
        options,
        limit_table(measured, options),
        base_table(measured, options),
        slopes(measured, options),
        predictor_errors(measured, options),
        tuning_effects(measured, options),
        log_scaling_effects(measured, options),
        retrieval_table(measured, options.confidence),
    )

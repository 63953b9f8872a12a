"""A sweep of the base, read whole: its cells and every statistic of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ropewalk.errors import UserError
from ropewalk.rope.prediction import Setting
from ropewalk.scaling.cells import Key, read_cells
from ropewalk.scaling.comparisons import log_scaling_effects, tuning_effects
from ropewalk.scaling.measured import Measured, Options, groups, measure
from ropewalk.scaling.predictors import Slope, predictor_errors, slopes
from ropewalk.scaling.retrieval import retrieval_table
from ropewalk.scaling.tables import base_table, limit_table


@dataclass(frozen=True)
class Sweep:
    """A sweep and all that is read from it; each table is described where it is made."""

    measured: Sequence[Measured]
    options: Options
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


def read_sweep(
    folders: Sequence[Path],
    *,
    thresholds: Sequence[float],
    smoothing: int | None,
    perplexity_ratio: float,
    confidence: float,
) -> Sweep:
    """Read the cells of a sweep and hold the laws against them.

    Args:
        folders: what ``ropewalk evaluate --window`` wrote of each tuned model.
        thresholds: nats a token; predictors are held against the first.
        smoothing: positions in the moving mean; a quarter of the pre-training length where None.
        perplexity_ratio: of the rule on perplexity.
        confidence: of every interval.

    Raises:
        UserError: a cell cannot be read, or the cells do not belong together.
    """
    if smoothing is not None and smoothing < 1:
        raise UserError(f"smoothing is {smoothing}; expected at least 1 position.")
    cells = read_cells(folders)
    setting = cells[0].setting
    options = Options(tuple(thresholds), smoothing or max(1, setting.train_length // 4), perplexity_ratio, confidence)
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
        retrieval_table(measured, confidence),
    )

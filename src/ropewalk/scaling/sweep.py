"""A sweep of the base, read whole: its cells and every statistic of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ropewalk.rope.prediction import Setting
from ropewalk.scaling import statistics
from ropewalk.scaling.cells import Key, read_cells
from ropewalk.scaling.statistics import Measured, Options, Slope, groups, measure


@dataclass(frozen=True)
class Sweep:
    """A sweep and all that is read from it; tables as in :mod:`ropewalk.scaling.statistics`."""

    measured: Sequence[Measured]
    options: Options
    limits: pd.DataFrame
    bases: pd.DataFrame
    slopes: dict[tuple[int, int], Slope]
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
    cells = read_cells(folders)
    setting = cells[0].setting
    options = Options(tuple(thresholds), smoothing or max(1, setting.train_length // 4), perplexity_ratio, confidence)
    measured = measure(cells, options)
    bases = statistics.base_table(measured, options)
    return Sweep(
        measured,
        options,
        statistics.limit_table(measured, options),
        bases,
        statistics.slopes(bases, setting, confidence),
        statistics.predictor_errors(measured, options),
        statistics.tuning_effects(measured, options),
        statistics.log_scaling_effects(measured, options),
        statistics.retrieval_table(measured, confidence),
    )

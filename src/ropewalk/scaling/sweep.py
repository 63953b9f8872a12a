"""A sweep of the base, read whole: its cells and every statistic of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ropewalk.reading.nll_file import read_nll
from ropewalk.rope.prediction import Setting
from ropewalk.scaling.cells import Key, is_copying, read_cells
from ropewalk.scaling.comparisons import Contrast, Longer, Scaled, contrasts, log_scaling_effects, tuning_effects
from ropewalk.scaling.measured import Group, Measured, groups, measure
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.predictors import Error, Slope, predictor_errors, slopes
from ropewalk.scaling.retrieval import retrieval_table
from ropewalk.scaling.tables import Base, base_table, limit_table
from ropewalk.scaling.untuned import Cause, Dynamic, Untuned, cause_of_failure, dynamic_effects, read_untuned


@dataclass(frozen=True)
class Sweep:
    """A sweep and all that is read from it; each table is described where it is made.

    Attributes:
        measured: every cell.
        counted: those that count: of models that use their context, and that tuning did not break.
        competence: by model, what context is worth to it before tuning (nats a token), where that was read.
        tuning_losses: by cell, NLL within the tuning length over the best of its model at that length (nats a token).
        untuned: readings of untuned models.
    """

    measured: Sequence[Measured]
    counted: Sequence[Measured]
    competence: Mapping[str, float]
    tuning_losses: Mapping[str, float]
    untuned: Mapping[str, Untuned]
    options: SweepOptions
    limits: pd.DataFrame
    bases: list[Base]
    contrasts: list[Contrast]
    slopes: list[Slope]
    errors: list[Error]
    tuning: list[Longer]
    log_scaling: list[Scaled]
    dynamic: list[Dynamic]
    cause: Cause | None
    retrieval: pd.DataFrame

    @property
    def setting(self) -> Setting:
        """Of any cell: dimension, base and length of pre-training."""
        return self.measured[0].cell.setting

    @property
    def keys(self) -> dict[Key, Group]:
        """The cells that count, those together that differ in model and seed alone."""
        return groups(self.counted)

    @property
    def models(self) -> list[str]:
        """Of every cell."""
        return sorted({one.cell.run.model for one in self.measured})


def read_sweep(readings: Sequence[Path], options: SweepOptions) -> Sweep:
    """Read the cells of a sweep and hold the laws against them.

    Args:
        readings: of tuned models: of kind nll, with a window of the tuning length, and of kind copying where it was
            measured; and of kind nll of the untuned models (see :func:`ropewalk.scaling.untuned.read_untuned`).
        options: how the limits are read.

    Raises:
        UserError: a cell cannot be read, or the cells do not belong together.
    """
    before = [folder for folder in readings if not is_copying(folder) and not _is_tuned(folder)]
    cells = read_cells([folder for folder in readings if folder not in before])
    untuned = read_untuned(before, cells)
    measured = measure(cells, options)
    train_length = cells[0].setting.train_length
    use = {name: one.context_use(train_length) for name, one in untuned.items()}
    competence = {name: value for name, value in use.items() if value is not None}
    lost = _tuning_losses(measured)
    able = [
        one
        for one in measured
        if competence.get(one.cell.run.model, options.context_use) >= options.context_use
        and lost[one.cell.name] <= options.tuning_loss
    ]
    # Where no model is able, their numbers are shown, and the report says what they are worth.
    counted = able or measured
    critical = cells[0].setting.critical_dimension // 2
    return Sweep(
        measured,
        counted,
        competence,
        lost,
        untuned,
        options,
        limit_table(measured, options),
        base_table(counted, options),
        contrasts(counted, options),
        slopes(counted, options),
        predictor_errors(counted, options),
        tuning_effects(counted, options),
        log_scaling_effects(counted, options),
        dynamic_effects(counted, untuned, options),
        cause_of_failure(untuned, critical, train_length, options),
        retrieval_table(counted, options.confidence),
    )


def _is_tuned(folder: Path) -> bool:
    return "rope" in (read_nll(folder / "nll.parquet")[1].get("training") or {})


def _tuning_losses(measured: Sequence[Measured]) -> dict[str, float]:
    """NLL within the tuning length over the least of all bases of the same model, tuned at it, in nats a token."""
    alike: dict[tuple[str, int], dict[str, float]] = {}
    for one in measured:
        key = one.cell.key
        loss = float(one.cell.curves.mean_to(key.tune_length).mean())
        alike.setdefault((one.cell.run.model, key.tune_length), {})[one.cell.name] = loss
    return {name: loss - min(same.values()) for same in alike.values() for name, loss in same.items()}

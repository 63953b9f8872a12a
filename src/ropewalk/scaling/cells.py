"""One cell of a sweep: a model that was tuned with a base at a length with a seed, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.files import read_json
from ropewalk.reading.nll_file import read_nll
from ropewalk.rope import Rope
from ropewalk.rope.prediction import Setting
from ropewalk.scaling.estimates import Run
from ropewalk.scaling.limits import Curves


class Key(NamedTuple):
    """What tells the cells of a sweep apart, beside their seed: lengths in tokens, steps of the optimiser."""

    tune_length: int
    steps: int
    new_base: float
    log_scaling: bool

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Key:
        """The key of a row of a table that has its columns."""
        return cls(**{name: row[name] for name in cls._fields})

    @property
    def name(self) -> str:
        """A name for tables and runs."""
        scaled = "_log-scaled" if self.log_scaling else ""
        return f"base-{self.new_base:.10g}_length-{self.tune_length}_steps-{self.steps}{scaled}"


@dataclass(frozen=True)
class Cell:
    """What was measured of one tuned model.

    Attributes:
        setting: its bases and lengths.
        steps: of its tuning.
        run: the pre-trained model that was tuned, and the seed of the tuning.
        log_scaling: whether it was read with log-scaled attention.
        curves: NLL by document and position.
        copying: one row a string: ``gap`` (tokens) and ``accuracy``; None where copying was not measured.
        weights: hash of those that were tuned.
        parameters: how many weights the model has.
    """

    setting: Setting
    steps: int
    run: Run
    log_scaling: bool
    curves: Curves
    copying: pd.DataFrame | None
    weights: str | None
    parameters: int

    @property
    def key(self) -> Key:
        """What cells that differ in their seed alone have in common."""
        return Key(self.setting.tune_length, self.steps, self.setting.new_base, self.log_scaling)

    @property
    def name(self) -> str:
        """A name for tables and runs."""
        return f"{self.run.model}_{self.key.name}_seed-{self.run.seed}"


def read_cell(folder: Path, copying: pd.DataFrame | None = None) -> Cell:
    """Read what `ropewalk read nll` wrote, with a window, about a model that `ropewalk tune` made.

    Args:
        folder: of the reading.
        copying: what was copied by the same model with the same rope.

    Raises:
        UserError: a file is missing, the model was not tuned here, its rope is more than a change of the base, the
            window is not the tuning length, or the texts are no longer than that.
    """
    rows, about = read_nll(folder / "nll.parquet")
    training: dict[str, Any] = about.get("training") or {}
    if "rope" not in training:
        raise UserError(f"{folder}: the model {about['model']} was not made by `ropewalk tune`.")
    rope = Rope.from_json(about["rope"])
    tuned, window = training["options"], about["options"]["window"]
    length = int(tuned["length"])
    setting = Setting(rope.rotary_dim, rope.base, rope.original_length, length, _new_base(rope, str(folder)))
    if not np.array_equal(Rope.from_json(training["rope"]).inv_freq, rope.inv_freq):
        raise UserError(f"{folder}: the model was tuned with another table than the one it was measured with.")
    if window != length:
        raise UserError(f"{folder}: read with a window of {window} tokens; expected the tuning length, {length}.")
    curves = Curves.of(rows)
    if curves.length <= length:
        raise UserError(
            f"{folder}: texts of {curves.length} tokens; expected longer ones than the tuning length, "
            f"{length}, or no limit can be seen."
        )
    return Cell(
        setting,
        int(tuned["steps"]),
        Run(model_name(training["model"]), int(tuned["seed"])),
        rope.log_scaling_length is not None,
        curves,
        copying,
        training.get("weights"),
        about["parameters"],
    )


def model_name(source: str) -> str:
    """What a pre-trained model is called: the last part of where it comes from."""
    return source.rstrip("/").rpartition(":")[2].rpartition("/")[2]


def read_cells(readings: Sequence[Path]) -> list[Cell]:
    """Read the cells of one sweep, ordered by tuning length, base, model and seed.

    Args:
        readings: of kind nll, a cell each, and of kind copying, which belong to the cell of their model and rope.

    Raises:
        UserError: a cell cannot be read, two are the same, or they do not belong to one rotary table and one set of
            documents.
    """
    copied = {_subject(folder): pd.read_csv(folder / "copying.csv") for folder in readings if is_copying(folder)}
    folders = [folder for folder in readings if not is_copying(folder)]
    if not folders:
        raise UserError("a sweep has at least one cell; none was given.")
    found = [read_cell(folder, copied.get(_subject(folder)) if copied else None) for folder in folders]
    cells = sorted(found, key=lambda cell: (*cell.key, cell.run))
    for one, other in zip(cells, cells[1:], strict=False):
        if (one.key, one.run) == (other.key, other.run):
            raise UserError(f"two folders hold the cell {one.name}; expected different ones.")
        if one.curves.documents != other.curves.documents or one.curves.length != other.curves.length:
            raise UserError(f"{one.name} and {other.name} were measured on different texts; measure both alike.")
        if _table(one) != _table(other) or one.parameters != other.parameters:
            raise UserError(f"{one.name} and {other.name} are models of different shapes; expected one sweep of one.")
    weights: dict[str, str | None] = {}
    for cell in cells:
        if weights.setdefault(cell.run.model, cell.weights) != cell.weights:
            raise UserError(f"the model {cell.run.model} of {cell.name} has other weights than that of other cells.")
    return cells


def is_copying(folder: Path) -> bool:
    """Whether a reading is of kind copying; the others are of kind nll."""
    return (folder / "copying.csv").is_file()


def _table(cell: Cell) -> tuple[int, float, int]:
    return cell.setting.rotary_dim, cell.setting.base, cell.setting.train_length


def _subject(folder: Path) -> tuple[str, str]:
    """Model and rope of a reading."""
    if is_copying(folder):
        columns = read_json(folder / "reading.json", "the header of a reading")["columns"]
    else:
        columns = read_nll(folder / "nll.parquet")[1]["columns"]
    return columns["model"], columns["rope"]


def _new_base(rope: Rope, name: str) -> float:
    changes = [step for step in rope.steps if step.method not in ("default", "log_scaling")]
    if len(changes) > 1 or any(step.method != "abf" for step in changes):
        made = " and ".join(step.method for step in rope.steps)
        raise UserError(f"{name}: the rope was made by {made}; a sweep is of changes of the base (abf) alone.")
    return float(changes[0].params["new_base"]) if changes else rope.base

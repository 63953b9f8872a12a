"""Copy accuracy by rope and distance: a figure, a table, scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ropewalk.errors import UserError
from ropewalk.files import whole_folder
from ropewalk.options import ReportOptions
from ropewalk.report.figures import draw_copying_heatmap
from ropewalk.report.rows import header, named
from ropewalk.rope import Rope
from ropewalk.scores import ReportSetting, Score, Scores


def write_report(readings: Sequence[Path], options: ReportOptions, folder: Path) -> None:
    """Write ``copying.csv``, ``copying.png`` and ``scores.json``, whole or not at all.

    Raises:
        UserError: a folder holds no copying, or its distances are not those of the others.
    """
    means = {name: _accuracy(path) for name, path in named(readings).items()}
    table = pd.DataFrame(means).T
    if table.isna().to_numpy().any():
        raise UserError("the readings copied over different distances; read all alike.")
    trained = Rope.from_json(header(readings[0])["rope"]).original_length
    rows = tuple(
        Score(quantity="copy_accuracy", rope=str(name), gap=int(str(gap)), value=float(value))
        for name, accuracy in means.items()
        for gap, value in accuracy.items()
    )
    with whole_folder(folder) as out:
        table.to_csv(out / "copying.csv", float_format="%.4f", index_label="rope")
        draw_copying_heatmap(table, trained, out / "copying.png")
        setting = ReportSetting(stage="copying", experiment=options.experiment, confidence=options.confidence)
        Scores.of(setting, rows).write(out / "scores.json")


def _accuracy(folder: Path) -> pd.Series:
    path = folder / "copying.csv"
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a reading of kind copying.")
    return pd.read_csv(path).groupby("gap")["accuracy"].mean()

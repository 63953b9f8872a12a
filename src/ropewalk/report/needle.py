"""Hidden facts: heatmaps of length and depth, scores with intervals, and how far each model can be used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ropewalk.errors import UserError
from ropewalk.files import whole_folder
from ropewalk.intervals import bootstrap
from ropewalk.options import ReportOptions
from ropewalk.reading.retrieval import EFFECTIVE, by_sample, effective_interval
from ropewalk.report.html import render
from ropewalk.report.rows import named
from ropewalk.report.style import save
from ropewalk.report.tables import by_length
from ropewalk.scores import ReportSetting, Score, Scores, number_rows, table_rows


def write_report(readings: Sequence[Path], options: ReportOptions, folder: Path) -> None:
    """Write ``needle.html``, ``needle.csv``, ``needle.png`` and ``scores.json``, whole or not at all.

    Args:
        readings: of kind needle; the others are compared with the first.
        options: what is reported.
        folder: where to write.

    Raises:
        UserError: a file is missing or damaged, or not all were asked the same.
    """
    confidence, experiment = options.confidence, options.experiment
    answers = {name: read_answers(path / "answers.jsonl") for name, path in named(readings).items()}
    table = compare(answers, confidence)
    usable = effective_table(answers, confidence)
    with whole_folder(folder) as out:
        table.to_csv(out / "needle.csv", index=False, float_format="%.6g")
        (out / "needle.html").write_text(_page(table, usable, next(iter(answers)), confidence))
        setting = ReportSetting(stage="needle", experiment=experiment, confidence=confidence)
        _scores(table, usable, next(iter(answers)), setting).write(out / "scores.json")
        draw_heatmaps(answers, out / "needle.png")


def read_answers(path: Path) -> pd.DataFrame:
    """The answers of a reading of hidden facts.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    try:
        answers = pd.read_json(path, lines=True)
        answers[["task", "length", "depth", "sample", "score"]]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected the answers of `ropewalk read needle`.") from None
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged or holds no answers of `ropewalk read needle`: {error}.") from None
    return answers


def compare(answers: Mapping[str, pd.DataFrame], confidence: float) -> pd.DataFrame:
    """Scores by task and length, and their difference from the first of the compared.

    Returns:
        One row for each subject, task and length: ``score``, ``low``, ``high`` (share, over samples), ``nll`` and
        ``gain`` (nats a token of the answer, and how much less than without the facts; where measured), and for all
        but the first ``difference`` with its bounds and ``better``.

    Raises:
        UserError: not all were asked the same.
    """
    first = next(iter(answers))
    keys = ["task", "length", "depth", "sample"]
    table = []
    for name, rows in answers.items():
        if not rows[keys].equals(answers[first][keys]) or list(rows["answer"]) != list(answers[first]["answer"]):
            raise UserError(f"{name} was asked other questions than {first}; measure all alike.")
        for task, part in rows.groupby("task", sort=False):
            here, there = by_sample(part), by_sample(answers[first][answers[first]["task"] == task])
            for length in here.columns:
                score = bootstrap(here[length].to_numpy(), confidence=confidence)
                row = {"subject": name, "task": task, "length": int(length), "samples": score.count}
                row |= {"score": score.mean, "low": score.low, "high": score.high}
                if "nll" in part:
                    own = part[part["length"] == length]
                    row |= {"nll": own["nll"].mean(), "gain": (own["control_nll"] - own["nll"]).astype(float).mean()}
                if name != first:
                    paired = bootstrap((here[length] - there[length]).to_numpy(), confidence=confidence)
                    row |= {**paired.columns("difference"), "better": paired.better(lower=False)}
                table.append(row)
    return pd.DataFrame(table)


def effective_table(answers: Mapping[str, pd.DataFrame], confidence: float) -> pd.DataFrame:
    """``effective`` (tokens, 0 for none) with ``low`` and ``high`` by ``subject`` and ``task``."""
    rows = []
    for name, every in answers.items():
        for task, part in every.groupby("task", sort=False):
            point, low, high = effective_interval(part, confidence)
            rows.append({"subject": name, "task": task, "effective": point, "low": low, "high": high})
    return pd.DataFrame(rows)


def draw_heatmaps(answers: Mapping[str, pd.DataFrame], path: str | Path) -> None:
    """Score by length and depth: a row of panels a task, a panel a subject."""
    tasks = list(dict.fromkeys(task for rows in answers.values() for task in rows["task"]))
    figure = Figure(figsize=(2.5 * len(answers) + 1.2, 1.9 * len(tasks) + 0.7))
    grid = figure.subplots(len(tasks), len(answers), squeeze=False, sharex="row", sharey="row")
    image: Any = None
    for row, task in enumerate(tasks):
        for column, (name, rows) in enumerate(answers.items()):
            axes = grid[row, column]
            part = rows[rows["task"] == task]
            cells = part.pivot_table(index="depth", columns="length", values="score", aggfunc="mean")
            image = axes.imshow(cells.to_numpy(), vmin=0, vmax=1, cmap="viridis", aspect="auto")
            for (i, j), value in np.ndenumerate(cells.to_numpy()):
                ink = "white" if value < 0.6 else "black"
                axes.text(j, i, f"{value:.2f}".lstrip("0") or "0", ha="center", va="center", color=ink, fontsize=7)
            axes.set_xticks(range(len(cells.columns)), [f"{n:,}" for n in cells.columns], rotation=35, ha="right")
            axes.set_yticks(range(len(cells.index)), [f"{100 * depth:g} %" for depth in cells.index])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title(name.replace("_", "\n"), loc="left", fontsize=9)
        grid[row, 0].set_ylabel(f"{task}\ndepth" if len(cells.index) > 1 else task)
    figure.supxlabel("length of the text (tokens)", fontsize=9.5)
    figure.tight_layout()
    figure.colorbar(image, ax=grid.ravel().tolist(), label="share right", shrink=0.8, pad=0.02)
    save(figure, path)


def _scores(table: pd.DataFrame, usable: pd.DataFrame, first: str, setting: ReportSetting) -> Scores:
    rows: list[Score] = []
    confidence = setting.confidence
    for row in usable.to_dict("records"):
        ends = {"samples": (row["low"], row["high"])}
        names = {"model": row["subject"], "task": row["task"]}
        rows += number_rows("effective_length", row["effective"], intervals=ends, confidence=confidence, **names)
    for row in table.to_dict("records"):
        names = {"model": row["subject"], "task": row["task"], "length": row["length"], "n_samples": row["samples"]}
        ends = {"samples": (row["low"], row["high"])}
        rows += number_rows("score", row["score"], intervals=ends, confidence=confidence, **names)
        rows += table_rows(row, "nll", "gain", over="samples", confidence=None, **names)
        rows += table_rows(row, "difference", over="samples", confidence=confidence, against=first, **names)
    return Scores.of(setting, rows)


def _page(table: pd.DataFrame, usable: pd.DataFrame, first: str, confidence: float) -> str:
    tasks = {
        task: {**by_length(part, "subject"), "samples": part["samples"].iloc[0]}
        for task, part in table.groupby("task", sort=False)
    }
    reach = {(row["subject"], row["task"]): _reach(row) for row in usable.to_dict("records")}
    about: dict[str, Any] = {"first": first, "by_nll": "nll" in table, "effective": EFFECTIVE, "confidence": confidence}
    heading = "Facts hidden in long texts, by length in tokens"
    return render("needle", "Needles", heading=heading, tasks=tasks, reach=reach, **about)


def _reach(row: Mapping[Any, Any]) -> str:
    tokens, low, high = (f"{row[name]:,.0f}" if row[name] else "none" for name in ("effective", "low", "high"))
    return tokens if math.isnan(row["low"]) else f"{tokens}\n[{low}, {high}]"

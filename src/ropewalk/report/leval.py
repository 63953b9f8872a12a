"""What models and ropes make of L-Eval: a page, a table, a figure, and scores as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ropewalk.files import read_json, whole_file, whole_folder
from ropewalk.intervals import CONFIDENCE
from ropewalk.options import ReportOptions
from ropewalk.reading.leval.comparison import AVERAGE, Subjects, compare, read_answers
from ropewalk.reading.leval.scoring import Scored
from ropewalk.reading.leval.tasks import GUESSED, PUBLISHED, TASKS
from ropewalk.report.leval_page import leval_html
from ropewalk.report.rows import named
from ropewalk.report.style import GREY, INK, inks, save
from ropewalk.rope import Rope
from ropewalk.scores import ReportSetting, Score, Scores, number_rows


def write_report(readings: Sequence[Path], options: ReportOptions, folder: Path) -> None:
    """Write ``leval.html``, ``leval.csv``, ``leval.png`` and ``scores.json``.

    Args:
        readings: of kind leval; the others are compared with the first.
        options: what is reported.
        folder: where to write, whole or not at all.

    Raises:
        UserError: answers are missing or damaged, or not to the same questions.
    """
    predictions, confidence, experiment = named(readings), options.confidence, options.experiment
    reference = next(iter(predictions))
    scored = read_answers(predictions)
    table = compare(scored, reference, confidence)
    with whole_folder(folder) as out:
        with whole_file(out / "leval.csv") as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        draw(table, out / "leval.png", confidence)
        page = leval_html(table, scored, reference, confidence, (out / "leval.png").read_bytes())
        (out / "leval.html").write_text(page, encoding="utf-8")
        scores(predictions, scored, table, reference, confidence, experiment).write(out / "scores.json")


@dataclass(frozen=True, kw_only=True)
class LEvalSetting(ReportSetting):
    """At what scale models answered questions."""

    stage: str = "leval"
    pocket: bool
    """whether questions were made here"""
    tasks: int
    train_length: int | None
    """of pre-training, in tokens; None where no model has a rope that is known here"""
    models: tuple[dict[str, Any], ...]
    """each ``model``, the ``recipe`` of its rope, and the length that it was ``tuned_at``, in tokens or None"""
    competence: str = "lower end of the strict average, less what guessing gives (points)"
    competence_needed: float = 0.0


def scores(
    predictions: Mapping[str, Path],
    scored: Subjects,
    table: pd.DataFrame,
    reference: str,
    confidence: float,
    experiment: str,
) -> Scores:
    """Parity and strict scores by model and task in percent, and every paired difference of averages in points."""

    def scored_rows(quantity: str, row: Mapping[Any, Any], column: str, **names: Any) -> Iterator[Score]:
        ends = {"documents": (row[f"{column}_low"], row[f"{column}_high"])}
        # A tuned model is one training, whatever its seed.
        about = {"model": row["subject"], "task": row["task"], "n_documents": row["documents"], "n_seeds": 1, **names}
        return number_rows(quantity, row[column], intervals=ends, confidence=confidence, **about)

    rows: list[Score] = []
    models, pocket, train_length = [], False, None
    for row in table.to_dict("records"):
        for scoring in ("parity", "strict"):
            rows += scored_rows("score", row, scoring, scoring=scoring)
        rows += scored_rows("flaws", row, "flaws")
        if row["task"] == AVERAGE:
            rows += number_rows("competence", row["strict_low"] - _guessed(scored), model=row["subject"])
    for name, folder in predictions.items():
        about = read_json(folder / "reading.json", "the header of a reading")
        # A model's own rope is none that this project knows where transformers alone can make it.
        known = about["rope"] or about["own_rope"]
        rope, training = Rope.from_json(known) if known else None, about["training"] or {}
        recipe = rope.recipe if rope else "unknown"
        models.append({"model": name, "recipe": recipe, "tuned_at": training.get("options", {}).get("length")})
        pocket = Path(about["data"]).name == "pocket"
        train_length = rope.original_length if rope else train_length
    for other in predictions:
        compared = table if other == reference else compare(scored, other, confidence)
        for row in compared[(compared["task"] == AVERAGE) & (compared["subject"] != other)].to_dict("records"):
            for scoring, column in {"parity": "difference", "strict": "strict_difference"}.items():
                rows += scored_rows("difference", row, column, scoring=scoring, against=other)
    setting = LEvalSetting(
        experiment=experiment,
        confidence=confidence,
        pocket=pocket,
        tasks=len(scored),
        train_length=train_length,
        models=tuple(models),
    )
    return Scores.of(setting, rows)


def _guessed(tasks: Iterable[str]) -> float:
    """Percent that guessing gives, averaged over tasks."""
    return float(np.mean([GUESSED.get(TASKS[task].kind, 0.0) for task in tasks]))


def draw(table: pd.DataFrame, path: Path, confidence: float) -> None:
    """A dot and its interval for each subject and task: filled by the original's rules, hollow by the strict ones.

    What guessing gives is dotted.
    """
    tasks, subjects = list(table["task"].unique()), list(table["subject"].unique())
    colours = dict(zip(subjects, inks(len(subjects)), strict=True))
    step = 0.8 / len(subjects)
    figure, axes = plt.subplots(figsize=(7.5, 1.2 + len(tasks) * max(0.45, 0.2 * len(subjects))))
    for row in table.to_dict("records"):
        height = tasks.index(row["task"]) + step * (subjects.index(row["subject"]) - (len(subjects) - 1) / 2)
        colour = colours[row["subject"]]
        for name, offset, face in (("parity", -0.14 * step, colour), ("strict", 0.14 * step, "white")):
            if not math.isnan(row[f"{name}_low"]):
                ends = [row[f"{name}_low"], row[f"{name}_high"]]
                axes.plot(ends, [height + offset] * 2, color=colour, lw=1.2, alpha=0.7, solid_capstyle="butt")
            axes.plot(row[name], height + offset, "o", ms=4.5, color=colour, mfc=face, mew=1.1)
    known = [task for task in tasks if task in TASKS]
    for place, task in enumerate(tasks):
        guessed = _guessed([task] if task in known else known)
        axes.plot([guessed] * 2, [place - 0.48, place + 0.48], color=INK, lw=1.2, ls=":", zorder=0)
    for place in range(1, len(tasks)):
        axes.axhline(place - 0.5, color=GREY, lw=0.5)
    titles = [TASKS[task].title if task in TASKS else "average" for task in tasks]
    axes.set_yticks(np.arange(len(tasks)), titles)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel(f"percent right, with {100 * confidence:g} % intervals over documents")
    marks = [axes.plot([], [], "o", ms=4.5, color=colours[name], label=name)[0] for name in subjects]
    marks += [
        axes.plot([], [], "o", ms=4.5, color="#555555", mfc=face, label=label)[0]
        for face, label in (("#555555", "as L-Eval scores"), ("white", "strict"))
    ]
    marks.append(axes.plot([], [], color=INK, lw=1.2, ls=":", label="guessing")[0])
    axes.legend(handles=marks, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8.5)
    save(figure, path)
    plt.close(figure)


def scores_text(scored: Mapping[str, Scored], confidence: float = CONFIDENCE, *, published: bool = False) -> str:
    """Scores of files as a table for a terminal.

    Args:
        scored: by file.
        confidence: of the intervals.
        published: add published scores of the files' tasks.
    """
    width = max(4, *map(len, scored))
    lines = [f"{'file':<{width}}  {'task':<9} {'answers':>7} {'documents':>9}  {'parity':<25} {'strict':<25}".rstrip()]
    for name, one in scored.items():
        cells = []
        for scorer in ("parity", "strict"):
            interval = one.interval(scorer, confidence)
            bounds = "" if math.isnan(interval.low) else f" [{interval.low:.2f}, {interval.high:.2f}]"
            cells.append(f"{one.score(scorer):.4f}{bounds}")
        counts = f"{one.items['line'].nunique():>7} {one.items['document'].nunique():>9}"
        lines.append(f"{name:<{width}}  {one.task.title:<9} {counts}  {cells[0]:<25} {cells[1]:<25}".rstrip())
        parts = one.parts()
        if len(parts) > 1:
            lines.append(f"{'':<{width}}  {', '.join(f'{part} {value:.4f}' for part, value in parts.items())}")
    if published:
        lines += ["", "published (cut to two decimals)"]
        for task in dict.fromkeys(one.task for one in scored.values()):
            known = [f"{model} {row[task.name]:.2f}" for model, row in PUBLISHED.items() if task.name in row]
            lines.append(f"  {task.title:<9} {' · '.join(known) or 'none'}")
    return "\n".join(lines)

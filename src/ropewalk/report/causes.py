"""Whether two causes of loss predict what ropes cost, as files: page, table, figure, scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ropewalk.files import whole_folder
from ropewalk.options import ReportOptions
from ropewalk.report.html import interval_text, render
from ropewalk.report.style import ACCENT, GREY, INK, Label, label_points, save
from ropewalk.scores import ReportSetting, Score, Scores, table_rows
from ropewalk.search.regression import POPULATIONS, Tried, Tries, read_tries, regressions

COMPETENT = 0.5
"""Share of the nats of a blind guess that a model must save; knowing how frequent each byte is saves about 0.45."""


def write_report(searches: Sequence[Path], options: ReportOptions, folder: Path) -> None:
    """Write ``causes.html``, ``causes.csv``, ``causes.png`` and ``scores.json``, whole or not at all.

    Args:
        searches: folders of :func:`ropewalk.search.run.search` with the sampler sobol and no bound on the short cost.
        options: what the report says of them.
        folder: what to write.

    Raises:
        UserError: see :func:`ropewalk.search.regression.read_tries`.
    """
    tried = read_tries(searches)
    table = regressions(tried, options.confidence)
    with whole_folder(folder) as out:
        table.to_csv(out / "causes.csv", index=False, float_format="%.6g")
        (out / "causes.html").write_text(causes_html(tried, table, options.confidence))
        scores(tried, table, options).write(out / "scores.json")
        draw_causes(tried, out / "causes.png")


@dataclass(frozen=True, kw_only=True)
class CausesSetting(ReportSetting):
    """At what scale ropes were tried."""

    stage: str = "causes"
    train_length: int
    """tokens"""
    parameters: int
    """weights of a model"""
    competence: str = "share of the nats of a blind guess that the model saves within its training length"
    """what is asked of a model before its numbers count"""
    competence_needed: float = COMPETENT
    """of it"""


def scores(tried: Tried, table: pd.DataFrame, options: ReportOptions) -> Scores:
    """All numbers: by population of ropes (``method``), factor and loss (``task``); competence by model."""
    setting = CausesSetting(
        experiment=options.experiment,
        confidence=options.confidence,
        train_length=tried.train_length,
        parameters=tried.parameters,
    )
    rows = [
        Score(quantity="competence", value=float(saved), model=model)
        for model, saved in zip(tried.models, tried.saved, strict=True)
    ]
    models = len(tried.models)
    for row in table.to_dict("records"):
        found = {
            row["quantity"]: row["value"],
            **{f"{row['quantity']}_{e}": row[f"value_{e}"] for e in ("low", "high")},
        }
        rows += table_rows(
            found,
            row["quantity"],
            over="documents, ropes and models" if models > 1 else "documents and ropes",
            confidence=options.confidence,
            freedom=None if pd.isna(row["freedom"]) else float(row["freedom"]),
            method=row["population"],
            task=row["loss"],
            factor=row["factor"],
            n_documents=tried.documents,
            n_samples=row["ropes"],
            n_models=models,
        )
    return Scores.of(setting, rows)


def causes_html(tried: Tried, table: pd.DataFrame, confidence: float) -> str:
    """What the regressions say, as one self-contained page."""
    return render(
        "causes",
        "Two causes of loss, and what ropes cost",
        confidence=confidence,
        tried=tried,
        needed=COMPETENT,
        findings=list(_words(table)),
        rows=table.to_dict("records"),
        names=NAMES,
    )


NAMES = {
    "rank_correlation": "rank correlation with what the regression says",
    "explained": "share of variance explained",
    "explained_at_other_factor": "the same, with the coefficients of the other factors",
    "explained_on_other_model": "the same, with the coefficients of the other models",
    "nats_by_g_w1": "nats a token for one standard deviation more mismatch",
    "nats_by_r_ker": "nats a token for one standard deviation more distortion",
}
"""What each quantity is called on the page."""


def _words(table: pd.DataFrame) -> Iterator[str]:
    for (population, factor), part in table.groupby(["population", "factor"], sort=False):
        known = {(row["loss"], row["quantity"]): interval_text(row, "value", ".2f") for row in part.to_dict("records")}
        ropes = {"sobol": "ropes of a Sobol sequence", "first points": "hand-made ropes and knees of both causes"}
        yield (
            f"**{part['ropes'].iloc[0]} {ropes[str(population)]} at {factor:g} times the training length:** the "
            f"distortion of the local kernel has a rank correlation of {known['short', 'rank_correlation']} with what "
            f"a rope costs short texts. Beyond the training length, one standard deviation more mismatch of angles "
            f"costs {known['tail', 'nats_by_g_w1']} nats a token and one of distortion "
            f"{known['tail', 'nats_by_r_ker']}, each with the other held equal; both explain "
            f"{known['tail', 'explained']} of the variance, with a rank correlation of "
            f"{known['tail', 'rank_correlation']}."
        )


def draw_causes(tried: Tried, path: Path) -> None:
    """Short cost against the distortion, and loss beyond the training length against its regression; a row a factor."""
    factors = [one.factor for one in tried.populations[POPULATIONS[0]]]
    figure = Figure(figsize=(13, 4.4 * len(factors)))
    grid = figure.subplots(len(factors), 2, squeeze=False)
    for (near, far), factor, group in zip(grid, factors, zip(*tried.populations.values(), strict=True), strict=True):
        labels: dict[Axes, list[Label]] = {near: [], far: []}
        for one in group:
            short, tail = (one.losses[loss].mean(axis=(0, 2)) for loss in ("short", "tail"))
            for axes, x, y in ((near, one.causes[:, 1], short), (far, _predicted(group[0], one), tail)):
                given = bool(one.names[0])
                axes.scatter(x, y, color=ACCENT if given else GREY, s=34 if given else 14, zorder=3 if given else 2)
                points = zip(one.names, x.tolist(), y.tolist(), strict=True)
                labels[axes] += [Label(*point, INK) for point in points if given]
        for axes, known in labels.items():
            axes.set_ylim(axes.get_ylim())
            axes.set_xlim(axes.get_xlim())
            if known:
                label_points(axes, known)
        near.set_title(f"{factor:g} times the training length: short texts", loc="left")
        near.set_xlabel("distortion of the local kernel")
        near.set_ylabel("cost (nats a token)")
        far.set_title("beyond the training length", loc="left")
        far.set_xlabel("as the regression on mismatch and squared distortion has it (nats a token)")
        far.set_ylabel("measured (nats a token)")
        ends = far.get_xlim()
        far.plot(ends, ends, color=INK, lw=0.8, ls=(0, (4, 3)), zorder=0)
    figure.tight_layout(w_pad=8, h_pad=2)
    save(figure, path)


def _predicted(fitted: Tries, one: Tries) -> np.ndarray:
    """The tail of each rope by a regression over others, means over models and documents."""
    tail = fitted.losses["tail"].mean(axis=(0, 2))
    coefficients = np.linalg.lstsq(fitted.design("tail"), tail, rcond=None)[0]
    return np.asarray(one.design("tail") @ coefficients)

"""Searches and what they found, as files: page, tables, figures, scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ropewalk.files import whole_folder
from ropewalk.report import search_figures as figures
from ropewalk.report.search_page import Tables, searches_html
from ropewalk.scores import ReportSetting, Score, Scores, number_rows
from ropewalk.search.comparison import Comparison, read_comparison
from ropewalk.search.objective import ABLE
from ropewalk.search.options import SearchReportOptions


def write_report(
    searches: Sequence[Path], readings: Sequence[Path], options: SearchReportOptions, folder: Path
) -> None:
    """Write ``search.html``, tables as CSV, figures and ``scores.json``, whole or not at all.

    Args:
        searches: folders of :func:`ropewalk.search.run.search`; rivals are compared with the first method.
        readings: folders of :func:`ropewalk.search.probe.probe`, of found ropes and of those to beat.
        options: what the report says of them.
        folder: what to write.

    Raises:
        UserError: a file is missing or damaged, or searches and readings do not belong together.
    """
    compared = read_comparison(readings, searches, reference=options.reference)
    tables = Tables.of(compared, options.confidence)
    with whole_folder(folder) as out:
        whole = pd.concat([table.assign(factor=factor) for factor, table in tables.standings.items()])
        for name, table in (
            ("standings", whole),
            ("differences", tables.differences),
            ("rivals", tables.rivals),
            ("replacing", tables.replacing),
            ("transfer", tables.transfer),
            *([] if tables.resonant.empty else [("resonant", tables.resonant)]),
        ):
            if not table.empty:  # as the evaluations that replace tuning are where nothing was tuned
                table.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
        (out / "search.html").write_text(searches_html(compared, tables, options.confidence))
        scores(compared, tables, options).write(out / "scores.json")
        figures.draw_convergence(compared, out / "convergence.png")
        figures.draw_replacing(compared, options.confidence, out / "replacing.png")
        figures.draw_optimum(compared, out / "optimum.png")
        figures.draw_plane(compared, out / "plane.png")
        figures.draw_price(tables.standings, figures.colours(compared), compared.reference, out / "price.png")
        figures.draw_importances(compared, out / "importances.png")


@dataclass(frozen=True, kw_only=True)
class SearchSetting(ReportSetting):
    """At what scale ropes were searched."""

    stage: str = "search"
    train_length: int
    """tokens"""
    documents: int
    """that no search saw"""
    parameters: int
    """weights of a model, all of them"""
    reference: str
    """method of the hand-made rope that objectives are against"""
    competence: str
    """what is asked of a model before its numbers count"""
    competence_needed: float
    """what must be reached of it"""


def scores(compared: Comparison, tables: Tables, options: SearchReportOptions) -> Scores:
    """All numbers of the report: standings and differences by factor and method, what searches take, transfer."""
    confidence, documents, models = options.confidence, compared.documents, len(compared.models)
    about = compared.first.about
    setting = SearchSetting(
        experiment=options.experiment,
        confidence=confidence,
        train_length=about["train_length"],
        documents=documents,
        parameters=about["parameters"],
        reference=compared.reference,
        competence="share of the answers' tokens right at the training length",
        competence_needed=ABLE,
    )
    rows: list[Score] = []
    for model in compared.all_models:
        accuracy = model.about["answers"]["accuracy"]
        if accuracy is not None:
            rows += number_rows("competence", accuracy, model=model.name)

    def told(row: Mapping[Any, Any], *quantities: str, **columns: Any) -> Iterator[Score]:
        """Numbers of a row with their intervals over all that varies."""
        for name in quantities:
            over = str(row.get(f"{name}_over", ""))
            freedom = row.get(f"{name}_freedom")
            yield from number_rows(
                name,
                row.get(name, float("nan")),
                intervals={over: (row[f"{name}_low"], row[f"{name}_high"])} if f"{name}_low" in row else {},
                confidence=confidence,
                method=row["method"],
                freedom=None if freedom is None or pd.isna(freedom) else freedom,
                n_documents=documents if "documents" in over else None,
                n_seeds=row.get("seeds") or None,
                n_models=models,
                **columns,
            )

    for factor, table in tables.standings.items():
        for row in table.to_dict("records"):
            rows += told(row, "objective", "tail", "answer", "accuracy", "short_cost", factor=factor)
            rows += told(row, "difference", factor=factor, against="best hand-made")
    for row in tables.differences.to_dict("records"):
        rows += told(row, "difference", factor=row["factor"], against=row["against"])
    for row in tables.rivals.to_dict("records"):
        factor = row["factor"]
        rows += told(row, "trials", "documents", "seconds", "proposing", "found", "tested", factor=factor)
        rows += told(row, "tested_difference", factor=factor, against="first method")
        rows += told(row, "equal_trials", "equal_documents", "equal_seconds", "overtakes", factor=factor)
    for row in tables.replacing.to_dict("records"):
        rows += told(row, "evaluations", "reached", "by_hand", factor=row["factor"], against=row["against"])
    for row in tables.transfer.to_dict("records"):
        names = {"factor": row["factor"], "at": row["at"]}
        rows += told(row, "difference", against=row["against"], **names)
        rows += told(row, "accuracy", "accuracy_against", **names)
    return Scores.of(setting, rows)

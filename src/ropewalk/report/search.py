"""Searches and what they found, as files: page, tables, figures, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ropewalk.files import whole_folder
from ropewalk.report import search_figures as figures
from ropewalk.report.search_page import searches_html
from ropewalk.scores import ReportSetting, Score, Scores, number_rows, table_rows
from ropewalk.search.options import SearchReportOptions
from ropewalk.search.results import Comparison, read_comparison, rivals, standings, transfer


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
    compared, confidence = read_comparison(readings, searches, reference=options.reference), options.confidence
    ranks = {factor: standings(compared, factor, confidence) for factor in compared.factors}
    carried, raced = transfer(compared, confidence), rivals(compared, confidence)
    with whole_folder(folder) as out:
        whole = pd.concat([table.assign(factor=factor) for factor, table in ranks.items()])
        for name, table in (("standings", whole), ("transfer", carried), ("rivals", raced)):
            table.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
        (out / "search.html").write_text(searches_html(compared, ranks, carried, raced, confidence))
        scores(compared, ranks, carried, raced, options).write(out / "scores.json")
        figures.draw_convergence(compared, out / "convergence.png")
        figures.draw_optimum(compared, out / "optimum.png")
        figures.draw_plane(compared, out / "plane.png")
        figures.draw_price(ranks, figures.colours(compared.searches), out / "price.png")
        figures.draw_importances(compared.searches, out / "importances.png")


@dataclass(frozen=True, kw_only=True)
class SearchSetting(ReportSetting):
    """At what scale ropes were searched."""

    stage: str = "search"
    train_length: int
    """tokens"""
    documents: int
    """that no search saw"""


def scores(
    compared: Comparison,
    ranks: Mapping[float, pd.DataFrame],
    carried: pd.DataFrame,
    raced: pd.DataFrame,
    options: SearchReportOptions,
) -> Scores:
    """All numbers of the report: standings by factor and method, transfer ``at`` other lengths, and rivals."""
    documents = len(compared.measured[["corpus", "document"]].drop_duplicates())
    confidence = options.confidence
    setting = SearchSetting(
        experiment=options.experiment,
        confidence=confidence,
        train_length=compared.about["train_length"],
        documents=documents,
    )
    over_documents = {"over": "documents", "confidence": confidence, "n_documents": documents}
    rows: list[Score] = []
    for factor, table in ranks.items():
        for row in table.to_dict("records"):
            names = {"method": row["method"], "factor": factor, "n_seeds": row["seeds"] or None, **over_documents}
            rows += table_rows(row, "objective", "tail", "answer", "accuracy", "short_cost", **names)
            rows += table_rows(row, "difference", against="best hand-made", **names)
    for row in carried.to_dict("records"):
        names = {"method": row["method"], "factor": row["factor"], "at": row["at"], **over_documents}
        rows += table_rows(row, "difference", against=row["against"], **names)
        rows += table_rows(row, "accuracy", "accuracy_against", **names)
    counts = ("trials", "documents", "seconds", "proposing", "found", "tested", "overtakes")
    for row in raced.to_dict("records"):
        columns = {"method": row["method"], "factor": row["factor"], "n_seeds": row["seeds"]}
        rows += table_rows(row, *counts, over="seeds", confidence=confidence, **columns)
        ends = {"seeds": (row.get("difference_low", math.nan), row.get("difference_high", math.nan))}
        columns |= {"against": "first method", "confidence": confidence}
        rows += number_rows("tested_difference", row.get("difference", math.nan), intervals=ends, **columns)
    return Scores.of(setting, rows)

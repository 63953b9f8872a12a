"""Searches and what they found, as files: page, tables, figures, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ropewalk.files import whole_folder, write_json
from ropewalk.report import search_figures as figures
from ropewalk.report.search_page import searches_html
from ropewalk.report.tables import numbers
from ropewalk.search.results import Comparison, read_comparison, rivals, standings, transfer


def write_report(searches: Sequence[Path], comparison: Path, folder: Path, *, confidence: float) -> None:
    """Write ``search.html``, tables as CSV, figures and ``scores.json``, whole or not at all.

    Raises:
        UserError: a file is missing or damaged, or the searches are not those of the comparison.
    """
    compared = read_comparison(comparison, searches)
    ranks = {factor: standings(compared, factor, confidence) for factor in compared.factors}
    carried, raced = transfer(compared, confidence), rivals(compared, confidence)
    with whole_folder(folder) as out:
        whole = pd.concat([table.assign(factor=factor) for factor, table in ranks.items()])
        for name, table in (("standings", whole), ("transfer", carried), ("rivals", raced)):
            table.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
        (out / "search.html").write_text(searches_html(compared, ranks, carried, raced, confidence))
        write_json(out / "scores.json", scores(compared, ranks, carried, raced))
        figures.draw_convergence(compared, out / "convergence.png")
        figures.draw_optimum(compared, out / "optimum.png")
        figures.draw_plane(compared, out / "plane.png")
        figures.draw_price(ranks, figures.colours(compared.searches), out / "price.png")
        figures.draw_importances(compared.searches, out / "importances.png")


def scores(
    compared: Comparison, ranks: Mapping[float, pd.DataFrame], carried: pd.DataFrame, raced: pd.DataFrame
) -> dict[str, Any]:
    """All numbers as JSON would hold them, and the scale."""
    documents = compared.measured[["corpus", "document"]].drop_duplicates()
    setting = {"train_length": compared.about["train_length"], "documents": len(documents)}
    return {"setting": setting} | {
        f"{factor:g}x": {
            "standings": {row["method"]: numbers(row) for row in table.to_dict("records")},
            "rivals": {r["method"]: numbers(r) for r in raced[raced["factor"] == factor].to_dict("records")},
            "transfer": {
                f"{r['method']}_at_{r['at']:g}x": numbers(r)
                for r in carried[carried["factor"] == factor].to_dict("records")
            },
        }
        for factor, table in ranks.items()
    }

"""Perplexity by rope and length: figures, tables, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ropewalk.files import whole_file, whole_folder
from ropewalk.metrics import read_metrics
from ropewalk.reading.nll_file import read_nll
from ropewalk.reading.perplexity import ALL, curve_edges, perplexity_over_models, perplexity_table, position_curve
from ropewalk.report import figures
from ropewalk.report.options import PerplexityReportOptions
from ropewalk.report.rows import named
from ropewalk.report.tables import perplexity_html
from ropewalk.rope import Rope
from ropewalk.scores import ReportSetting, Score, Scores, table_rows


@dataclass(frozen=True, kw_only=True)
class PerplexitySetting(ReportSetting):
    """At what scale ropes were compared."""

    stage: str = "perplexity"
    train_length: int
    """tokens"""
    reference: str
    """the rope that differences are from"""


def write_report(
    readings: Sequence[Path], options: PerplexityReportOptions, folder: Path, *, training: Path | None = None
) -> None:
    """Write the figures (PNG) and tables (CSV, HTML, JSON) of readings into a folder, whole or not at all.

    Args:
        readings: of kind nll; the first is the baseline of the figures.
        options: what is reported.
        folder: where to write.
        training: ``metrics.jsonl`` of the pre-training, if there was one.

    Raises:
        UserError: a file is missing or damaged, or the ropes were measured on different documents.
    """
    lengths, reference, confidence = options.lengths, options.reference, options.confidence
    measured = {name: read_nll(path / "nll.parquet") for name, path in named(readings).items()}
    rows = {name: one[0] for name, one in measured.items()}
    ropes = {name: Rope.from_json(one[1]["rope"]) for name, one in measured.items()}
    trained = next(iter(ropes.values())).original_length
    dynamic = [name for name, rope in ropes.items() if not rope.static]
    table = perplexity_table(rows, lengths, reference=reference, dynamic=dynamic, confidence=confidence)
    over_models = _over_models(measured, options)
    table = pd.concat([over_models, table.assign(models=1, against=reference)], ignore_index=True)
    curves = {
        name: position_curve(r, curve_edges(r, lengths, static=name not in dynamic), confidence=confidence)
        for name, r in rows.items()
    }
    with whole_folder(folder) as out:
        with whole_file(out / "perplexity.csv") as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        (out / "perplexity.html").write_text(perplexity_html(table, reference, confidence))
        setting = PerplexitySetting(
            experiment=options.experiment, confidence=confidence, train_length=trained, reference=reference
        )
        _scores(table, setting).write(out / "scores.json")
        corpus = ALL if ALL in set(table["corpus"]) else table["corpus"].iloc[0]
        wide = table[table["corpus"] == corpus].pivot(index="rope", columns="length", values="perplexity")
        ordered = wide.loc[[name for name in rows if name in wide.index]]
        figures.draw_perplexity_heatmap(ordered, trained, out / "perplexity.png")
        figures.draw_position_curves(curves, trained, reference, out / "nll_by_rope.png", confidence)
        figures.draw_position_overview(curves, trained, out / "nll_by_position.png")
        figures.draw_ropes(ropes, out / "ropes.png")
        if training is not None:
            figures.draw_training(pd.DataFrame(read_metrics(training)), out / "training.png")


def _over_models(
    measured: Mapping[str, tuple[pd.DataFrame, Mapping[str, Any]]], options: PerplexityReportOptions
) -> pd.DataFrame:
    """Each rope over all models, where there are several and every one was read with every rope; else nothing."""
    columns = {name: header["columns"] for name, (_, header) in measured.items()}
    ropes: dict[str, dict[str, pd.DataFrame]] = {}
    changing = set()
    for name, (rows, header) in measured.items():
        ropes.setdefault(columns[name]["rope"], {})[columns[name].get("base_model", "")] = rows
        if not Rope.from_json(header["rope"]).static:
            changing.add(columns[name]["rope"])
    models = {model for each in ropes.values() for model in each}
    if len(models) < 2 or len(ropes) * len(models) != len(measured):
        return pd.DataFrame()
    reference = columns[options.reference]["rope"]
    return perplexity_over_models(
        ropes, options.lengths, reference=reference, dynamic=changing, confidence=options.confidence
    ).assign(against=reference)


def _scores(table: pd.DataFrame, setting: PerplexitySetting) -> Scores:
    rows: list[Score] = []
    for row in table.to_dict("records"):
        names = {"rope": row["rope"], "corpus": row["corpus"], "length": row["length"]}
        several = row["models"] > 1
        over = {
            "over": "documents, seeds and models" if several else "documents",
            "confidence": setting.confidence,
            "n_documents": row["documents"],
            "n_models": row["models"] if several else None,
            **names,
        }
        rows += table_rows(row, "nll", "perplexity", **over)
        rows += table_rows(row, "difference", against=row["against"], **over)
    return Scores.of(setting, rows)

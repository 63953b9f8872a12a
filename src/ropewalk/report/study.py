"""All figures and tables of a study, from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ropewalk.files import whole_file, whole_folder, write_json
from ropewalk.metrics import read_metrics
from ropewalk.reading.nll_file import read_nll
from ropewalk.reading.perplexity import ALL, perplexity_table, position_bins, position_curve
from ropewalk.report import figures
from ropewalk.report.tables import perplexity_html
from ropewalk.rope import Rope


def write_report(
    evaluations: Mapping[str, Path],
    *,
    training: Path | None,
    lengths: Sequence[int],
    reference: str,
    confidence: float,
    folder: Path,
) -> None:
    """Write the figures (PNG) and tables (CSV, HTML, JSON) of a study into a folder, whole or not at all.

    Args:
        evaluations: folder of each rope; the first rope is the baseline of the figures.
        training: ``metrics.jsonl`` of the pre-training, if there was one.
        lengths: in tokens.
        reference: the rope that the others are compared with.
        confidence: of every interval.
        folder: where to write.

    Raises:
        UserError: a file is missing or damaged, or the ropes were measured on different documents.
    """
    measured = {name: read_nll(path / "nll.parquet") for name, path in evaluations.items()}
    rows = {name: one[0] for name, one in measured.items()}
    ropes = {name: Rope.from_json(one[1]["rope"]) for name, one in measured.items()}
    trained = next(iter(ropes.values())).original_length
    table = perplexity_table(rows, lengths, reference=reference, confidence=confidence)
    curves = {
        name: position_curve(r, position_bins(lengths, static=ropes[name].static), confidence=confidence)
        for name, r in rows.items()
    }
    with whole_folder(folder) as out:
        with whole_file(out / "perplexity.csv") as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        (out / "perplexity.html").write_text(perplexity_html(table, reference, confidence))
        write_json(out / "scores.json", _scores(table))
        corpus = ALL if ALL in set(table["corpus"]) else table["corpus"].iloc[0]
        wide = table[table["corpus"] == corpus].pivot(index="rope", columns="length", values="perplexity")
        figures.draw_perplexity_heatmap(wide.loc[list(rows)], trained, out / "perplexity.png")
        figures.draw_position_curves(curves, trained, reference, out / "nll_by_rope.png", confidence)
        figures.draw_position_overview(curves, trained, out / "nll_by_position.png")
        figures.draw_ropes(ropes, out / "ropes.png")
        copying = {name: path / "copying.csv" for name, path in evaluations.items() if (path / "copying.csv").is_file()}
        if copying:
            means = {name: pd.read_csv(path).groupby("gap")["accuracy"].mean() for name, path in copying.items()}
            accuracy = pd.DataFrame(means).T
            accuracy.to_csv(out / "copying.csv", float_format="%.4f", index_label="rope")
            figures.draw_copying_heatmap(accuracy, trained, out / "copying.png")
        if training is not None:
            figures.draw_training(pd.DataFrame(read_metrics(training)), out / "training.png")


def _scores(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for row in table.itertuples():
        by_corpus = scores.setdefault(str(row.rope), {}).setdefault(str(row.corpus), {})
        by_corpus[f"perplexity_{row.length}"] = float(row.perplexity)  # type: ignore[arg-type]
    return scores

"""What fine-tuning changed: perplexity by length before and after, and between ropes, over documents and seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.files import whole_folder
from ropewalk.intervals import bootstrap, student
from ropewalk.reading.nll_file import read_nll
from ropewalk.reading.perplexity import ALL, curve_edges, document_nll, lengths_by_rope, position_bins, position_curve
from ropewalk.report import finetune_figures as figures
from ropewalk.report.html import render
from ropewalk.report.options import TuningReportOptions
from ropewalk.report.rows import columns
from ropewalk.report.tables import by_corpus
from ropewalk.rope import Rope
from ropewalk.scores import ReportSetting, Score, Scores, number_rows, table_rows


def write_report(readings: Sequence[Path], options: TuningReportOptions, folder: Path) -> None:
    """Write ``finetune.html``, ``perplexity.csv``, figures and ``scores.json``, whole or not at all.

    Args:
        readings: of kind nll: of a model as it was, and of what was tuned from it.
        options: what is reported.
        folder: where to write.

    Raises:
        UserError: a file is missing or damaged, models were measured on different documents, or a rope lacks a seed.
    """
    lengths, confidence, experiment = options.lengths, options.confidence, options.experiment
    before: dict[str, tuple[pd.DataFrame, dict[str, Any]]] = {}
    after: dict[tuple[str, str, int], pd.DataFrame] = {}
    models = {one["model"] for one in columns(readings)}
    for path in readings:
        rows, about = read_nll(path / "nll.parquet")
        found = about["columns"]
        if found.get("tuned_from") in models:
            after[found["regime"], found["rope"], found["seed"]] = rows
        else:
            before[found["rope"]] = (rows, about)
    ropes = {name: Rope.from_json(about["rope"]) for name, (_, about) in before.items()}
    dynamic = [name for name, rope in ropes.items() if not rope.static]
    means = document_means({name: rows for name, (rows, _) in before.items()}, after, lengths, dynamic)
    table = compare(means, options.reference, confidence)
    others = against_untuned(means, confidence)
    trained = next(iter(ropes.values())).original_length
    curves: dict[tuple[str, str], pd.DataFrame] = {
        ("", name): position_curve(rows, curve_edges(rows, lengths, static=name not in dynamic), confidence=confidence)
        for name, (rows, _) in before.items()
    }
    for regime, rope in dict.fromkeys(key[:2] for key in after):
        rows = _mean_over_seeds([rows for key, rows in after.items() if key[:2] == (regime, rope)])
        curves[regime, rope] = position_curve(rows, position_bins(lengths, static=True), confidence=confidence)
    with whole_folder(folder) as out:
        table.to_csv(out / "perplexity.csv", index=False, float_format="%.6g")
        (out / "finetune.html").write_text(tuning_html(table, options.reference, confidence))
        scores(table, others, ropes, options.reference, confidence, experiment).write(out / "scores.json")
        figures.draw_before_after(curves, trained, out / "before_after.png", confidence)
        figures.draw_differences(table, options.reference, out / "differences.png", confidence)


Means = Mapping[int, Mapping[tuple[str, str], pd.DataFrame]]
"""By length in tokens, then by regime (empty for the model as it was) and rope: the mean NLL (nats a token) of each
document, in rows, for each seed, in columns."""


def document_means(
    before: Mapping[str, pd.DataFrame],
    after: Mapping[tuple[str, str, int], pd.DataFrame],
    lengths: Sequence[int],
    dynamic: Collection[str] = (),
) -> Means:
    """The mean NLL of every document by length and model.

    Args:
        before: rows of ``nll.parquet`` by rope, of the model as it was.
        after: the same by regime, rope and seed.
        lengths: in tokens.
        dynamic: names of ropes that change with the length; before tuning, they have no mean at a length at which they
            were not read.

    Raises:
        UserError: models were measured on different documents, or none was read at any length.
    """
    known = lengths_by_rope(before, lengths, dynamic)
    groups: dict[tuple[str, str], list[tuple[int, pd.DataFrame]]] = {("", rope): [(0, r)] for rope, r in before.items()}
    for (regime, rope, number), rows in after.items():
        groups.setdefault((regime, rope), []).append((number, rows))
    found = {}
    for length in lengths:
        means = {
            key: pd.DataFrame({number: document_nll(rows, length) for number, rows in members})
            for key, members in groups.items()
            if key[0] or length in known[key[1]]
        }
        first = next(iter(means.values()))
        for key, values in means.items():
            if not values.index.equals(first.index) or values.isna().to_numpy().any():
                raise UserError(f"{'/'.join(filter(None, key))} was measured on other documents than the others.")
        found[length] = means
    return found


def compare(by_length: Means, reference: str, confidence: float, seed: int = 0) -> pd.DataFrame:
    """Perplexity of every model at every length, and two paired differences.

    Args:
        by_length: of :func:`document_means`.
        reference: the rope that others are compared with, tuned in the same regime with the same seeds.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        One row for each regime (empty for the model as it was), rope, corpus and length, with ``documents``, ``seeds``,
        ``nll`` and its bounds over documents (nats a token, averaged over seeds), ``perplexity`` and its bounds;
        ``gain``, the difference that tuning made with the same rope, and ``difference``, from the reference, each with
        ``_low`` and ``_high`` over documents, ``_seeds_low`` and ``_seeds_high`` over seeds (Student's t), and
        ``_better``: yes or no where both intervals exclude zero, and else open.

    Raises:
        UserError: a rope lacks seeds that the reference has.
    """
    table = []
    for length, means in by_length.items():
        first = next(iter(means.values()))
        for (regime, rope), values in means.items():
            others = means.get((regime, reference)) if regime and rope != reference else None
            if others is not None and list(others) != list(values):
                raise UserError(f"{regime}: {rope!r} has seeds {list(values)}; {reference!r} has {list(others)}.")
            base = means.get(("", rope)) if regime else None
            for corpus in [ALL, *sorted(set(first.index.get_level_values("corpus")))]:
                here = _of(values, corpus)
                mean = bootstrap(here.mean(axis=1).to_numpy(), confidence=confidence, seed=seed)
                row: dict[str, Any] = {
                    "regime": regime,
                    "rope": rope,
                    "corpus": corpus,
                    "length": length,
                    "documents": mean.count,
                    "seeds": here.shape[1] if regime else 0,
                    **mean.columns("nll"),
                    **mean.exponential().columns("perplexity"),
                }
                if base is not None:
                    row |= _paired("gain", here.sub(_of(base, corpus).iloc[:, 0], axis=0), confidence, seed)
                if others is not None:
                    row |= _paired("difference", here - _of(others, corpus), confidence, seed)
                table.append(row)
    return pd.DataFrame(table)


def _of(values: pd.DataFrame, corpus: str) -> pd.DataFrame:
    return values if corpus == ALL else values[values.index.get_level_values("corpus") == corpus]


def _paired(name: str, values: pd.DataFrame, confidence: float, seed: int) -> dict[str, Any]:
    """A difference, shape (documents, seeds), with its interval over either."""
    documents = bootstrap(values.mean(axis=1).to_numpy(), confidence=confidence, seed=seed)
    seeds = student(values.mean(axis=0).to_numpy(), confidence=confidence)
    agreed = documents.better() if documents.better() == seeds.better() else "open"
    return {
        **documents.columns(name),
        f"{name}_seeds_low": seeds.low,
        f"{name}_seeds_high": seeds.high,
        f"{name}_better": agreed,
    }


def _mean_over_seeds(models: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several models of one kind, with the mean NLL of each token."""
    keys = ["corpus", "document", "position", "pass_length"]
    ordered = [rows.sort_values(keys, ignore_index=True) for rows in models]
    return ordered[0].assign(nll=np.mean([rows["nll"].to_numpy(np.float64) for rows in ordered], axis=0))


def against_untuned(by_length: Means, confidence: float, seed: int = 0) -> pd.DataFrame:
    """How tuned models differ from the untuned one with another rope, as of a method that needs no tuning.

    Args:
        by_length: of :func:`document_means`.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        One row for each regime, tuned rope, other rope and length, over all corpora: ``difference`` in nats a token
        with bounds over documents and over seeds, as of :func:`compare`.
    """
    table = []
    for length, means in by_length.items():
        for (regime, rope), values in means.items():
            for (before, other), base in means.items():
                if regime and not before and other != rope:
                    paired = _paired("difference", values.sub(base.iloc[:, 0], axis=0), confidence, seed)
                    table.append({"regime": regime, "rope": rope, "other": other, "length": length, **paired})
    return pd.DataFrame(table)


@dataclass(frozen=True, kw_only=True)
class FinetuneSetting(ReportSetting):
    """At what scale models were tuned."""

    stage: str = "finetune"
    train_length: int
    """of pre-training, in tokens"""
    target_length: int
    """for which the reference rope was made, in tokens"""
    documents: int
    seeds: int
    reference: str
    """the rope that differences are from"""
    ropes: tuple[dict[str, str], ...]
    """each ``rope`` and its ``recipe``"""


def scores(
    table: pd.DataFrame,
    others: pd.DataFrame,
    ropes: Mapping[str, Rope],
    reference: str,
    confidence: float,
    experiment: str,
) -> Scores:
    """The numbers of the report over all corpora, and the scale; models as they were have no regime.

    A ``gain`` is from the same rope untuned, a ``difference`` from the reference tuned alike, and a
    ``difference_from_untuned`` from another rope untuned.
    """
    every = table[table["corpus"] == ALL]
    trained = ropes[reference].original_length
    factor = max((step.params.get("factor", 1.0) for step in ropes[reference].steps), default=1.0)
    setting = FinetuneSetting(
        experiment=experiment,
        confidence=confidence,
        train_length=trained,
        target_length=round(factor * trained),
        documents=int(every["documents"].min()),
        seeds=int(every["seeds"].max()),
        reference=reference,
        ropes=tuple({"rope": name, "recipe": rope.recipe} for name, rope in ropes.items()),
    )

    def paired(quantity: str, row: Mapping[Any, Any], name: str, **columns: Any) -> Iterator[Score]:
        """A difference in a column, which has an interval over documents and one over seeds."""
        if pd.notna(row.get(name)):
            ends = {"documents": (row[f"{name}_low"], row[f"{name}_high"])}
            ends["seeds"] = (row[f"{name}_seeds_low"], row[f"{name}_seeds_high"])
            yield from number_rows(quantity, row[name], intervals=ends, confidence=confidence, **columns)

    def names(row: Mapping[Any, Any]) -> dict[str, Any]:
        return {"rope": row["rope"], "regime": row["regime"] or None, "corpus": ALL, "length": row["length"]}

    rows: list[Score] = []
    for row in every.to_dict("records"):
        about = {**names(row), "n_documents": row["documents"], "n_seeds": row["seeds"] or None}
        rows += table_rows(row, "nll", "perplexity", over="documents", confidence=confidence, **about)
        rows += paired("gain", row, "gain", **about)
        rows += paired("difference", row, "difference", against=reference, **about)
    for row in others.to_dict("records"):
        about = {**names(row), "n_documents": setting.documents, "against": row["other"]}
        rows += paired("difference_from_untuned", row, "difference", **about)
    return Scores.of(setting, rows)


def tuning_html(table: pd.DataFrame, reference: str, confidence: float) -> str:
    """The page: what tuning gained, and how ropes differ, by corpus and length."""
    apart = table[table["difference"].notna()] if "difference" in table else table[:0]
    about: dict[str, Any] = {"seeds": int(table["seeds"].max()), "reference": reference, "confidence": confidence}
    about |= {"corpora": by_corpus(table, "regime", "rope"), "differences": by_corpus(apart, "regime", "rope")}
    return render("finetune", "Fine-tuning", heading="What fine-tuning changed", **about)

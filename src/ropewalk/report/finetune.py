"""What fine-tuning changed: perplexity by length before and after, and between ropes, over all that varies."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.files import whole_folder
from ropewalk.intervals import over_all
from ropewalk.reading.nll_file import read_nll
from ropewalk.reading.perplexity import (
    ALL,
    context_gain,
    curve_edges,
    document_nll,
    lengths_by_rope,
    position_bins,
    position_curve,
)
from ropewalk.report import finetune_figures as figures
from ropewalk.report.html import render
from ropewalk.report.options import TuningReportOptions
from ropewalk.report.rows import columns
from ropewalk.report.tables import by_corpus
from ropewalk.rope import Rope
from ropewalk.scores import ReportSetting, Score, Scores, number_rows, table_rows


class Tuned(NamedTuple):
    """Which tuned model a reading is of."""

    regime: str
    rope: str
    base: str
    """the model that it was tuned from"""
    seed: int


Readings = Mapping[str, Mapping[str, pd.DataFrame]]
"""Rows of ``nll.parquet`` of models as they were, by rope and then by model."""


def write_report(readings: Sequence[Path], options: TuningReportOptions, folder: Path) -> None:
    """Write ``finetune.html``, ``perplexity.csv``, figures and ``scores.json``, whole or not at all.

    Args:
        readings: of kind nll: of models as they were, and of what was tuned from them.
        options: what is reported.
        folder: where to write.

    Raises:
        UserError: a file is missing or damaged, models were measured on different documents, or a rope lacks a seed.
    """
    lengths, confidence, experiment = options.lengths, options.confidence, options.experiment
    before: dict[str, dict[str, pd.DataFrame]] = {}
    after: dict[Tuned, pd.DataFrame] = {}
    ropes: dict[str, Rope] = {}
    parameters = 0
    models = {one["model"] for one in columns(readings)}
    for path in readings:
        rows, about = read_nll(path / "nll.parquet")
        found = about["columns"]
        if found.get("tuned_from") in models:
            after[Tuned(found["regime"], found["rope"], found["tuned_from"], found["seed"])] = rows
        else:
            before.setdefault(found["rope"], {})[found["model"]] = rows
            ropes.setdefault(found["rope"], Rope.from_json(about["rope"]))
            parameters = about["parameters"]
    dynamic = [name for name, rope in ropes.items() if not rope.static]
    means = document_means(before, after, lengths, dynamic)
    table = compare(means, options.reference, confidence)
    others = against_untuned(means, confidence)
    trained = next(iter(ropes.values())).original_length
    curves: dict[tuple[str, str], pd.DataFrame] = {}
    for name, own in before.items():
        rows = _mean_over_models(list(own.values()))
        curves["", name] = position_curve(
            rows, curve_edges(rows, lengths, static=name not in dynamic), confidence=confidence
        )
    for regime, name in dict.fromkeys(key[:2] for key in after):
        rows = _mean_over_models([rows for key, rows in after.items() if key[:2] == (regime, name)])
        curves[regime, name] = position_curve(rows, position_bins(lengths, static=True), confidence=confidence)
    able = {
        regime: float(np.mean([context_gain(rows, trained) for key, rows in after.items() if key.regime == regime]))
        for regime in dict.fromkeys(key.regime for key in after)
    }
    with whole_folder(folder) as out:
        table.to_csv(out / "perplexity.csv", index=False, float_format="%.6g")
        (out / "finetune.html").write_text(tuning_html(table, able, options.reference, confidence))
        found = scores(
            table, others, able, ropes, parameters, reference=options.reference, confidence=confidence, name=experiment
        )
        found.write(out / "scores.json")
        figures.draw_before_after(curves, trained, out / "before_after.png", confidence)
        # With one rope there is nothing to hold against it.
        if (table.loc[table["regime"] != "", "rope"] != options.reference).any():
            figures.draw_differences(table, options.reference, out / "differences.png", confidence)


Means = Mapping[int, Mapping[tuple[str, str], pd.DataFrame]]
"""By length in tokens, then by regime (empty for models as they were) and rope: the mean NLL (nats a token) of each
document, in rows, for each model that was tuned from and each seed, in columns."""


def document_means(
    before: Readings,
    after: Mapping[Tuned, pd.DataFrame],
    lengths: Sequence[int],
    dynamic: Collection[str] = (),
) -> Means:
    """The mean NLL of every document by length and model.

    Args:
        before: rows of ``nll.parquet`` of models as they were.
        after: rows of tuned models.
        lengths: in tokens.
        dynamic: names of ropes that change with the length; before tuning, they have no mean at a length at which they
            were not read.

    Raises:
        UserError: models were measured on different documents, or none was read at any length.
    """
    known = lengths_by_rope({rope: next(iter(own.values())) for rope, own in before.items()}, lengths, dynamic)
    groups: dict[tuple[str, str], list[tuple[tuple[str, int], pd.DataFrame]]] = {
        ("", rope): [((model, 0), rows) for model, rows in own.items()] for rope, own in before.items()
    }
    for tuned, rows in after.items():
        groups.setdefault((tuned.regime, tuned.rope), []).append(((tuned.base, tuned.seed), rows))
    found = {}
    for length in lengths:
        means = {
            key: pd.DataFrame({repetition: document_nll(rows, length) for repetition, rows in members})
            for key, members in groups.items()
            if key[0] or length in known[key[1]]
        }
        first = next(iter(means.values()))
        for key, values in means.items():
            if not values.index.equals(first.index) or values.isna().to_numpy().any():
                raise UserError(f"{'/'.join(filter(None, key))} was measured on other documents than the others.")
        found[length] = means
    return found


def compare(by_length: Means, reference: str, confidence: float) -> pd.DataFrame:
    """Perplexity of every model at every length, and two paired differences.

    Args:
        by_length: of :func:`document_means`.
        reference: the rope that others are compared with, tuned in the same regime with the same seeds.
        confidence: of the intervals.

    Returns:
        One row for each regime (empty for models as they were), rope, corpus and length, with ``documents``,
        ``models`` that were tuned from, different ``seeds`` and all ``trainings`` of them, ``over`` (what intervals are
        over), ``nll`` and its bounds (nats a token, averaged over seeds and models), ``perplexity`` and its bounds;
        ``gain``, the difference that tuning made with the same rope, and ``difference``, from the reference, each with
        ``_low``, ``_high``, ``_freedom``, and ``_better``: yes or no where the interval excludes zero, and else open.

    Raises:
        UserError: a rope lacks seeds that the reference has.
    """
    table = []
    for length, means in by_length.items():
        first = next(iter(means.values()))
        for (regime, rope), values in means.items():
            others = means.get((regime, reference)) if regime and rope != reference else None
            if others is not None and list(others) != list(values):
                seeds, known = (side.columns.get_level_values(1).tolist() for side in (values, others))
                raise UserError(f"{regime}: {rope!r} has seeds {seeds}; {reference!r} has {known}.")
            base = means.get(("", rope)) if regime else None
            for corpus in [ALL, *sorted(set(first.index.get_level_values("corpus")))]:
                here = _of(values, corpus)
                mean, over = over_all(_by_model(here), confidence=confidence)
                row: dict[str, Any] = {
                    "regime": regime,
                    "rope": rope,
                    "corpus": corpus,
                    "length": length,
                    "documents": mean.count,
                    "models": len(_by_model(here)),
                    "seeds": _seeds(here) if regime else 0,
                    "trainings": here.shape[1] if regime else 0,
                    "over": over,
                    **mean.columns("nll"),
                    **mean.exponential().columns("perplexity"),
                }
                if base is not None:
                    row |= _paired("gain", _less(here, _of(base, corpus)), confidence)
                if others is not None:
                    row |= _paired("difference", here - _of(others, corpus), confidence)
                table.append(row)
    return pd.DataFrame(table)


def _seeds(values: pd.DataFrame) -> int:
    """Different ones, over all models."""
    return len(set(values.columns.get_level_values(1)))


def _of(values: pd.DataFrame, corpus: str) -> pd.DataFrame:
    return values if corpus == ALL else values[values.index.get_level_values("corpus") == corpus]


def _by_model(values: pd.DataFrame) -> list[np.ndarray]:
    """For each model that was tuned from, shape (seeds, documents)."""
    models = values.columns.get_level_values(0)
    return [values.loc[:, models == model].T.to_numpy() for model in dict.fromkeys(models)]


def _less(values: pd.DataFrame, untuned: pd.DataFrame) -> pd.DataFrame:
    """Values of tuned models less those of the models that they were tuned from."""
    return pd.DataFrame({key: values[key] - untuned[key[0], 0] for key in values.columns.tolist()})


def _paired(name: str, values: pd.DataFrame, confidence: float) -> dict[str, Any]:
    """A difference with its interval over all that varies."""
    found, _ = over_all(_by_model(values), confidence=confidence)
    return {**found.columns(name), f"{name}_freedom": found.freedom or math.nan, f"{name}_better": found.better()}


def _mean_over_models(models: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several models of one kind, with the mean NLL of each token."""
    keys = ["corpus", "document", "position", "pass_length"]
    ordered = [rows.sort_values(keys, ignore_index=True) for rows in models]
    return ordered[0].assign(nll=np.mean([rows["nll"].to_numpy(np.float64) for rows in ordered], axis=0))


def against_untuned(by_length: Means, confidence: float) -> pd.DataFrame:
    """How tuned models differ from the untuned ones with another rope, as of a method that needs no tuning.

    Args:
        by_length: of :func:`document_means`.
        confidence: of the intervals.

    Returns:
        One row for each regime, tuned rope, other rope and length, over all corpora: ``difference`` in nats a token
        with its bounds, as of :func:`compare`, and ``documents``, ``models``, ``seeds`` and ``over``.
    """
    table = []
    for length, means in by_length.items():
        for (regime, rope), values in means.items():
            for (before, other), base in means.items():
                if regime and not before and other != rope:
                    groups = _by_model(values)
                    row = {"regime": regime, "rope": rope, "other": other, "length": length}
                    row |= {"documents": len(values), "models": len(groups), "seeds": _seeds(values)}
                    row |= {"over": over_all(groups)[1], **_paired("difference", _less(values, base), confidence)}
                    table.append(row)
    return pd.DataFrame(table)


NEEDED = 0.1
"""Nats a token that a model must gain from its context within its training length to count as a language model."""


@dataclass(frozen=True, kw_only=True)
class FinetuneSetting(ReportSetting):
    """At what scale models were tuned."""

    stage: str = "finetune"
    parameters: int
    """weights of a model"""
    train_length: int
    """of pre-training, in tokens"""
    target_length: int
    """for which the reference rope was made, in tokens"""
    documents: int
    models: int
    seeds: int
    """different ones of the trainings with one rope in one regime"""
    reference: str
    """the rope that differences are from"""
    ropes: tuple[dict[str, str], ...]
    """each ``rope`` and its ``recipe``"""
    competence: str = "what context is worth within the training length to the tuned models (nats a token)"
    competence_needed: float = NEEDED


def scores(
    table: pd.DataFrame,
    others: pd.DataFrame,
    able: Mapping[str, float],
    ropes: Mapping[str, Rope],
    parameters: int,
    *,
    reference: str,
    confidence: float,
    name: str,
) -> Scores:
    """The numbers of the report over all corpora, and the scale; models as they were have no regime.

    A ``gain`` is from the same rope untuned, a ``difference`` from the reference tuned alike, and a
    ``difference_from_untuned`` from another rope untuned; ``competence`` is of the models of a regime.
    """
    every = table[table["corpus"] == ALL]
    trained = ropes[reference].original_length
    factor = max((step.params.get("factor", 1.0) for step in ropes[reference].steps), default=1.0)
    setting = FinetuneSetting(
        experiment=name,
        confidence=confidence,
        parameters=parameters,
        train_length=trained,
        target_length=round(factor * trained),
        documents=int(every["documents"].min()),
        models=int(every["models"].max()),
        seeds=int(every["seeds"].max()),
        reference=reference,
        ropes=tuple({"rope": each, "recipe": rope.recipe} for each, rope in ropes.items()),
    )

    def paired(quantity: str, row: Mapping[Any, Any], name: str, **columns: Any) -> Iterator[Score]:
        """A difference in a column."""
        if pd.notna(row.get(name)):
            ends = {row["over"]: (row[f"{name}_low"], row[f"{name}_high"])}
            freedom = row[f"{name}_freedom"] if pd.notna(row[f"{name}_freedom"]) else None
            about = {"confidence": confidence, "freedom": freedom, **columns}
            yield from number_rows(quantity, row[name], intervals=ends, **about)

    def names(row: Mapping[Any, Any]) -> dict[str, Any]:
        counts = {"n_documents": row["documents"], "n_seeds": row["seeds"] or None, "n_models": row["models"]}
        return {"rope": row["rope"], "regime": row["regime"] or None, "corpus": ALL, "length": row["length"], **counts}

    rows: list[Score] = []
    for row in every.to_dict("records"):
        about = names(row)
        rows += table_rows(row, "nll", "perplexity", over=row["over"], confidence=confidence, **about)
        rows += paired("gain", row, "gain", **about)
        rows += paired("difference", row, "difference", against=reference, **about)
    for row in others.to_dict("records"):
        rows += paired("difference_from_untuned", row, "difference", against=row["other"], **names(row))
    for regime, value in able.items():
        rows += number_rows("competence", value, regime=regime)
    return Scores.of(setting, rows)


def tuning_html(table: pd.DataFrame, able: Mapping[str, float], reference: str, confidence: float) -> str:
    """The page: what tuning gained, and how ropes differ, by corpus and length."""
    apart = table[table["difference"].notna()] if "difference" in table else table[:0]
    tuned = table[table["regime"] != ""]
    about: dict[str, Any] = {"reference": reference, "confidence": confidence, "able": able, "needed": NEEDED}
    about |= {
        "trainings": int(table["trainings"].max()),
        "models": int(table["models"].max()),
        "over": tuned["over"].iloc[0],
    }
    about |= {"corpora": by_corpus(table, "regime", "rope"), "differences": by_corpus(apart, "regime", "rope")}
    return render("finetune", "Fine-tuning", heading="What fine-tuning changed", **about)

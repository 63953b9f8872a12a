"""A sweep of the base as files: page, table, figures, scores, and a run for each cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ropewalk.files import whole_folder, write_json
from ropewalk.report import scaling_figures as figures
from ropewalk.report.figures import draw_copying_heatmap
from ropewalk.report.predictions import LAWS
from ropewalk.report.scaling_figures import key_text
from ropewalk.report.scaling_page import sweep_html
from ropewalk.scaling.cells import Key
from ropewalk.scaling.estimates import Estimate
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.sweep import Sweep, read_sweep
from ropewalk.scores import ReportSetting, Score, Scores, bare_rows, number_rows


def write_report(readings: Sequence[Path], options: SweepOptions, folder: Path) -> None:
    """Write the page, the tables, the figures, ``scores.json`` and a run for each cell, whole or not at all.

    Args:
        readings: see :func:`ropewalk.scaling.sweep.read_sweep`.
        options: what is reported.
        folder: where to write.

    Raises:
        UserError: a reading is missing or damaged, or they do not belong together.
    """
    sweep = read_sweep(readings, options)
    with whole_folder(folder) as out:
        sweep.limits.to_csv(out / "limits.csv", index=False, float_format="%.6g")
        (out / "scaling.html").write_text(sweep_html(sweep))
        scores(sweep).write(out / "scores.json")
        figures.draw_nll(sweep.counted, out / "nll_by_position.png")
        figures.draw_limits(sweep, out / "limits.png")
        figures.draw_degradation(sweep.counted, out / "degradation.png")
        figures.draw_ladders([one.cell.setting for one in sweep.measured], out / "ladder.png")
        if sweep.cause is not None:
            figures.draw_pairs(sweep.cause, out / "pairs.png")
        if len(sweep.retrieval):
            draw_copying_heatmap(_copying(sweep), sweep.setting.train_length, out / "copying.png")
        _write_runs(sweep, out / "runs")


def _copying(sweep: Sweep) -> pd.DataFrame:
    """Copy accuracy by base and gap, means over models and seeds."""
    rows = {}
    for key, group in sweep.keys.items():
        known = [one.cell.copying for one in group.values() if one.cell.copying is not None]
        if known:
            rows[key_text(key, sweep.keys)] = pd.concat(known).groupby("gap")["accuracy"].mean()
    return pd.DataFrame(rows).T


@dataclass(frozen=True, kw_only=True)
class SweepSetting(ReportSetting):
    """At what scale bases were swept."""

    stage: str = "scaling"
    rotary_dim: int
    base: float
    """of pre-training"""
    train_length: int
    """of pre-training, in tokens"""
    critical_dimension: int
    longest: int
    """tokens that were read"""
    documents: int
    models: int
    """pre-trained ones"""
    parameters: int
    """weights of each"""
    cells: int
    left_out: int
    """cells that do not count"""
    rules: tuple[str, ...]
    """by which limits are read"""
    competence: str
    """what is asked of a model before its numbers count"""
    competence_needed: float


COMPETENCE = "what context is worth within the length of pre-training, before tuning (nats a token)"


def scores(sweep: Sweep) -> Scores:
    """All numbers of a sweep: lengths in tokens, NLL in nats a token."""
    first, setting = sweep.measured[0].cell, sweep.setting
    about = SweepSetting(
        experiment=sweep.options.experiment,
        confidence=sweep.options.confidence,
        rotary_dim=setting.rotary_dim,
        base=setting.base,
        train_length=setting.train_length,
        critical_dimension=setting.critical_dimension,
        longest=first.curves.length,
        documents=len(first.curves.documents),
        models=len(sweep.models),
        parameters=first.parameters,
        cells=len(sweep.measured),
        left_out=len(sweep.measured) - len(sweep.counted),
        rules=tuple(sweep.options.rules),
        competence=COMPETENCE,
        competence_needed=sweep.options.context_use,
    )
    return Scores.of(about, [*_able(sweep), *_bases(sweep), *_comparisons(sweep), *_laws(sweep), *_retrieval(sweep)])


def _estimate(sweep: Sweep, quantity: str, found: Estimate, **columns: Any) -> Iterator[Score]:
    about = {"n_documents": found.n_documents, "n_seeds": found.n_seeds, "n_models": found.n_models, **columns}
    ends = {found.over: (found.low, found.high)}
    confidence, freedom = sweep.options.confidence, found.freedom
    yield from number_rows(quantity, found.value, intervals=ends, confidence=confidence, freedom=freedom, **about)


def _columns(key: Key) -> dict[str, Any]:
    return {
        "base": key.new_base,
        "tune_length": key.tune_length,
        "steps": key.steps,
        "log_scaled": key.log_scaling or None,
    }


def _able(sweep: Sweep) -> Iterator[Score]:
    """What context is worth to each model, and what tuning each base cost it within the tuning length."""
    for model, value in sweep.competence.items():
        yield from number_rows("competence", value, model=model)
    for one in sweep.measured:
        run, loss = one.cell.run, sweep.tuning_losses[one.cell.name]
        yield from number_rows("tuning_loss", loss, model=run.model, seed=run.seed, **_columns(one.cell.key))


def _bases(sweep: Sweep) -> Iterator[Score]:
    """The limit of each base and what reading on costs."""
    for row in sweep.bases:
        columns = {**_columns(row.key), "regime": row.setting.regime}
        for rule, limit in row.limits.items():
            yield from _estimate(sweep, "limit", limit, rule=rule, **columns)
            yield from number_rows("censored_runs", row.censored[rule], rule=rule, **columns)
        if row.predicted is not None:
            yield from number_rows("predicted_limit", row.predicted, law="discrete", **columns)
        yield from _estimate(sweep, "far_degradation", row.far, **columns)
        if row.price is not None:
            yield from _estimate(sweep, "short_context_price", row.price, **columns)


def _comparisons(sweep: Sweep) -> Iterator[Score]:
    """Bases against each other, against themselves tuned or read otherwise, and against dynamic NTK."""
    regimes = {row.key: row.setting.regime for row in sweep.bases}
    for one in sweep.contrasts:
        columns = {**_columns(one.key), "regime": regimes[one.key], "against_base": one.other}
        yield from _estimate(sweep, f"far_degradation_less_{one.what}", one.far, **columns)
        for rule, ratio in one.limits.items():
            yield from _estimate(sweep, f"limit_over_{one.what}", ratio, rule=rule, **columns)
    for longer in sweep.tuning:
        columns = {**_columns(longer.key), "against_length": longer.from_length, "rule": longer.rule}
        yield from _estimate(sweep, "limit_ratio", longer.ratio, **columns)
        if longer.predicted is not None:
            yield from number_rows("predicted_limit_ratio", longer.predicted, law="discrete", **columns)
    for scaled in sweep.log_scaling:
        columns = {**_columns(scaled.key), "start": scaled.start, "stop": scaled.stop}
        yield from _estimate(sweep, "log_scaling_difference", scaled.difference, **columns)
    for rival in sweep.dynamic:
        columns = {**_columns(rival.key), "regime": regimes[rival.key], "length": rival.length}
        yield from _estimate(sweep, "nll_less_dynamic_ntk", rival.difference, **columns)
    if sweep.cause is not None:
        # Nothing is tuned here, so that no seed of a tuning lies behind it.
        for pairs in sweep.cause.pairs:
            method = f"pairs {pairs.start} to {pairs.stop} {pairs.what}"
            yield from _estimate(sweep, "pairs_cost", pairs.cost, method=method, n_seeds=None)
        if sweep.cause.mended is not None:
            yield from _estimate(sweep, "mended_share", sweep.cause.mended, n_seeds=None)


def _laws(sweep: Sweep) -> Iterator[Score]:
    """The slope of ln limit over ln base, and how far each law is from the measured walls."""
    for slope in sweep.slopes:
        columns: dict[str, Any] = {"tune_length": slope.tune_length, "steps": slope.steps, "rule": slope.rule}
        columns["n_bases"] = slope.bases
        yield from _estimate(sweep, "slope", slope.found, **columns)
        for law in ("discrete", "continuous", "band"):
            yield from number_rows("predicted_slope", getattr(slope, law), law=law, **columns)
        yield from number_rows("censored_bases", slope.censored, **columns)
    for error in sweep.errors:
        columns = {"law": error.law, "rule": error.rule, "n_bases": error.bases}
        yield from _estimate(sweep, "error", error.error, **columns)
        yield from _estimate(sweep, "behind", error.behind, **columns)
        if error.ratio is not None:
            yield from number_rows("ratio", error.ratio, **columns)
        yield from number_rows("worse", float(error.worse), **columns)


def _retrieval(sweep: Sweep) -> Iterator[Score]:
    """Both lengths stand for the place between two gaps where copying ends, which is what the interval is of."""
    for row in sweep.retrieval.to_dict("records"):
        columns = {**_columns(Key.of(row)), "n_seeds": row["seeds"], "n_models": row["models"]}
        ends = {"strings, seeds and models": (row["low"], row["high"])}
        yield from number_rows("copied_length", row["copied"], intervals=ends, **columns)
        yield from number_rows("lost_length", row["lost"], **columns)


def _write_runs(sweep: Sweep, folder: Path) -> None:
    """What MLflow shows of each cell: its parameters and its limits."""
    for one in sweep.measured:
        cell = one.cell
        run = folder / cell.name
        run.mkdir(parents=True)
        write_json(
            run / "params.json",
            {
                **cell.key._asdict(),
                **cell.run._asdict(),
                "regime": cell.setting.regime,
                "base": cell.setting.base,
                "train_length": cell.setting.train_length,
            },
        )
        rows = sweep.limits[sweep.limits["cell"] == cell.name].to_dict("records")
        found = [*bare_rows({"new_base": cell.setting.new_base}), *_predictions(rows[0])]
        for row in rows:
            ends = {"documents": (row["low"], row["high"])}
            columns = {"rule": row["rule"].replace("×", "x"), "confidence": sweep.options.confidence}
            found += number_rows("limit", row["limit"], intervals=ends, **columns)
        Scores({"stage": "scaling"}, tuple(found)).write(run / "scores.json")


def _predictions(row: Mapping[Any, Any]) -> Iterator[Score]:
    """What each law says of the limit of a cell."""
    for law in LAWS:
        yield from number_rows("predicted_limit", row[law], law=law)

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
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.sweep import Sweep, read_sweep
from ropewalk.scaling.tables import far_difference
from ropewalk.scores import ReportSetting, Score, Scores, bare_rows, number_rows, table_rows


def write_report(readings: Sequence[Path], options: SweepOptions, folder: Path) -> None:
    """Write the page, the tables, the figures, ``scores.json`` and a run for each cell, whole or not at all.

    Args:
        readings: see :func:`ropewalk.scaling.sweep.read_sweep`.
        options: what is reported.
        folder: where to write.

    Raises:
        UserError: a reading is missing or damaged, or they do not belong together.
    """
    sweep, experiment = read_sweep(readings, options), options.experiment
    setting, measured = sweep.setting, sweep.measured
    with whole_folder(folder) as out:
        sweep.limits.to_csv(out / "limits.csv", index=False, float_format="%.6g")
        (out / "scaling.html").write_text(sweep_html(sweep))
        scores(sweep, experiment).write(out / "scores.json")
        figures.draw_nll(measured, sweep.options, out / "nll_by_position.png")
        length = measured[0].cell.curves.length
        figures.draw_limits(sweep.limits, sweep.bases, sweep.retrieval, setting, length, out / "limits.png")
        figures.draw_degradation(measured, out / "degradation.png")
        figures.draw_ladders([one.cell.setting for one in measured], out / "ladder.png")
        if len(sweep.retrieval):
            draw_copying_heatmap(_copying(sweep), setting.train_length, out / "copying.png")
        _write_runs(sweep, out / "runs")


def _copying(sweep: Sweep) -> pd.DataFrame:
    """Copy accuracy by base and gap, means over seeds."""
    rows = {
        key_text(key, sweep.keys): pd.concat([one.cell.copying for one in group if one.cell.copying is not None])
        .groupby("gap")["accuracy"]
        .mean()
        for key, group in sweep.keys.items()
        if any(one.cell.copying is not None for one in group)
    }
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
    cells: int


def scores(sweep: Sweep, experiment: str) -> Scores:
    """All numbers of a sweep: lengths in tokens, NLL in nats a token."""
    curves, setting, confidence = sweep.measured[0].cell.curves, sweep.setting, sweep.options.confidence
    about = SweepSetting(
        experiment=experiment,
        confidence=confidence,
        rotary_dim=setting.rotary_dim,
        base=setting.base,
        train_length=setting.train_length,
        critical_dimension=setting.critical_dimension,
        longest=curves.length,
        documents=len(curves.documents),
        cells=len(sweep.measured),
    )
    rows = [*_bases(sweep), *_contrasts(sweep), *_slopes(sweep), *_predictors(sweep)]
    over: dict[str, Any] = {"confidence": confidence, "n_documents": about.documents}
    for row in sweep.tuning.to_dict("records"):
        columns = {"base": row["new_base"], "steps": row["steps"], "n_seeds": row["seeds"]}
        columns |= {"tune_length": row["to_length"], "against_length": row["from_length"]}
        ends = {"documents": (row["low"], row["high"])}
        rows += number_rows("limit_ratio", row["ratio"], intervals=ends, **over, **columns)
        rows += number_rows("predicted_limit_ratio", row["predicted"], law="discrete", **columns)
        rows += number_rows("dropped_resamples", row["dropped"], **columns)
    for row in sweep.retrieval.to_dict("records"):
        # Both stand for the place between two gaps where copying ends, which is what the intervals are of.
        columns = {**_columns(Key.of(row)), "n_seeds": row["seeds"]}
        ends = {"strings": (row["low"], row["high"]), "seeds": (row["seeds_low"], row["seeds_high"])}
        rows += number_rows("copied_length", row["copied"], intervals=ends, **columns)
        rows += number_rows("lost_length", row["lost"], **columns)
    for row in sweep.log_scaling.to_dict("records"):
        columns = {"base": row["new_base"], "tune_length": row["tune_length"], "steps": row["steps"]}
        columns |= {"start": row["start"], "stop": row["stop"]}
        ends = {"documents": (row["difference_low"], row["difference_high"])}
        rows += number_rows("log_scaling_difference", row["difference"], intervals=ends, **over, **columns)
    return Scores.of(about, rows)


def _columns(key: Key) -> dict[str, Any]:
    return {
        "base": key.new_base,
        "tune_length": key.tune_length,
        "steps": key.steps,
        "log_scaled": key.log_scaling or None,
    }


def _bases(sweep: Sweep) -> Iterator[Score]:
    """The limit of each base and what reading on costs, means over seeds."""
    confidence, documents = sweep.options.confidence, len(sweep.measured[0].cell.curves.documents)
    for row in sweep.bases.to_dict("records"):
        columns = {**_columns(Key.of(row)), "regime": row["regime"], "n_seeds": row["seeds"], "n_documents": documents}
        ends = {"documents": (row["low"], row["high"]), "seeds": (row["seeds_low"], row["seeds_high"])}
        yield from number_rows("limit", row["limit"], intervals=ends, confidence=confidence, **columns)
        yield from number_rows("predicted_limit", row["predicted"], law="discrete", **columns)
        yield from number_rows("censored_seeds", row["censored"], **columns)
        costs = ("far_degradation", "short_context_price")
        yield from table_rows(row, *costs, over="documents", confidence=confidence, **columns)


def _contrasts(sweep: Sweep) -> Iterator[Score]:
    """Differences of what reading on costs in the second half of the texts, in nats a token.

    Each base less the original one, tuned alike; and among small bases each less the next smaller one, of which the law
    wants that it is above zero.
    """
    found = {key: group for key, group in sweep.keys.items() if not key.log_scaling}
    for key, group in found.items():
        others = {"original": key._replace(new_base=sweep.setting.base)}
        small = [one for one in found if one[:2] == key[:2] and found[one][0].cell.setting.regime == "soft"]
        smaller = [one for one in small if one.new_base < key.new_base]
        if key in small and smaller:
            others["smaller"] = max(smaller, key=lambda one: one.new_base)
        for name, other in others.items():
            if other in found and other != key:
                apart = far_difference(group, found[other], sweep.options)
                yield from number_rows(
                    f"far_degradation_less_{name}",
                    apart.mean,
                    intervals={"documents": (apart.low, apart.high)},
                    confidence=sweep.options.confidence,
                    against_base=other.new_base,
                    n_documents=apart.count,
                    **_columns(key),
                )


def _slopes(sweep: Sweep) -> Iterator[Score]:
    """The slope of ln limit over ln base, by tuning length and steps, and what laws say of it."""
    for slope in sweep.slopes:
        columns: dict[str, Any] = {"tune_length": slope.tune_length, "steps": slope.steps, "n_bases": slope.bases}
        columns["with_original"] = slope.original or None
        ends = {"bases": (slope.low, slope.high), "documents": (slope.documents_low, slope.documents_high)}
        yield from number_rows("slope", slope.value, intervals=ends, confidence=sweep.options.confidence, **columns)
        for law in ("discrete", "continuous", "band"):
            yield from number_rows("predicted_slope", getattr(slope, law), law=law, **columns)
        yield from number_rows("censored_bases", slope.censored, **columns)
        yield from number_rows("dropped_resamples", slope.dropped, **columns)


def _predictors(sweep: Sweep) -> Iterator[Score]:
    """How far each law is from the measured walls: |ln(measured / predicted)|, and how far behind the best."""
    for law, row in sweep.errors.to_dict("index").items():
        own = {**row, "error_low": row["low"], "error_high": row["high"]}
        columns = {"law": law, "n_bases": row["bases"], "confidence": sweep.options.confidence}
        yield from table_rows(own, "error", "ratio", "behind", over="documents", **columns)
        yield from number_rows("worse", float(row["worse"]), law=law, n_bases=row["bases"])


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
                "seed": cell.seed,
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

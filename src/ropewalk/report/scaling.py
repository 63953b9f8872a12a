"""A sweep of the base as files: page, table, figures, scores, and a run for each cell."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from ropewalk.files import whole_folder, write_json
from ropewalk.report import scaling_figures as figures
from ropewalk.report.figures import draw_copying_heatmap
from ropewalk.report.prediction import LAWS
from ropewalk.report.scaling_figures import key_text
from ropewalk.report.scaling_page import sweep_html
from ropewalk.report.tables import numbers
from ropewalk.scaling.cells import Key
from ropewalk.scaling.sweep import Sweep
from ropewalk.scaling.tables import far_difference


def write_report(sweep: Sweep, folder: Path) -> None:
    """Write the page, the tables, the figures, ``scores.json`` and a run for each cell, whole or not at all."""
    setting, measured = sweep.setting, sweep.measured
    with whole_folder(folder) as out:
        sweep.limits.to_csv(out / "limits.csv", index=False, float_format="%.6g")
        (out / "scaling.html").write_text(sweep_html(sweep))
        write_json(out / "scores.json", scores(sweep))
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


def scores(sweep: Sweep) -> dict[str, Any]:
    """All numbers of a sweep, as JSON would hold them; what is censored or has no interval is left out."""
    curves, setting = sweep.measured[0].cell.curves, sweep.setting
    against_original, small_bases = _contrasts(sweep)
    result: dict[str, Any] = {
        "setting": {
            "rotary_dim": setting.rotary_dim,
            "base": setting.base,
            "train_length": setting.train_length,
            "critical_dimension": setting.critical_dimension,
            "longest": curves.length,
            "documents": len(curves.documents),
            "cells": len(sweep.measured),
        },
        "bases": {
            Key.of(row).name: {"regime": row["regime"], **numbers(row)} for row in sweep.bases.to_dict("records")
        },
        "against_original": against_original,
        "small_bases": small_bases,
        "predictors": {law: numbers(row) for law, row in sweep.errors.to_dict("index").items()},
        "slopes": {
            f"length-{slope.tune_length}_steps-{slope.steps}{'_with-original' if slope.original else ''}": numbers(
                vars(slope)
            )
            for slope in sweep.slopes
        },
        "tuning": {
            f"base-{row['new_base']:.10g}_steps-{row['steps']}_{row['from_length']}-to-{row['to_length']}": numbers(row)
            for row in sweep.tuning.to_dict("records")
        },
        "retrieval": {
            Key.of(row).name: numbers(row, exclude=Key._fields) for row in sweep.retrieval.to_dict("records")
        },
        "log_scaling": {
            f"{Key.of({**row, 'log_scaling': True}).name}_{row['start']}-to-{row['stop']}": numbers(row)
            for row in sweep.log_scaling.to_dict("records")
        },
    }
    return result


def _contrasts(sweep: Sweep) -> tuple[dict[str, Any], dict[str, Any]]:
    """Differences of what reading on costs in the second half of the texts, in nats a token.

    Returns:
        Each base less the original one, tuned alike; and among small bases each less the next smaller one, of which the
        law wants that it is above zero.
    """
    against_original, small_bases = {}, {}
    found = {key: group for key, group in sweep.keys.items() if not key.log_scaling}
    for key, group in found.items():
        alike = [other for other in found if other[:2] == key[:2]]
        original = key._replace(new_base=sweep.setting.base)
        if original in found and key != original:
            apart = far_difference(group, found[original], sweep.options)
            against_original[key.name] = numbers({**key._asdict(), **apart.columns("difference")})
        small = [one for one in alike if found[one][0].cell.setting.regime == "soft"]
        smaller = [one for one in small if one.new_base < key.new_base]
        if key in small and smaller:
            nearest = max(smaller, key=lambda one: one.new_base)
            apart = far_difference(group, found[nearest], sweep.options)
            row = {**key._asdict(), "smaller": nearest.new_base, **apart.columns("difference")}
            small_bases[key.name] = numbers(row)
    return against_original, small_bases


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
        write_json(
            run / "scores.json",
            {
                "new_base": cell.setting.new_base,
                "limit": {row["rule"].replace("×", "x"): row["limit"] for row in rows if math.isfinite(row["limit"])},
                "predicted": numbers({law: rows[0][law] for law in LAWS}),
            },
        )

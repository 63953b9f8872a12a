"""A sweep of the base as a page, tables and figures: which law held, which did not."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.files import whole_folder, write_json
from ropewalk.report import scaling_figures as figures
from ropewalk.report.figures import draw_copying_heatmap
from ropewalk.report.prediction import LAWS
from ropewalk.report.scaling_figures import base_text, key_text
from ropewalk.report.tables import page
from ropewalk.rope import theory
from ropewalk.rope.prediction import Setting, limits
from ropewalk.scaling import statistics
from ropewalk.scaling.cells import Key, read_cells
from ropewalk.scaling.statistics import Measured, Options, Slope, groups, measure

CLOSE = 0.25
"""Share of a prediction by which a limit may miss it and still be called close."""


@dataclass(frozen=True)
class Sweep:
    """A sweep and all that is read from it; tables as in :mod:`ropewalk.scaling.statistics`."""

    measured: Sequence[Measured]
    options: Options
    limits: pd.DataFrame
    bases: pd.DataFrame
    slopes: dict[tuple[int, int], Slope]
    errors: pd.DataFrame
    tuning: pd.DataFrame
    log_scaling: pd.DataFrame
    retrieval: pd.DataFrame

    @property
    def setting(self) -> Setting:
        """Of any cell: dimension, base and length of pre-training."""
        return self.measured[0].cell.setting

    @property
    def keys(self) -> dict[Key, list[Measured]]:
        return groups(self.measured)


def read_sweep(
    folders: Sequence[Path],
    *,
    thresholds: Sequence[float],
    smoothing: int | None,
    perplexity_ratio: float,
    confidence: float,
) -> Sweep:
    """Read the cells of a sweep and hold the laws against them.

    Args:
        folders: what ``ropewalk evaluate --window`` wrote of each tuned model.
        thresholds: nats a token; predictors are held against the first.
        smoothing: positions in the moving mean; a quarter of the pre-training length where None.
        perplexity_ratio: of the rule on perplexity.
        confidence: of every interval.

    Raises:
        UserError: a cell cannot be read, or the cells do not belong together.
    """
    cells = read_cells(folders)
    setting = cells[0].setting
    options = Options(tuple(thresholds), smoothing or max(1, setting.train_length // 4), perplexity_ratio, confidence)
    measured = measure(cells, options)
    bases = statistics.base_table(measured, options)
    return Sweep(
        measured,
        options,
        statistics.limit_table(measured, options),
        bases,
        statistics.slopes(bases, setting, confidence),
        statistics.predictor_errors(measured, options),
        statistics.tuning_effects(measured, options),
        statistics.log_scaling_effects(measured, options),
        statistics.retrieval_table(measured, confidence),
    )


def write_report(sweep: Sweep, folder: Path) -> None:
    """Write the page, the tables, the figures, ``scores.json`` and a run for each cell, whole or not at all."""
    setting, measured = sweep.setting, sweep.measured
    with whole_folder(folder) as out:
        sweep.limits.to_csv(out / "limits.csv", index=False, float_format="%.6g")
        title = "Scaling laws: measured and predicted limits"
        (out / "scaling.html").write_text(page(title, title, "".join(_sections(sweep))))
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
    longest = sweep.measured[0].cell.curves.length
    bases = {}
    for row in sweep.bases.to_dict("records"):
        values = {"censored": float(math.isinf(row["limit"])), **_numbers(row, exclude=("regime", *Key._fields))}
        bases[_key(row).name] = values
    result: dict[str, Any] = {
        "longest": longest,
        "documents": len(sweep.measured[0].cell.curves.documents),
        "cells": len(sweep.measured),
        "critical_dimension": sweep.setting.critical_dimension,
        "bases": bases,
        "predictors": {law: _numbers(row) for law, row in sweep.errors.to_dict("index").items()},
        "slopes": {f"length-{t}_steps-{s}": _numbers(vars(slope)) for (t, s), slope in sweep.slopes.items()},
        "tuning": {
            f"base-{row['new_base']:.10g}_steps-{row['steps']}_{row['from_length']}-to-{row['to_length']}": _numbers(
                row, exclude=("new_base", "steps", "from_length", "to_length")
            )
            for row in sweep.tuning.to_dict("records")
        },
        "retrieval": {_key(row).name: _numbers(row, exclude=Key._fields) for row in sweep.retrieval.to_dict("records")},
        "log_scaling": {
            f"base-{row['new_base']:.10g}_length-{row['tune_length']}_{row['start']}-to-{row['stop']}": _numbers(
                row, exclude=("new_base", "tune_length", "steps", "start", "stop")
            )
            for row in sweep.log_scaling.to_dict("records")
        },
    }
    return result


def _key(row: dict[Any, Any]) -> Key:
    return Key(**{name: row[name] for name in Key._fields})


def _numbers(row: dict[Any, Any], exclude: Sequence[str] = ()) -> dict[str, float]:
    return {
        str(name): float(value)
        for name, value in row.items()
        if name not in exclude and isinstance(value, int | float | np.number) and math.isfinite(value)
    }


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
                "predicted": _numbers({law: rows[0][law] for law in LAWS}),
            },
        )


def _sections(sweep: Sweep) -> Iterator[str]:
    setting, options = sweep.setting, sweep.options
    curves, share = sweep.measured[0].cell.curves, f"{100 * options.confidence:g} %"
    thresholds = ", ".join(f"{value:,.1f}" for value in theory.small_base_thresholds(setting.train_length))
    yield (
        f"<p>One model, pre-trained at {setting.train_length:,} tokens with base {base_text(setting.base)} and head "
        f"dimension {setting.rotary_dim}, tuned with other bases ({len(sweep.measured)} cells), and read to "
        f"{curves.length:,} tokens on {len(curves.documents)} held-out documents. The law (arXiv 2310.05209): critical "
        f"dimension {setting.critical_dimension} of {setting.rotary_dim}; bases below {thresholds} are small ones for "
        f"tuning at the pre-training length, ever better; those above the critical base hit a wall.</p>"
        f"<p>A limit is the first position where reading everything costs more than {options.rules[0]} against reading "
        f"only the last half to whole tuning length, as a mean over {options.smoothing} positions and all documents. "
        f"Intervals are {share}: over documents by resampling them for all cells together, over seeds of the tuning "
        f"(other batches, same pre-trained weights) by Student's t of the logarithm.</p>"
    )
    yield f"<h2>In words</h2><ul>{''.join(f'<li>{words}</li>' for words in _words(sweep))}</ul>"
    yield "<h2>Limit by base</h2>" + _base_html(sweep)
    if len(sweep.errors):
        yield "<h2>Predictors, best first</h2>" + _error_html(sweep)
    if sweep.slopes:
        yield "<h2>Slope of the logarithm of the limit over that of the base</h2>" + _slope_html(sweep)
    if len(sweep.tuning):
        yield "<h2>Longer tuning texts</h2>" + _tuning_html(sweep)
    if len(sweep.log_scaling):
        yield "<h2>Log-scaled attention</h2>" + _log_html(sweep)


def _words(sweep: Sweep) -> Iterator[str]:
    """The findings, each a sentence that says what held up and what did not."""
    yield from _predictor_words(sweep)
    yield from _slope_words(sweep)
    yield from _base_words(sweep)
    for row in sweep.tuning.to_dict("records"):
        if math.isfinite(row["ratio"]):
            predicted = f"{row['predicted']:.2f}" if math.isfinite(row["predicted"]) else "nothing"
            yield (
                f"Tuning base {base_text(row['new_base'])} at {row['to_length']:,} tokens instead of "
                f"{row['from_length']:,} moves its limit by a factor of {row['ratio']:.2f}{_bounds(row, '')}; the law "
                f"says {predicted}."
            )
    yield from _retrieval_words(sweep)
    for base, rows in sweep.log_scaling.groupby("new_base") if len(sweep.log_scaling) else ():
        said = [
            f"{row['difference']:+.3f}{_bounds(row, 'difference_', 3)} at {row['start']:,} to {row['stop']:,} tokens"
            for row in rows.to_dict("records")
        ]
        yield f"Log-scaled attention changes the NLL of base {base_text(float(str(base)))} by {'; '.join(said)}."


def _predictor_words(sweep: Sweep) -> Iterator[str]:
    errors = sweep.errors
    if not len(errors):
        return
    best = errors.index[0]
    worse = [law for law in errors.index if errors.loc[law, "behind_low"] > 0]
    even = [str(law) for law in errors.index[1:] if law not in worse]
    told = f"; {', '.join(even)} cannot be told from it" if even else ""
    failed = ", ".join(f"{law} (by {_factor(errors.loc[law, 'factor'])})" for law in worse)
    yield (
        f"<b>Best predictor of the walls: {best}</b>, which misses them by a factor of "
        f"{_factor(errors.loc[best, 'factor'])} on average{told}. Worse, with an interval that excludes zero: "
        f"{failed or 'none'}."
    )
    said = []
    for row in sweep.bases[(sweep.bases["regime"] == "hard wall") & ~sweep.bases["log_scaling"]].to_dict("records"):
        predicted = max(_setting(sweep, _key(row)).wall(), row["tune_length"])
        if math.isinf(row["limit"]):
            said.append(f"{_words_of(row, sweep)} beyond what was read")
            continue
        ratio = row["limit"] / predicted
        near = "" if abs(ratio - 1) <= CLOSE else ", <b>not close</b>"
        said.append(f"{_words_of(row, sweep)} {ratio:.2f}{near}")
    yield f"Measured wall over the law's (discrete); within {100 * CLOSE:g} % is called close: {'; '.join(said)}."


def _slope_words(sweep: Sweep) -> Iterator[str]:
    for (tuned, _), slope in sweep.slopes.items():
        if math.isfinite(slope.low):
            inside = "agrees" if slope.low <= slope.discrete <= slope.high else "<b>disagrees</b>"
            yield (
                f"Tuned at {tuned:,} tokens, the limit grows with the base to the power {slope.value:.3f}"
                f"{_bounds(vars(slope), '', 3)} over {slope.bases} bases; the law's {slope.discrete:.3f} {inside}."
            )


def _base_words(sweep: Sweep) -> Iterator[str]:
    """Which base is worst, and whether small ones are ordered as the law wants."""
    setting = sweep.setting
    alike: dict[tuple[int, int], list[dict[Any, Any]]] = {}
    for row in sweep.bases[~sweep.bases["log_scaling"]].to_dict("records"):
        alike.setdefault((row["tune_length"], row["steps"]), []).append(row)
    for (tuned, steps), rows in alike.items():
        if len(rows) < 3:
            continue
        worst = max(rows, key=lambda row: row["far_degradation"])
        critical = theory.critical_base(setting.base, setting.train_length, tuned)
        yield (
            f"Tuned at {tuned:,} tokens for {steps:,} steps, the worst base in the second half of the texts is "
            f"{base_text(worst['new_base'])}; by the law it is the critical base, {critical:,.0f}."
        )
        small = sorted((row for row in rows if row["regime"] == "soft"), key=lambda row: row["new_base"])
        if len(small) > 1:
            costs = [row["far_degradation"] for row in small]
            values = "; ".join(f"{base_text(row['new_base'])} {row['far_degradation']:.2f}" for row in small)
            yield (
                "Among small bases the law wants a slower decay for a smaller base; in the second half of the texts "
                f"({values} nats) that {'holds' if costs == sorted(costs) else '<b>does not hold</b>'}."
            )


def _retrieval_words(sweep: Sweep) -> Iterator[str]:
    """Where low perplexity and copying part."""
    apart: list[str] = []
    held: list[str] = []
    together: list[str] = []
    broken = {_key(row): row["limit"] for row in sweep.bases.to_dict("records")}
    for row in sweep.retrieval.to_dict("records"):
        if row["log_scaling"]:
            continue
        breaks = broken[_key(row)]
        bound = _retrieval_bound(_setting(sweep, _key(row)))
        if math.isfinite(row["limit"]) and math.isfinite(bound):
            held.append(f"{_words_of(row, sweep)} {row['limit'] / bound:.2f}")
        words = f"{_words_of(row, sweep)}: copies to {_tokens(row['limit'])}, breaks at {_tokens(breaks)}"
        (apart if row["limit"] < (1 - CLOSE) * breaks else together).append(words)
    if held:
        yield (
            "Where copying ends over the smaller of two bounds, the law's limit and Men et al.'s (neither paper puts "
            f"them together): {'; '.join(held)}."
        )
    if apart:
        yield f"Perplexity and retrieval <b>part</b>, copying ending well before perplexity breaks: {'; '.join(apart)}."
    if together:
        yield f"They do not part: {'; '.join(together)}."


def _retrieval_bound(setting: Setting) -> float:
    """The smaller of what the scaling law and Men et al. allow, in tokens; infinite where neither says anything."""
    predicted = limits(setting)
    return min(value if value is not None else math.inf for value in (predicted["discrete"], predicted["similarity"]))


def _setting(sweep: Sweep, key: Key) -> Setting:
    return sweep.keys[key][0].cell.setting


def _words_of(row: dict[Any, Any], sweep: Sweep) -> str:
    return html.escape(key_text(_key(row), sweep.keys).removeprefix("base "))


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _tokens(value: float) -> str:
    return "beyond the longest text" if math.isinf(value) else f"{value:,.0f}"


def _bounds(row: dict[Any, Any], name: str, digits: int = 2) -> str:
    low, high = (row[f"{name}{end}"] for end in ("low", "high"))
    if not (math.isfinite(low) or math.isfinite(high)):
        return ""
    return f" [{low:.{digits}f}, {'∞' if math.isinf(high) else f'{high:.{digits}f}'}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _small(text: str) -> str:
    return f"<br><small>{text.strip()}</small>" if text.strip() else ""


def _base_html(sweep: Sweep) -> str:
    retrieval = {_key(row): row for row in sweep.retrieval.to_dict("records")}
    others = sweep.limits.set_index(["cell", "rule"])["limit"]
    rows = []
    for row in sweep.bases.to_dict("records"):
        key = _key(row)
        setting = _setting(sweep, key)
        seeds = f"seeds{_bounds(row, 'seeds_', 0)}" if math.isfinite(row["seeds_low"]) else ""
        predicted = {
            "hard wall": f"{max(setting.wall(), setting.tune_length):,.0f}",
            "middle": f"{setting.tune_length:,}",
        }
        copied = retrieval.get(key)
        similarity = theory.similarity_length(setting.rotary_dim, setting.new_base)
        price = row.get("short_context_price", math.nan)
        rows.append(
            [
                html.escape(key_text(key, sweep.keys)),
                row["regime"],
                f"{_tokens(row['limit'])}{_small(_bounds(row, '', 0))}{_small(seeds)}",
                *(
                    _tokens(float(np.exp(np.mean(np.log([others[one.cell.name, rule] for one in sweep.keys[key]])))))
                    for rule in sweep.options.rules[1:]
                ),
                predicted.get(row["regime"], "none"),
                f"{row['far_degradation']:.3f}{_small(_bounds(row, 'far_degradation_', 3))}",
                f"{price:+.3f}{_small(_bounds(row, 'short_context_price_', 3))}" if math.isfinite(price) else "",
                f"{_tokens(copied['limit'])}{_small(_bounds(copied, '', 0))}" if copied else "",
                f"{similarity:,}" if similarity else "",
            ]
        )
    head = [
        "base",
        "regime",
        f"limit ({sweep.options.rules[0]})",
        *sweep.options.rules[1:],
        "predicted",
        "cost in the second half",
        "price of short texts",
        "copies to",
        "Men et al.",
    ]
    return _table(head, rows) + (
        "<p><small>Limits in tokens. Cost in the second half: nats a token of reading everything against the last "
        "tokens. Price of short texts: NLL of the first tokens, to the length of pre-training, over that of the "
        "original base tuned alike, paired over documents. Copies to: length of text at which copy accuracy first "
        "falls below one half, 0 where the shortest gap is not copied; intervals resample strings. Men et al.: the "
        "distance at which a query stops preferring similar keys at this base.</small></p>"
    )


def _error_html(sweep: Sweep) -> str:
    rows = []
    for law, row in sweep.errors.to_dict("index").items():
        behind = "best" if row["behind"] == 0 else f"{row['behind']:+.3f}{_small(_bounds(row, 'behind_', 3))}"
        ratio = f"{row['ratio']:.3g}" if math.isfinite(row["ratio"]) else "censored"
        error = f"{row['error']:.3f}{_small(_bounds(row, '', 3))}"
        rows.append([f"{law}{_small(html.escape(LAWS[str(law)]))}", error, _factor(row["factor"]), ratio, behind])
    head = [
        "law",
        "mean |ln(measured/predicted)|",
        "misses by a factor of",
        "measured over predicted",
        "behind the best",
    ]
    settings = int(sweep.errors["settings"].iloc[0])
    return _table(head, rows) + (
        f"<p><small>Over {settings} settings whose regime is a hard wall. A limit that was never reached counts by "
        "what a prediction falls short of the longest text. Similarity, aliasing and stability are bounds of another "
        "kind: they say what a base cannot do, not where perplexity breaks.</small></p>"
    )


def _slope_html(sweep: Sweep) -> str:
    rows = [
        [
            f"{tuned:,} tokens, {steps:,} steps",
            str(slope.bases),
            f"{slope.value:.3f}{_bounds(vars(slope), '', 3)}",
            f"{slope.discrete:.3f}",
            f"{slope.continuous:.3f}",
        ]
        for (tuned, steps), slope in sweep.slopes.items()
    ]
    return _table(["tuned at", "bases", "measured", "law, discrete", "law, continuous"], rows)


def _tuning_html(sweep: Sweep) -> str:
    rows = [
        [
            f"{base_text(row['new_base'])}, {row['steps']:,} steps",
            f"{row['from_length']:,} to {row['to_length']:,}",
            f"{row['ratio']:.2f}{_bounds(row, '')}" if math.isfinite(row["ratio"]) else "beyond the longest text",
            f"{row['predicted']:.2f}" if math.isfinite(row["predicted"]) else "none",
        ]
        for row in sweep.tuning.to_dict("records")
    ]
    return _table(["base", "tuning length (tokens)", "limit grows by a factor of", "predicted"], rows)


def _log_html(sweep: Sweep) -> str:
    rows = [
        [
            f"{base_text(row['new_base'])}, tuned at {row['tune_length']:,}, {row['steps']:,} steps",
            f"{row['start']:,} to {row['stop']:,}",
            f"{row['difference']:+.4f}{_bounds(row, 'difference_', 4)}",
        ]
        for row in sweep.log_scaling.to_dict("records")
    ]
    return _table(["base", "positions (tokens)", "NLL with it less without (nats a token)"], rows)

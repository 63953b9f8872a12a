"""What the laws say about a model, as text, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from ropewalk.files import whole_folder
from ropewalk.report.html import render
from ropewalk.report.options import PredictionOptions
from ropewalk.report.prediction_text import LAWS, number_text, reach_text
from ropewalk.report.style import ACCENT, GREY, INK, SECOND, save
from ropewalk.rope import theory
from ropewalk.rope.prediction import REQUIRED_PERIODS, Setting, limits, predict, walls

FIGURE_SUFFIXES = tuple(f".{name}" for name in sorted(FigureCanvasBase.get_supported_filetypes()))
"""What the name of a figure may end in."""

_BASES_DRAWN = 240
_SIMILARITY_BASES_DRAWN = 64
_SIMILARITY_MOST = 1 << 17
_SIMILARITY = "#8e44ad"
_PERIODS = ("#7fb2d9", "#b5d2e9")


def draw_prediction(setting: Setting, path: str | Path, target_length: int | None = None) -> None:
    """Draw the ladder of periods at the old and the new base, and every law's limit against the base.

    Args:
        setting: the model, its new base and its tuning.
        path: image file to write.
        target_length: a wanted length in tokens, drawn across both.
    """
    figure = Figure(figsize=(13.5, 5.2))
    left, right = figure.subplots(1, 2, width_ratios=(0.85, 1))
    draw_ladder(left, setting)
    _draw_limits(right, setting)
    if target_length is not None:
        for axes in (left, right):
            axes.set_ylim(top=max(axes.get_ylim()[1], 2 * target_length))
            axes.axhline(target_length, color=SECOND, lw=1, ls=":")
            axes.annotate(
                f"wanted: {target_length:,}",
                (0.01, target_length),
                xycoords=("axes fraction", "data"),
                xytext=(2, 3),
                textcoords="offset points",
                color=SECOND,
                fontsize=8,
            )
    figure.tight_layout(w_pad=3)
    save(figure, path)


def draw_ladder(axes: Axes, setting: Setting) -> None:
    """The period of each pair at the old and at the new base; pairs beyond the critical one are shaded."""
    pairs = np.arange(setting.rotary_dim // 2)
    critical = setting.critical_dimension // 2
    for base, colour in ((setting.base, GREY), (setting.new_base, ACCENT)):
        axes.plot(pairs, 2 * np.pi * base ** (2 * pairs / setting.rotary_dim), ".", ms=5, color=colour)
        axes.annotate(
            f"base {number_text(base)}",
            (pairs[-1], 2 * np.pi * base ** (2 * pairs[-1] / setting.rotary_dim)),
            xytext=(5, 0),
            textcoords="offset points",
            color=INK if colour == GREY else colour,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )
    axes.axvspan(critical - 0.5, pairs[-1] + 0.5, color=GREY, alpha=0.18, lw=0)
    lines = {setting.train_length: "pre-training", setting.tune_length: "tuning"}
    if setting.tune_length == setting.train_length:
        lines = {setting.train_length: "pre-training and tuning"}
    for length, name in lines.items():
        axes.axhline(length, color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.annotate(f"{name}: {length:,}", (0, length), xytext=(0, 3), textcoords="offset points", fontsize=8)
    wall = setting.wall()
    if setting.regime == "hard wall" and math.isfinite(wall):
        axes.plot([critical], [wall], "o", ms=9, mfc="none", mec=SECOND, mew=1.6)
        axes.annotate(
            f"limit {wall:,.0f}",
            (critical, wall),
            xytext=(-9, 6),
            textcoords="offset points",
            ha="right",
            color=SECOND,
            fontsize=9,
        )
    axes.set(yscale="log", xlabel="pair, fastest first", ylabel="period (tokens a turn)")
    axes.set_xlim(-0.5, pairs[-1] + 0.5)
    axes.set_title("Periods; shaded: pairs that pre-training did not turn fully", loc="left")


def _draw_limits(axes: Axes, setting: Setting) -> None:
    thresholds = theory.small_base_thresholds(setting.tune_length)
    low = max(1.5, min(thresholds[-1], setting.new_base) / 3)
    high = max(setting.critical_base * 100, setting.new_base * 10)
    draw_laws(axes, setting, low, high)
    by_law = limits(setting)
    if by_law["similarity"] is not None:
        axes.plot([setting.new_base], [by_law["similarity"]], "o", ms=7, mfc="none", mec=_SIMILARITY, mew=1.4)
        axes.set_ylim(top=max(axes.get_ylim()[1], 1.5 * by_law["similarity"]))
    limit = by_law["discrete"]
    if limit is not None:
        axes.plot([setting.new_base], [limit], "o", ms=9, mfc="none", mec=SECOND, mew=1.6)
    else:
        axes.axvline(setting.new_base, color=SECOND, lw=1.2)
    axes.set_title("How far, by base", loc="left")


def draw_laws(
    axes: Axes, setting: Setting, low: float, high: float, *, most: float = math.inf, copied: bool = False
) -> None:
    """Every law's limit for bases from ``low`` to ``high`` at the tuning of ``setting``, with the regimes shaded.

    Args:
        axes: gets logarithmic axes, and a legend below them.
        setting: its new base is not looked at.
        low: first base.
        high: last base.
        most: longest length shown, in tokens.
        copied: show similarity, which is a distance, as the length of a text whose second half copies its first.
    """
    tuned, critical = setting.tune_length, setting.critical_base
    thresholds = theory.small_base_thresholds(tuned)
    # Above the critical base the law of walls rules, however small the base.
    first = min(thresholds[0], critical)
    bases = np.geomspace(low, high, _BASES_DRAWN)
    above = np.geomspace(min(critical, high), high, _BASES_DRAWN)
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="new base", ylabel="limit (tokens)")
    for start, stop, words in ((low, first, "soft"), (first, critical, "middle"), (critical, high, "hard wall")):
        if stop > start and start < high:
            axes.axvspan(start, min(stop, high), color=GREY, alpha={"soft": 0.22, "middle": 0.1}.get(words, 0), lw=0)
            axes.annotate(
                words,
                (math.sqrt(max(start, low) * min(stop, high)), 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, -11),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=INK,
            )
    for threshold in thresholds[1:]:
        if low < threshold < first:
            axes.axvline(threshold, color=INK, lw=0.6, ls=":", label="small bases, 2nd and 3rd threshold")
    styles: dict[str, dict[str, Any]] = {
        "discrete": {"color": ACCENT, "lw": 2.2},
        "continuous": {"color": ACCENT, "lw": 1.2, "ls": "--"},
        "last covered pair": {"color": ACCENT, "lw": 1.2, "ls": ":"},
        **{f"{r:g} periods": {"color": c, "lw": 1} for r, c in zip(REQUIRED_PERIODS[1:], _PERIODS, strict=True)},
        "frequency band": {"color": "#6a8f3c", "lw": 1.2, "ls": "-."},
    }
    by_base = [walls(replace(setting, new_base=float(b))) for b in above]
    tops = [float(tuned)]
    for law, style in styles.items():
        heights = np.maximum([one[law] for one in by_base], tuned)
        if np.isfinite(heights).all():
            axes.plot(above, heights, **style, label=law)
            if law in ("discrete", "continuous", "last covered pair"):
                tops.append(heights[-1])
    if first < critical:
        axes.plot([first, min(critical, high)], [tuned, tuned], color=ACCENT, lw=2.2)
    top = min(most, 6 * max(tops))
    # Points: from one base to the next it jumps, and a line would say something of those between.
    some = np.geomspace(low, high, _SIMILARITY_BASES_DRAWN)
    sought, times = min(_SIMILARITY_MOST, math.ceil(top)), 2 if copied else 1
    similar = [theory.similarity_length(setting.rotary_dim, float(b), sought) or math.nan for b in some]
    name = "similarity (Men et al.), twice the distance" if copied else "similarity (Men et al.), a distance"
    if top > times * sought:
        name += f", to {sought:,}"
    axes.plot(some, times * np.array(similar), ".", ms=3.5, color=_SIMILARITY, label=name)
    axes.plot(bases, [theory.stability_length(b) for b in bases], color=GREY, lw=1, label="stability")
    axes.plot(bases, [theory.aliasing_length(b) for b in bases], color=GREY, lw=1, ls="--", label="aliasing")
    axes.set_ylim(max(4.0, setting.train_length / 8), top)
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    axes.legend(named.values(), named.keys(), fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def predictions_table(settings: Sequence[Setting]) -> pd.DataFrame:
    """What the laws say of several settings, a row each.

    Returns:
        ``tune_length`` (tokens), ``new_base``, ``regime``, ``critical_base`` for that tuning length,
        ``critical_dimension_tuned``, and each law's limit in tokens, empty where it names none.
    """
    rows = [
        {
            "tune_length": setting.tune_length,
            "new_base": setting.new_base,
            "regime": setting.regime,
            "critical_base": setting.critical_base,
            "critical_dimension_tuned": theory.critical_dimension(
                setting.rotary_dim, setting.new_base, setting.tune_length
            ),
            **limits(setting),
        }
        for setting in settings
    ]
    # A column that is empty throughout would hold None in the place of nan.
    return pd.DataFrame(rows).astype(dict.fromkeys(LAWS, float))


def write_predictions(options: PredictionOptions, folder: Path) -> None:
    """Write the table of several settings of one model as CSV and as a page, with a figure of the laws.

    Args:
        options: one model, other bases and tuning lengths.
        folder: where to write, whole or not at all.

    Raises:
        UserError: a base or a length cannot be.
    """
    settings = [
        Setting(options.head_dim, options.base, options.length, length, base)
        for base, length in zip(options.bases, options.tune_lengths, strict=True)
    ]
    first = settings[0]
    table = predictions_table(settings)
    with whole_folder(folder) as out:
        table.to_csv(out / "predictions.csv", index=False, float_format="%.6g")
        (out / "predictions.html").write_text(_predictions_html(settings, table))
        lengths = sorted(table["tune_length"].unique())
        figure = Figure(figsize=(7.4 * len(lengths), 5.2))
        low, high = table["new_base"].min() / 2.2, table["new_base"].max() * 3
        for axes, length in zip(figure.subplots(1, len(lengths), squeeze=False)[0], lengths, strict=True):
            draw_laws(axes, replace(first, tune_length=int(length)), low, high)
            part = table[table["tune_length"] == length]
            axes.plot(part["new_base"], part["discrete"], "o", ms=7, mfc="none", mec=SECOND, mew=1.5)
            for base in part["new_base"][part["discrete"].isna()]:
                axes.axvline(base, ymax=0.06, color=SECOND, lw=1.5)
            axes.set_title(
                f"Tuned at {length:,} tokens; bases of the table: circles, or ticks without a wall", loc="left"
            )
        figure.tight_layout(w_pad=3)
        save(figure, out / "predictions.png")


def _predictions_html(settings: Sequence[Setting], table: pd.DataFrame) -> str:
    first = settings[0]
    thresholds = [
        f"tuned at {length:,} tokens: {', '.join(map(number_text, theory.small_base_thresholds(length)))} as printed, "
        f"{', '.join(number_text(_known(b)) for b in theory.small_base_thresholds(length, first.rotary_dim))} for the "
        "slowest pair that there is"
        for length in sorted(table["tune_length"].unique())
    ]
    rows = [
        [
            f"{row['tune_length']:,}",
            number_text(row["new_base"]),
            row["regime"],
            number_text(row["critical_base"]),
            *(reach_text(law, _known(row[law])).replace("none", "") for law in LAWS),
        ]
        for row in table.to_dict("records")
    ]
    # Folded away unless there is a warning.
    remarks = [(f"{number_text(one.new_base)}, tuned at {one.tune_length:,} tokens", predict(one)) for one in settings]
    about: dict[str, Any] = {"first": first, "base": number_text(first.base), "thresholds": thresholds}
    return render("predictions", "Scaling laws: what they predict", **about, laws=LAWS, rows=rows, remarks=remarks)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

"""Figures of a sweep of the base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ropewalk.reading.perplexity import position_bins
from ropewalk.report.figures import token_axis
from ropewalk.report.predictions import draw_laws
from ropewalk.report.style import ACCENT, GREY, INK, SECOND, inks, label_ends, save, spread
from ropewalk.rope.prediction import Setting, limits
from ropewalk.scaling.cells import Key
from ropewalk.scaling.limits import smoothed
from ropewalk.scaling.measured import Measured, groups
from ropewalk.scaling.options import SweepOptions


def base_text(base: float) -> str:
    """A base as people write it."""
    return f"{base:,.10g}"


def colours(bases: Sequence[float]) -> dict[float, np.ndarray]:
    """An ink for each base, in the order of size."""
    ordered = sorted(set(bases))
    return dict(zip(ordered, inks(len(ordered)), strict=True))


def draw_nll(measured: Sequence[Measured], options: SweepOptions, path: str | Path) -> None:
    """NLL against position: a row a tuning length, small bases at the left, large ones and their walls at the right.

    Args:
        measured: cells of one sweep; the mean over seeds is drawn.
        options: the moving mean is that of the limits.
        path: image file to write.
    """
    found = main_groups(measured)
    lengths = sorted({key.tune_length for key in found})
    ink = colours([key.new_base for key in found])
    figure = Figure(figsize=(13, 4.1 * len(lengths)))
    grid = figure.subplots(len(lengths), 2, squeeze=False, sharex=True, sharey=True)
    means = {key: np.mean([one.cell.curves.full.mean(axis=0) for one in group], axis=0) for key, group in found.items()}
    smooth = {key: smoothed(mean, options.width) for key, mean in means.items()}
    low = min(curve.min() for curve in smooth.values())
    high = np.quantile(np.concatenate(list(smooth.values())), 0.97)
    for row, length in zip(grid, lengths, strict=True):
        for axes, large in zip(row, (False, True), strict=True):
            keys = [key for key in found if key.tune_length == length]
            setting = found[keys[0]][0].cell.setting
            keys = [key for key in keys if (key.new_base >= setting.base if large else key.new_base <= setting.base)]
            if not keys:
                axes.set_visible(False)
                continue
            ends = {}
            for key in keys:
                places = np.arange(len(smooth[key])) + 1 + options.width // 2
                axes.plot(places, smooth[key], color=ink[key.new_base], lw=1.5)
                ends[base_text(key.new_base)] = min(float(smooth[key][-1]), high)
                wall = limits(found[key][0].cell.setting)["discrete"]
                if large and wall is not None:
                    axes.axvline(wall, color=ink[key.new_base], lw=1, ls=":")
            last = means[keys[0]].size + 1
            token_axis(axes, max(8, length // 4), last, setting.train_length)
            axes.set_ylim(low - 0.06 * (high - low), high + 0.04 * (high - low))
            label_ends(axes, ends, {base_text(base): colour for base, colour in ink.items()})
            side = "Large bases; dotted: the wall that the law predicts" if large else "Small bases"
            axes.set_title(f"{side} · tuned at {length:,} tokens", loc="left")
        row[0].set_ylabel("NLL (nats a token)")
    for axes in grid[-1]:
        axes.set_xlabel("position (tokens)")
    figure.tight_layout(w_pad=4)
    save(figure, path)


def main_groups(measured: Sequence[Measured]) -> dict[Key, list[Measured]]:
    """Groups without log-scaled attention and with the commonest number of steps."""
    plain = {key: group for key, group in groups(measured).items() if not key.log_scaling}
    _, steps = usual(plain)
    return {key: group for key, group in plain.items() if key.steps == steps}


def draw_limits(
    table: pd.DataFrame, bases: pd.DataFrame, retrieval: pd.DataFrame, setting: Setting, length: int, path: str | Path
) -> None:
    """Measured limit against base with all predictors, a panel a tuning length.

    Args:
        table: ``limit_table``: a small dot a seed.
        bases: ``base_table``: a large dot a base with its interval over documents.
        retrieval: ``retrieval_table``: a thin bar from the last length copied to the first that is not.
        setting: of any cell.
        length: longest text measured, in tokens.
        path: image file to write.
    """
    lengths = sorted(bases["tune_length"].unique())
    figure = Figure(figsize=(7.4 * len(lengths), 5.6))
    low, high = bases["new_base"].min() / 2.2, bases["new_base"].max() * 3
    for axes, tuned in zip(figure.subplots(1, len(lengths), squeeze=False)[0], lengths, strict=True):
        own = Setting(setting.rotary_dim, setting.base, setting.train_length, int(tuned), setting.base)
        draw_laws(axes, own, low, high, most=2.2 * length, copied=True)
        axes.axhline(length, color=INK, lw=0.7)
        axes.annotate(
            "longest text measured",
            (0.01, length),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8,
        )
        part = bases[(bases["tune_length"] == tuned) & ~bases["log_scaling"]]
        _, steps = usual(Key.of(row) for row in bases.to_dict("records"))
        for row in part.itertuples():
            _draw_limit(axes, row.new_base, row.limit, row.low, row.high, length, other=row.steps != steps)
        seeds = table[
            (table["tune_length"] == tuned)
            & ~table["log_scaling"]
            & (table["steps"] == steps)
            & (table["rule"] == table["rule"].iloc[0])
        ]
        known = seeds[np.isfinite(seeds["limit"])]
        axes.plot(known["new_base"] * 1.09, known["limit"], ".", ms=4, color=SECOND, alpha=0.7)
        bottom = axes.get_ylim()[0] * 1.1
        for copied in retrieval.to_dict("records"):
            if copied["tune_length"] == tuned and not copied["log_scaling"] and copied["steps"] == steps:
                ends = [min(max(copied[end], bottom), length) for end in ("copied", "lost")]
                axes.plot([copied["new_base"] / 1.12] * 2, ends, "_-", ms=7, mew=1.3, lw=1.3, color=INK, zorder=5)
        axes.set_title(f"Tuned at {tuned:,} tokens", loc="left")
    figure.suptitle(
        "Measured limits and what each law predicts. Orange: reading everything costs more than the threshold, with "
        "its interval over documents; small dots are seeds,\narrows mean that it never did, diamonds another number of "
        "steps. Black bars: lengths of text between which copying ends (accuracy below one half).",
        x=0.01,
        ha="left",
        fontsize=9.5,
    )
    figure.tight_layout(w_pad=3)
    save(figure, path)


def _draw_limit(axes: Axes, base: float, limit: float, low: float, high: float, length: int, *, other: bool) -> None:
    # Tuned for another number of steps it stands beside, or the two would hide each other.
    base, mark = (base * 1.25, "D") if other else (base, "o")
    if math.isinf(limit):
        axes.plot([base], [length], mark, ms=6, mfc="white", mec=SECOND, mew=1.6)
        arrow = {"arrowstyle": "->", "color": SECOND, "lw": 1.6}
        axes.annotate("", (base, length * 1.5), (base, length * 1.03), arrowprops=arrow)
        return
    if math.isfinite(low):
        axes.plot([base, base], [low, min(high, length)], color=SECOND, lw=1.6, zorder=4)
    axes.plot([base], [limit], mark, ms=6, color=SECOND, zorder=5)


def draw_degradation(measured: Sequence[Measured], path: str | Path) -> None:
    """What reading everything costs against the last tokens, by base and position, with the predicted limits.

    Args:
        measured: cells of one sweep; means over seeds.
        path: image file to write.
    """
    found = groups(measured)
    length = measured[0].cell.curves.length
    shortest = min(key.tune_length for key in found)
    edges = sorted({shortest, *(edge for edge in position_bins([length], static=True) if edge > shortest)})
    values = np.array(
        [
            np.mean(
                [
                    [
                        one.cell.curves.degradation[:, a - 1 : b - 1].mean()
                        for a, b in zip(edges, edges[1:], strict=False)
                    ]
                    for one in group
                ],
                axis=0,
            )
            for group in found.values()
        ]
    )
    figure = Figure(figsize=(2.6 + 0.62 * values.shape[1], 1.3 + 0.33 * len(found)))
    axes = figure.subplots()
    norm = TwoSlopeNorm(vmin=-0.05, vcenter=0.05, vmax=max(0.2, float(np.quantile(values, 0.97))))
    image = axes.imshow(values, aspect="auto", cmap=mpl.colormaps["RdYlBu_r"], norm=norm)
    for (row, column), value in np.ndenumerate(values):
        strong = norm(value) > 0.9 or norm(value) < 0.1
        axes.text(
            column,
            row,
            f"{value:.2f}".replace("-0.00", "0.00"),
            ha="center",
            va="center",
            fontsize=7.5,
            color="white" if strong else INK,
        )
    for row, group in enumerate(found.values()):
        wall = limits(group[0].cell.setting)["discrete"]
        if wall is not None and edges[0] <= wall <= edges[-1]:
            place = np.interp(math.log(wall), np.log(edges), np.arange(len(edges)) - 0.5)
            axes.plot([place, place], [row - 0.5, row + 0.5], color=INK, lw=2.4)
    axes.set_xticks(np.arange(len(edges)) - 0.5, [f"{edge:,}" for edge in edges], fontsize=8)
    axes.set_yticks(range(len(found)), [key_text(key, found) for key in found])
    axes.set_xlabel("position (tokens)")
    axes.set_title(
        "Cost of reading everything against the last tokens (nats a token); black: predicted limit", loc="left"
    )
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.02)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.2f}"))
    save(figure, path)


def usual(keys: Iterable[Key]) -> tuple[int, int]:
    """The commonest tuning length and number of steps, which need not be said of each."""
    every = [(key.tune_length, key.steps) for key in keys]
    return max(every, key=every.count)


def key_text(key: Key, among: Iterable[Key]) -> str:
    """What tells a group apart from the others, for a row of a table or a figure."""
    words = [f"base {base_text(key.new_base)}"]
    length, steps = usual(among)
    if key.tune_length != length:
        words.append(f"tuned at {key.tune_length:,}")
    if key.steps != steps:
        words.append(f"{key.steps:,} steps")
    if key.log_scaling:
        words.append("log-scaled")
    return " · ".join(words)


def draw_ladders(settings: Sequence[Setting], path: str | Path) -> None:
    """The period of every pair for every base, with the lengths of training and tuning, and the predicted walls.

    Args:
        settings: of one model.
        path: image file to write.
    """
    first = settings[0]
    # The shortest tuning last, so that a base with a wall at any length shows it.
    ordered = sorted(settings, key=lambda one: (one.new_base, -one.tune_length))
    by_base = {setting.new_base: setting for setting in ordered}
    ink = colours(list(by_base))
    pairs = np.arange(first.rotary_dim // 2)
    critical = first.critical_dimension // 2
    figure = Figure(figsize=(9.5, 5.6))
    axes = figure.subplots()
    axes.axvspan(critical - 0.5, pairs[-1] + 0.5, color=GREY, alpha=0.18, lw=0)
    ends: list[float] = []
    walls: dict[float, float] = {}
    for base, setting in by_base.items():
        periods = 2 * np.pi * base ** (2 * pairs / first.rotary_dim)
        axes.plot(pairs, periods, ".-", ms=4, lw=0.8, color=ink[base])
        ends.append(math.log(periods[-1]))
        wall = setting.wall()
        if setting.regime == "hard wall" and math.isfinite(wall):
            axes.plot([critical], [wall], "o", ms=9, mfc="none", mec=ink[base], mew=1.6)
            walls[base] = math.log(wall)
    axes.set(yscale="log", xlabel="pair, fastest first", ylabel="period (tokens a turn)")
    axes.set_xlim(-0.5, pairs[-1] + 0.5)
    apart = 0.045 * (max(ends) - math.log(2 * math.pi))
    for (base, wall), height in zip(walls.items(), spread(list(walls.values()), apart) if walls else [], strict=True):
        axes.annotate(
            f"{math.exp(wall):,.0f}",
            (critical, math.exp(height)),
            xytext=(14, 0),
            textcoords="offset points",
            color=ink[base],
            va="center",
            fontsize=8.5,
            bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.5},
        )
    for base, height in zip(by_base, spread(ends, apart), strict=True):
        axes.annotate(
            f"base {base_text(base)}",
            (pairs[-1], math.exp(height)),
            xytext=(8, 0),
            textcoords="offset points",
            color=ink[base],
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )
    for length in sorted({first.train_length, *(setting.tune_length for setting in settings)}):
        name = "pre-training" if length == first.train_length else "tuning"
        axes.axhline(length, color=ACCENT if name == "tuning" else INK, lw=0.9, ls=(0, (4, 3)))
        axes.annotate(
            f"{name}: {length:,} tokens", (0, length), xytext=(0, 3), textcoords="offset points", fontsize=8.5
        )
    axes.set_title(
        "Ladder of periods; shaded: pairs that pre-training did not turn fully; circles: predicted walls", loc="left"
    )
    save(figure, path)

"""Figures of a sweep of the base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ropewalk.reading.perplexity import position_bins
from ropewalk.report.figures import token_axis
from ropewalk.report.predictions import draw_laws
from ropewalk.report.style import ACCENT, GREY, INK, SECOND, inks, label_ends, save, spread
from ropewalk.rope.prediction import Setting, limits
from ropewalk.rope.rope import FloatArray
from ropewalk.scaling.cells import Key
from ropewalk.scaling.estimates import Estimate
from ropewalk.scaling.measured import Group, Measured, groups, setting_of
from ropewalk.scaling.sweep import Sweep
from ropewalk.scaling.untuned import Cause


def base_text(base: float) -> str:
    """A base as people write it."""
    return f"{base:,.10g}"


def colours(bases: Sequence[float]) -> dict[float, np.ndarray]:
    """An ink for each base, in the order of size."""
    ordered = sorted(set(bases))
    return dict(zip(ordered, inks(len(ordered)), strict=True))


def draw_nll(measured: Sequence[Measured], path: str | Path) -> None:
    """NLL against position: a row a tuning length, small bases at the left, large ones and their walls at the right.

    Args:
        measured: cells of one sweep; a moving mean over a quarter of the length of pre-training is drawn, of the mean
            over models and seeds.
        path: image file to write.
    """
    found = main_groups(measured)
    width = max(1, measured[0].cell.setting.train_length // 4)
    lengths = sorted({key.tune_length for key in found})
    ink = colours([key.new_base for key in found])
    figure = Figure(figsize=(13, 4.1 * len(lengths)))
    grid = figure.subplots(len(lengths), 2, squeeze=False, sharex=True, sharey=True)
    smooth = {
        key: smoothed(np.mean([one.cell.curves.full.mean(axis=0) for one in group.values()], axis=0), width)
        for key, group in found.items()
    }
    low = min(curve.min() for curve in smooth.values())
    high = np.quantile(np.concatenate(list(smooth.values())), 0.97)
    for row, length in zip(grid, lengths, strict=True):
        for axes, large in zip(row, (False, True), strict=True):
            keys = [key for key in found if key.tune_length == length]
            setting = setting_of(found[keys[0]])
            keys = [key for key in keys if (key.new_base >= setting.base if large else key.new_base <= setting.base)]
            if not keys:
                axes.set_visible(False)
                continue
            ends = {}
            for key in keys:
                places = np.arange(len(smooth[key])) + 1 + width // 2
                axes.plot(places, smooth[key], color=ink[key.new_base], lw=1.5)
                ends[base_text(key.new_base)] = min(float(smooth[key][-1]), high)
                wall = limits(setting_of(found[key]))["discrete"]
                if large and wall is not None:
                    axes.axvline(wall, color=ink[key.new_base], lw=1, ls=":")
            token_axis(axes, max(8, length // 4), measured[0].cell.curves.length, setting.train_length)
            axes.set_ylim(low - 0.06 * (high - low), high + 0.04 * (high - low))
            label_ends(axes, ends, {base_text(base): colour for base, colour in ink.items()})
            side = "Large bases; dotted: the wall that the law predicts" if large else "Small bases"
            axes.set_title(f"{side} · tuned at {length:,} tokens", loc="left")
        row[0].set_ylabel("NLL (nats a token)")
    for axes in grid[-1]:
        axes.set_xlabel("position (tokens)")
    figure.tight_layout(w_pad=4)
    save(figure, path)


def smoothed(curve: FloatArray, width: int) -> FloatArray:
    """The mean of each ``width`` neighbours; entry i is about position i + 1 + width // 2."""
    return np.convolve(curve, np.full(width, 1 / width), "valid")


def main_groups(measured: Sequence[Measured]) -> dict[Key, Group]:
    """Groups without log-scaled attention and with the commonest number of steps."""
    plain = {key: group for key, group in groups(measured).items() if not key.log_scaling}
    _, steps = usual(plain)
    return {key: group for key, group in plain.items() if key.steps == steps}


def draw_limits(sweep: Sweep, path: str | Path) -> None:
    """Measured limit against base with all predictors, a panel a tuning length.

    A large dot a base by the first rule, with its interval; small dots by the others, in their order from left to
    right; a thin bar from the last length copied to the first that is not.
    """
    setting, length = sweep.setting, sweep.measured[0].cell.curves.length
    lengths = sorted({row.key.tune_length for row in sweep.bases})
    figure = Figure(figsize=(7.4 * len(lengths), 5.6))
    every = [row.key.new_base for row in sweep.bases]
    low, high = min(every) / 2.2, max(every) * 3
    _, steps = usual(row.key for row in sweep.bases)
    main, *others = sweep.options.rules
    for axes, tuned in zip(figure.subplots(1, len(lengths), squeeze=False)[0], lengths, strict=True):
        own = Setting(setting.rotary_dim, setting.base, setting.train_length, tuned, setting.base)
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
        for row in sweep.bases:
            if row.key.tune_length == tuned and not row.key.log_scaling:
                _draw_limit(axes, row.key.new_base, row.limits[main], length, other=row.key.steps != steps)
                for i, rule in enumerate(others, 1):
                    value = min(row.limits[rule].value, length)
                    axes.plot([row.key.new_base * 1.07**i], [value], ".", ms=4, color=SECOND, alpha=0.6)
        bottom = axes.get_ylim()[0] * 1.1
        for copied in sweep.retrieval.to_dict("records"):
            if copied["tune_length"] == tuned and not copied["log_scaling"] and copied["steps"] == steps:
                ends = [min(max(copied[end], bottom), length) for end in ("copied", "lost")]
                axes.plot([copied["new_base"] / 1.12] * 2, ends, "_-", ms=7, mew=1.3, lw=1.3, color=INK, zorder=5)
        axes.set_title(f"Tuned at {tuned:,} tokens", loc="left")
    figure.suptitle(
        f"Measured limits and what each law predicts. Orange: by the rule of {main}, with its interval; small dots by "
        f"the others ({', '.join(others)}),\narrows where a run never broke, diamonds another number of steps. Black "
        "bars: lengths of text between which copying ends (accuracy below one half).",
        x=0.01,
        ha="left",
        fontsize=9.5,
    )
    figure.tight_layout(w_pad=3)
    save(figure, path)


def _draw_limit(axes: Axes, base: float, limit: Estimate, length: int, *, other: bool) -> None:
    # Tuned for another number of steps it stands beside, or the two would hide each other.
    base, mark = (base * 1.25, "D") if other else (base, "o")
    if math.isinf(limit.value):
        axes.plot([base], [length], mark, ms=6, mfc="white", mec=SECOND, mew=1.6)
        arrow = {"arrowstyle": "->", "color": SECOND, "lw": 1.6}
        axes.annotate("", (base, length * 1.5), (base, length * 1.03), arrowprops=arrow)
        return
    if math.isfinite(limit.low):
        axes.plot([base, base], [limit.low, min(limit.high, length)], color=SECOND, lw=1.6, zorder=4)
    axes.plot([base], [limit.value], mark, ms=6, color=SECOND, zorder=5)


def draw_pairs(cause: Cause, path: str | Path) -> None:
    """Left: what reading on costs untuned models where all pairs from one on are divided; right: a group at a time."""
    figure = Figure(figsize=(13, 4.2))
    left, right = figure.subplots(1, 2)
    whole = [one for one in cause.pairs if one.what == "from"]
    for one in whole:
        left.errorbar([one.start], [one.cost.value], _ends(one.cost), fmt="o", ms=5, color=ACCENT, lw=1.3)
    left.plot([one.start for one in whole], [one.cost.value for one in whole], color=ACCENT, lw=1)
    left.set_title(f"All pairs from this one on divided by {cause.divisor:g}; at the right none", loc="left")
    left.set_ylabel("cost beyond the training length (nats a token)")
    for one in cause.pairs:
        if one.what == "toggled":
            colour = SECOND if one.start >= cause.critical else GREY
            middle, width = (one.start + one.stop - 1) / 2, one.stop - one.start
            right.bar([middle], [one.cost.value], 0.9 * width, color=colour)
            right.errorbar([middle], [one.cost.value], _ends(one.cost), fmt="none", color=INK, lw=1)
    right.axhline(0, color=INK, lw=0.7)
    right.set_title("Pairs from the critical one on divided, but for these (orange); these besides (grey)", loc="left")
    right.set_ylabel("what that costs (nats a token)")
    for axes in (left, right):
        axes.axvline(cause.critical - 0.5, color=INK, lw=0.9, ls=(0, (4, 3)))
        axes.set_xlabel("pair, fastest first; dashed: the first that pre-training did not turn fully")
    figure.tight_layout(w_pad=3)
    save(figure, path)


def _ends(found: Estimate) -> list[list[float]] | None:
    """Error bars."""
    if not math.isfinite(found.low):
        return None
    return [[found.value - found.low], [found.high - found.value]]


def draw_degradation(measured: Sequence[Measured], path: str | Path) -> None:
    """What reading everything costs against the last tokens, by base and position, with the predicted limits.

    Args:
        measured: cells of one sweep; means over models and seeds.
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
                    for one in group.values()
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
        wall = limits(setting_of(group))["discrete"]
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

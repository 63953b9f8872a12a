"""Figures, made to be read: direct labels, few inks, the training length marked in each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ropewalk.options import CONFIDENCE
from ropewalk.report.style import ACCENT, GREY, INK, SECOND, inks, save, spread
from ropewalk.rope import Rope


def first_token(training: int, last: int) -> int:
    """Where an axis of tokens starts: six doublings before the training length, the beginning being noise."""
    return min(max(16, training // 64), last // 2)


def token_axis(axes: Axes, first: int, last: int, training: int, most: int = 9) -> None:
    """A logarithmic axis of tokens with at most ``most`` ticks, at powers of two, and the training length marked."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(first, last)
    ticks = [2**k for k in range(math.ceil(math.log2(first)), math.floor(math.log2(last)) + 1)]
    axes.xaxis.set_major_locator(FixedLocator(ticks[:: max(1, math.ceil(len(ticks) / most))]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}" if x < 8192 else f"{x / 1024:.0f}k"))
    axes.axvline(training, color=INK, lw=0.8, ls=(0, (4, 3)), zorder=0)


def draw_position_curves(
    curves: Mapping[str, pd.DataFrame], training: int, reference: str, path: str | Path, confidence: float = CONFIDENCE
) -> None:
    """NLL against position: a panel a rope, with the first rope and the reference behind each.

    Args:
        curves: ``position_curve`` by rope; the first is the baseline drawn grey in each panel.
        training: training length in tokens.
        reference: rope drawn thin in each panel.
        path: image file to write.
        confidence: of the intervals, for the caption.
    """
    names = list(curves)
    baseline = names[0]
    columns = min(4, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(2.75 * columns, 2.15 * rows + 0.5))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    every = pd.concat(list(curves.values()))
    low, high = every["nll"].min(), every["nll"].quantile(0.98)
    last = int(every["stop"].max())
    for axes, name in zip(grid.flat, names, strict=False):
        for other, style in ((baseline, {"color": GREY, "lw": 1.6}), (reference, {"color": INK, "lw": 0.9})):
            if other != name:
                axes.plot(curve_middles(curves[other]), curves[other]["nll"], **style)
        curve = curves[name]
        axes.fill_between(curve_middles(curve), curve["low"], curve["high"], color=ACCENT, alpha=0.22, lw=0)
        axes.plot(curve_middles(curve), curve["nll"], color=ACCENT, lw=1.8)
        axes.set_title(name, loc="left", color=ACCENT)
        token_axis(axes, first_token(training, last), last, training, most=5)
        axes.set_ylim(low - 0.06 * (high - low), high + 0.05 * (high - low))
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    for column in range(columns):
        shown = [axes for axes in grid[:, column] if axes.get_visible()]
        shown[-1].tick_params(labelbottom=True)
        shown[-1].set_xlabel("position (tokens)")
    for axes in grid[:, 0]:
        axes.set_ylabel("NLL (nats)")
    grid[0, 0].annotate("trained\nlength", (training, high), fontsize=7.5, xytext=(3, -14), textcoords="offset points")
    figure.suptitle(
        f"NLL against position. Blue: the rope named, with its {100 * confidence:g} % interval over documents. "
        f"Grey: {baseline}. Black: {reference}.",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    figure.tight_layout()
    save(figure, path)


def draw_position_overview(curves: Mapping[str, pd.DataFrame], training: int, path: str | Path) -> None:
    """NLL against position, all ropes in one picture, each labelled where it ends."""
    figure = Figure(figsize=(9.5, 5.6))
    axes = figure.subplots()
    every = pd.concat(list(curves.values()))
    low, high = every["nll"].min(), every["nll"].quantile(0.985)
    ends = {name: float(curve["nll"].iloc[-1]) for name, curve in curves.items()}
    order = sorted(curves, key=ends.__getitem__)
    colours = inks(len(order))
    last = int(every["stop"].max())
    heights = spread(np.minimum([ends[name] for name in order], high).tolist(), 0.036 * (high - low))
    for name, colour, height in zip(order, colours, heights, strict=True):
        curve = curves[name]
        # Intervals over documents would cover all lines: documents differ by more than ropes do, and in the same way.
        axes.plot(curve_middles(curve), curve["nll"], color=colour, lw=1.6)
        axes.annotate(
            f"{name}  {ends[name]:.2f}",
            (curve_middles(curve)[-1], min(ends[name], high)),
            xytext=(last * 1.06, height),
            color=colour,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 2},
        )
    token_axis(axes, first_token(training, last), last, training)
    axes.set_ylim(low - 0.05 * (high - low), max(high, heights[-1]) + 0.03 * (high - low))
    axes.annotate("training length ", (training, axes.get_ylim()[1]), ha="right", va="top", fontsize=8.5)
    axes.set(xlabel="position (tokens)", ylabel="NLL (nats a token)")
    axes.set_title("NLL against position; at the right, its value at the last positions", loc="left")
    save(figure, path)


def curve_middles(curve: pd.DataFrame) -> np.ndarray:
    return np.sqrt(curve["start"].to_numpy() * (curve["stop"].to_numpy() - 1.0).clip(min=1))


def draw_ropes(ropes: Mapping[str, Rope], path: str | Path) -> None:
    """Periods and factors of every pair against the original rope.

    Left: tokens a turn, on a logarithmic axis, with the training length across. Right: how much slower each pair turns
    than originally.
    """
    figure = Figure(figsize=(11.5, 5.0))
    left, right = figure.subplots(1, 2)
    first = next(iter(ropes.values()))
    pairs = np.arange(first.rotary_dim // 2)
    left.plot(pairs, 2 * np.pi / first.original_inv_freq, color=INK, lw=3, alpha=0.25, label="original")
    right.axhline(1, color=INK, lw=3, alpha=0.25)
    colours = inks(len(ropes))
    styles = ["-", "--", "-.", ":"]
    for i, (name, rope) in enumerate(ropes.items()):
        style = {"color": colours[i], "ls": styles[i % len(styles)], "lw": 1.5, "label": name}
        turning = rope.inv_freq > 0
        left.plot(pairs[turning], rope.wavelengths[turning], **style)
        right.plot(pairs[turning], rope.factors[turning], **style)
    left.axhline(first.original_length, color=INK, lw=0.8, ls=(0, (4, 3)))
    left.annotate(
        "training length",
        (pairs[-1], first.original_length),
        xytext=(0, -10),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    left.set(yscale="log", xlabel="pair, fastest first", ylabel="period (tokens a turn)")
    left.set_title("Periods", loc="left")
    right.set_yscale("log", base=2)
    right.set(xlabel="pair, fastest first", ylabel="factor (original over new inverse frequency)")
    right.set_title("Factors", loc="left")
    right.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    right.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: ""))
    right.legend(bbox_to_anchor=(1.02, 1), loc="upper left", fontsize=8.5)
    figure.tight_layout()
    save(figure, path)


def _heatmap(
    table: pd.DataFrame, inside: int, path: str | Path, *, title: str, label: str, text: str, log: bool, columns: str
) -> None:
    """Draw a table as colours and numbers; the first ``inside`` columns lie within the training length."""
    figure = Figure(figsize=(1.6 + 0.72 * table.shape[1] + 2.2, 0.9 + 0.33 * table.shape[0]))
    axes = figure.subplots()
    values = table.to_numpy(dtype=float)
    shown = np.log(values) if log else values
    limits = (np.nanmin(shown), np.nanquantile(shown, 0.97)) if log else (0.0, 1.0)
    image = axes.imshow(shown, aspect="auto", cmap="YlOrRd" if log else "YlGnBu", vmin=limits[0], vmax=limits[1])
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            strength = (shown[row, column] - limits[0]) / max(1e-9, limits[1] - limits[0])
            ink = "white" if strength > 0.6 else INK
            number = values[row, column]
            written = f"{number:,.0f}" if number >= 100 else "—" if np.isnan(number) else format(number, text)
            axes.text(column, row, written, ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(table.shape[1]), [f"{c:,}" for c in table.columns])
    axes.set_yticks(range(table.shape[0]), list(table.index))
    if 0 < inside < table.shape[1]:
        axes.axvline(inside - 0.5, color=INK, lw=1.4)
        axes.annotate("trained ", (inside - 0.5, -0.62), ha="right", fontsize=8, annotation_clip=False)
        axes.annotate(" extended", (inside - 0.5, -0.62), ha="left", fontsize=8, annotation_clip=False)
    axes.set_xlabel(columns)
    axes.set_title(title, loc="left", pad=18)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label(label)
    if log:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{math.exp(y):.3g}"))
    save(figure, path)


def draw_perplexity_heatmap(table: pd.DataFrame, training: int, path: str | Path) -> None:
    """Perplexity by rope and length; ``table`` has ropes as rows and lengths (tokens) as columns."""
    _heatmap(
        table,
        int((table.columns.to_numpy(dtype=int) <= training).sum()),
        path,
        title="Perplexity of the first tokens",
        label="perplexity",
        text=".2f",
        log=True,
        columns="length (tokens)",
    )


def draw_copying_heatmap(table: pd.DataFrame, training: int, path: str | Path) -> None:
    """Copy accuracy by rope and gap; ``table`` has ropes as rows and gaps (tokens) as columns."""
    _heatmap(
        table,
        int((2 * table.columns.to_numpy(dtype=int) <= training).sum()),
        path,
        title="Copy accuracy by distance (chance is 0.10)",
        label="accuracy",
        text=".2f",
        log=False,
        columns="distance to the copied token (tokens); the model reads twice as many",
    )


def draw_training(metrics: pd.DataFrame, path: str | Path) -> None:
    """Training loss and learning rate by step."""
    figure = Figure(figsize=(7.5, 3.8))
    axes = figure.subplots()
    axes.plot(metrics["step"], metrics["loss"], color=GREY, lw=0.7)
    window = max(1, len(metrics) // 50)
    smooth = metrics["loss"].rolling(window, center=True, min_periods=1).mean()
    axes.plot(metrics["step"], smooth, color=ACCENT, lw=1.8)
    axes.set(xlabel="step", ylabel="loss (nats a token)")
    axes.set_title(f"Pre-training on text and periodic strings: last loss {metrics['loss'].iloc[-1]:.3f}", loc="left")
    rate = axes.twinx()
    rate.plot(metrics["step"], metrics["learning_rate"], color=SECOND, lw=1)
    rate.set_ylabel("learning rate", color=SECOND)
    rate.set_ylim(bottom=0)
    rate.spines["right"].set_visible(True)
    save(figure, path)

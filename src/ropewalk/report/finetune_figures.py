"""Figures of fine-tuning: the NLL by position before and after, and the difference between ropes by length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ropewalk.reading.perplexity import ALL
from ropewalk.report.figures import curve_middles, first_token, token_axis
from ropewalk.report.style import INK, inks, save


def draw_before_after(
    curves: Mapping[tuple[str, str], pd.DataFrame], training: int, path: str | Path, confidence: float
) -> None:
    """NLL against position, mean over seeds and models: a panel a regime, untuned ropes dashed in each.

    Args:
        curves: ``position_curve`` by regime (empty for the model as it was) and rope.
        training: training length in tokens.
        path: image file to write.
        confidence: of the intervals, for the caption.
    """
    regimes = list(dict.fromkeys(regime for regime, _ in curves if regime))
    ropes = list(dict.fromkeys(rope for _, rope in curves))
    colours = dict(zip(ropes, inks(len(ropes)), strict=True))
    every = pd.concat([curve for (regime, _), curve in curves.items() if regime])
    before = pd.concat([curve for (regime, _), curve in curves.items() if not regime])
    low, high = every["nll"].min(), max(every["nll"].max(), before["nll"].quantile(0.95))
    last = int(every["stop"].max())
    figure = Figure(figsize=(4.6 * len(regimes) + 1.8, 4.3))
    grid = figure.subplots(1, len(regimes), sharey=True, squeeze=False)[0]
    for axes, regime in zip(grid, regimes, strict=True):
        token_axis(axes, first_token(training, last), last, training, most=6)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))
        for (own, rope), curve in curves.items():
            if own not in ("", regime):
                continue
            colour = colours[rope]
            style: dict[str, Any] = {"lw": 1.8} if own else {"lw": 1.1, "ls": (0, (3, 2))}
            name = f"{rope} tuned" if own else rope
            axes.plot(curve_middles(curve), curve["nll"], color=colour, label=name, **style)
            if own:
                axes.fill_between(curve_middles(curve), curve["low"], curve["high"], color=colour, alpha=0.15, lw=0)
        axes.set_title(regime, loc="left")
        axes.set_xlabel("position (tokens)")
    grid[0].set_ylabel("NLL (nats a token)")
    grid[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle(
        f"Before (dashed) and after fine-tuning, with the {100 * confidence:g} % interval over documents",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    figure.tight_layout()
    save(figure, path)


def draw_differences(table: pd.DataFrame, reference: str, path: str | Path, confidence: float) -> None:
    """Difference of each tuned rope from the reference tuned alike, by length: a panel a regime.

    Args:
        table: of :func:`ropewalk.report.finetune.compare`.
        reference: the rope that others are compared with.
        path: image file to write.
        confidence: of the intervals, for the caption.
    """
    tuned = table[(table["corpus"] == ALL) & (table["regime"] != "")]
    regimes = list(tuned["regime"].unique())
    others = [rope for rope in tuned["rope"].unique() if rope != reference]
    colours = dict(zip(others, inks(len(others)), strict=True))
    lengths = sorted(tuned["length"].unique())
    figure = Figure(figsize=(4.6 * len(regimes) + 0.8, 3.6))
    grid = figure.subplots(1, len(regimes), sharey=True, squeeze=False)[0]
    for axes, regime in zip(grid, regimes, strict=True):
        axes.axhline(0, color=INK, lw=0.8)
        for k, rope in enumerate(others):
            rows = tuned[(tuned["regime"] == regime) & (tuned["rope"] == rope)].sort_values("length")
            x = [lengths.index(length) + 0.16 * (k - (len(others) - 1) / 2) for length in rows["length"]]
            axes.vlines(x, rows["difference_low"], rows["difference_high"], color=colours[rope], lw=1.4)
            axes.plot(x, rows["difference"], "o", color=colours[rope], ms=5, label=rope)
        axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
        axes.set(title=regime, xlabel="length (tokens)")
    grid[0].set_ylabel(f"nats a token against {reference}")
    grid[-1].legend(loc="best")
    figure.suptitle(
        f"Below zero is better than {reference}; {100 * confidence:g} % interval over {tuned['over'].iloc[0]}",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    figure.tight_layout()
    save(figure, path)

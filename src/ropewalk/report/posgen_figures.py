"""Figures of PosGen: a panel a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ropewalk.report.style import ACCENT, GREY, INK, inks, label_ends, save

SMOOTHED = 8
"""Positions over which accuracy is averaged for the eye; even, since semi-recursive tokens alternate."""


def draw_ropes(
    seeds: Mapping[str, pd.DataFrame],
    counted: Mapping[str, pd.DataFrame],
    means: Mapping[str, pd.DataFrame],
    titles: Mapping[str, str],
    swapped: Sequence[str],
    chance: float,
    path: Path,
) -> None:
    """Accuracy of every rope: a dot a seed, filled where models were trained with the rope, and a line at the mean.

    Args:
        seeds: accuracy by task; rows are seeds, columns ropes.
        counted: which of these models have learned the task, in the same shape.
        means: rows of ``accuracy_table`` by task, with ``rope``, ``mean`` and ``better``.
        titles: of the tasks.
        swapped: ropes that were put in at evaluation.
        chance: accuracy of a guess.
        path: image file to write.
    """
    names = list(next(iter(seeds.values())).columns)
    figure = Figure(figsize=(3.3 * len(seeds) + 1.6, 0.26 * len(names) + 1.2))
    panels = figure.subplots(1, len(seeds), sharey=True, squeeze=False)[0]
    for axes, (task, table) in zip(panels, seeds.items(), strict=True):
        verdicts = dict(zip(means[task]["rope"], means[task]["better"], strict=True))
        middle = dict(zip(means[task]["rope"], means[task]["mean"], strict=True))
        for height, name in enumerate(names):
            colour = {"yes": ACCENT, "no": "#c0392b"}.get(str(verdicts.get(name)), INK)
            values, able = 100 * table[name].to_numpy(), counted[task][name].to_numpy()
            axes.scatter(values[~able], np.full((~able).sum(), height), s=14, marker="x", color=GREY, lw=0.9)
            face = "none" if name in swapped else colour
            axes.scatter(values[able], np.full(able.sum(), height), s=16, facecolors=face, edgecolors=colour, lw=0.9)
            axes.plot([100 * middle[name]] * 2, [height - 0.36, height + 0.36], color=colour, lw=2)
        axes.axvline(100 * chance, color=INK, lw=0.8, ls=":")
        axes.set(xlim=(0, 100), xlabel="accuracy beyond training (%)", ylim=(len(names) - 0.4, -0.6))
        axes.set_title(titles[task], loc="left")
        axes.grid(axis="y", color=GREY, lw=0.3, alpha=0.6)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), names)
    figure.suptitle(
        "Dots are seeds, lines their means; filled: trained with the rope, open: swapped in at evaluation; grey\n"
        "crosses have not learned the task and do not count. Blue is better and red is worse than its partner,\n"
        "corrected for all comparisons (table); black is undecided. Dotted: chance.",
        x=0.01,
        ha="left",
        fontsize=9,
    )
    figure.tight_layout()
    save(figure, path)


def draw_positions(
    accuracy: Mapping[str, pd.DataFrame], titles: Mapping[str, str], training: int, chance: float, path: Path
) -> None:
    """Accuracy by position, trained positions shaded.

    Args:
        accuracy: means over seeds by task; rows are positions, columns ropes.
        titles: of the tasks.
        training: training length in tokens.
        chance: accuracy of a guess.
        path: image file to write.
    """
    figure, panels, colours = _panels(accuracy, list(next(iter(accuracy.values())).columns))
    for axes, (task, table) in zip(panels, accuracy.items(), strict=True):
        smooth = 100 * table.rolling(SMOOTHED, center=True, min_periods=1).mean()
        axes.axvspan(0, training, color=GREY, alpha=0.25, lw=0)
        axes.axhline(100 * chance, color=INK, lw=0.8, ls=":")
        for name, colour in colours.items():
            axes.plot(smooth.index, smooth[name], color=colour, lw=1.5)
        axes.set(ylim=(0, 101), xlim=(0, table.index.max() + 1), xlabel="position (tokens)")
        axes.set_title(titles[task], loc="left")
        label_ends(axes, {str(name): value for name, value in smooth.ffill().iloc[-1].items()}, colours)
    panels[0].set_ylabel("accuracy (%)")
    panels[0].annotate("trained", (training / 2, 3), ha="center", fontsize=8)
    figure.tight_layout()
    save(figure, path)


def draw_validation(
    curves: Mapping[str, pd.DataFrame], titles: Mapping[str, str], names: Sequence[str], path: Path
) -> None:
    """Validation loss by step: the mean over the seeds that count, and a band from the lowest to the highest.

    Args:
        curves: by task, with ``step``, ``rope``, ``seed`` and ``loss`` (nats a token).
        titles: of the tasks.
        names: ropes to draw, in order.
        path: image file to write.
    """
    figure, panels, colours = _panels(curves, names)
    for axes, (task, rows) in zip(panels, curves.items(), strict=True):
        ends = {}
        for name, colour in colours.items():
            by_step = rows[rows["rope"] == name].groupby("step")["loss"]
            mean = by_step.mean()
            axes.fill_between(mean.index, by_step.min(), by_step.max(), color=colour, alpha=0.08, lw=0)
            axes.plot(mean.index, mean, color=colour, lw=1.5)
            ends[name] = mean.iloc[-1]
        axes.set(xlabel="step", xlim=(0, rows["step"].max()))
        axes.set_title(titles[task], loc="left")
        label_ends(axes, ends, colours)
    panels[0].set_ylabel("validation loss (nats a token)")
    figure.tight_layout()
    save(figure, path)


def _panels(tasks: Mapping[str, object], names: Sequence[str]) -> tuple[Figure, Sequence[Axes], dict[str, np.ndarray]]:
    figure = Figure(figsize=(4.6 * len(tasks), 3.6))
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    return figure, panels, dict(zip(names, inks(len(names)), strict=True))

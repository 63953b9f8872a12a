"""One look for all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ropewalk.files import whole_file

mpl.use("Agg")
mpl.rcParams.update(
    {
        "figure.dpi": 110,
        "savefig.dpi": 150,
        "font.size": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "legend.frameon": False,
    }
)
GREY, INK, ACCENT, SECOND = "#b8b8b8", "#333333", "#0b6fb8", "#d1691e"


def save(figure: Figure, path: str | Path) -> None:
    with whole_file(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight", facecolor="white")


def inks(count: int) -> np.ndarray:
    """Colours that can be told apart on white, in an order; yellow is darkened."""
    inks = mpl.colormaps["turbo"](np.linspace(0.05, 0.95, max(2, count)))
    inks[:, :3] *= np.minimum(1.0, 0.62 / (inks[:, :3] @ [0.299, 0.587, 0.114]))[:, None]
    return inks[:count]


def spread(values: list[float], gap: float) -> list[float]:
    """Ascending heights moved apart to at least ``gap``, staying near their values."""
    placed: list[float] = []
    for value in values:
        placed.append(max(value, placed[-1] + gap) if placed else value)
    overshoot = max(0.0, placed[-1] - max(values[-1], values[0] + gap * (len(values) - 1)))
    for i in range(len(placed) - 1, -1, -1):
        ceiling = placed[i + 1] - gap if i + 1 < len(placed) else placed[i] - overshoot
        placed[i] = min(placed[i], ceiling)
    return placed


def label_ends(axes: Axes, ends: Mapping[str, float], colours: Mapping[str, np.ndarray]) -> None:
    """Name each line at the right edge, in its colour, at the height where it ends, moved apart where they overlap."""
    low, high = axes.get_ylim()
    names = sorted(ends, key=lambda name: ends[name])
    heights = spread([float(ends[name]) for name in names], 0.055 * (high - low))
    right = axes.get_xlim()[1]
    for name, height in zip(names, heights, strict=True):
        axes.annotate(
            name,
            (right, height),
            xytext=(4, 0),
            textcoords="offset points",
            color=colours[name],
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )


@dataclass(frozen=True)
class Label:
    """A name for a point of a figure, in data coordinates, in its own colour."""

    name: str
    x: float
    y: float
    colour: Any


def label_points(axes: Axes, labels: Sequence[Label]) -> None:
    """Name points in a column at the right edge, each joined to its point by a thin line; the limits must be final."""
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = [(float(to_axes.transform((label.x, label.y))[1]), label) for label in labels]
    placed.sort(key=lambda pair: pair[0])
    gap = 0.048
    wanted = [min(height, 1 - gap * (len(placed) - 1 - rank)) for rank, (height, _) in enumerate(placed)]
    for height, (_, label) in zip(spread(wanted, gap), placed, strict=True):
        axes.annotate(
            label.name,
            (label.x, label.y),
            xytext=(1.06, height),
            textcoords="axes fraction",
            color=label.colour,
            fontsize=8.5,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": label.colour, "lw": 0.4, "alpha": 0.6, "shrinkA": 1, "shrinkB": 2},
        )

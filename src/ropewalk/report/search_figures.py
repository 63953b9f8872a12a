"""Figures of searches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ropewalk.intervals import student
from ropewalk.report.style import GREY, INK, Label, inks, label_ends, label_points, save
from ropewalk.rope import diagnostics
from ropewalk.search.results import ORIGINAL, Comparison, FoundRope, convergence

DRAWN = {"ntk": "-", "yarn": "--", "mrrope-pro": ":", "llama3": "-."}
"""Hand-made ropes behind the found ones in the figure of factors, and their strokes."""

FEWEST_SHADED = 3


def colours(searches: list[FoundRope]) -> dict[str, np.ndarray]:
    """An ink for each method."""
    methods = list(dict.fromkeys(search.contestant.method for search in searches))
    return dict(zip(methods, inks(len(methods)), strict=True))


def draw_convergence(comparison: Comparison, path: str | Path) -> None:
    """Best so far against trials and against seconds: a row a factor; thin lines are seeds, thick ones their mean.

    From three seeds on, Student's 95 % interval of the mean is shaded; that of two would fill the panel.
    """
    table, ink = convergence(comparison.searches), colours(comparison.searches)
    figure = Figure(figsize=(12, 3.6 * len(comparison.factors)))
    grid = figure.subplots(len(comparison.factors), 2, squeeze=False)
    for row, factor in zip(grid, comparison.factors, strict=True):
        part = table[table["factor"] == factor]
        known = part["best"].dropna()
        # What is far above the end tells nothing; the first ropes are the hand-made ones.
        top = min(float(known.max()), float(known.min()) + 3 * max(0.05, float(known.median() - known.min())))
        for axes, over in zip(row, ("trials", "seconds"), strict=True):
            ends: dict[str, float] = {}
            for method, group in part.groupby("method", sort=False):
                for _, one in group.groupby("seed"):
                    axes.step(one[over], one["best"], where="post", color=ink[str(method)], lw=0.7, alpha=0.5)
                last = group.groupby("seed")[over].max().min()
                grid_points = np.linspace(1 if over == "trials" else 0, last, 200)
                curves = np.array([_at(one, over, grid_points) for _, one in group.groupby("seed")])
                mean = curves.mean(axis=0)
                axes.step(grid_points, mean, where="post", color=ink[str(method)], lw=1.9)
                if len(curves) >= FEWEST_SHADED:
                    bands = [student(values) for values in curves.T]
                    low, high = ([getattr(band, side) for band in bands] for side in ("low", "high"))
                    axes.fill_between(grid_points, low, high, step="post", color=ink[str(method)], alpha=0.15, lw=0)
                ends[str(method)] = min(float(mean[-1]), top)
            axes.axhline(0, color=INK, lw=0.8, ls=(0, (4, 3)), zorder=0)
            axes.set_ylim(float(known.min()) - 0.05 * (top - float(known.min())), top)
            axes.set_xlim(left=0)
            axes.set_xlabel("finished trials" if over == "trials" else "seconds of proposing and measuring")
            label_ends(axes, ends, ink)
        row[0].set_title(f"{factor:g} times the training length", loc="left")
        row[0].set_ylabel("best so far (nats against YaRN)")
    figure.tight_layout(w_pad=5, h_pad=2)
    save(figure, path)


def _at(trials: pd.DataFrame, over: str, places: np.ndarray) -> np.ndarray:
    """Best so far at given numbers of trials or seconds."""
    index = np.searchsorted(trials[over].to_numpy(), places, side="right") - 1
    best = trials["best"].to_numpy()
    return np.where(index >= 0, best[np.maximum(index, 0)], np.nan)


def draw_optimum(comparison: Comparison, path: str | Path) -> None:
    """What each pair's frequency is divided by: found ropes over hand-made ones, a panel a factor."""
    ink = colours(comparison.searches)
    figure = Figure(figsize=(6.8 * len(comparison.factors), 4.4))
    panels = figure.subplots(1, len(comparison.factors), squeeze=False)[0]
    for axes, factor in zip(panels, comparison.factors, strict=True):
        made = comparison.methods(factor, found=False)
        for method, style in DRAWN.items():
            for one in made.get(method, []):
                axes.plot(one.rope.factors, color="#8a8a8a", lw=1.1, ls=style, zorder=1, label=method)
        ends = {}
        for method, group in comparison.methods(factor, found=True).items():
            for one in group:
                axes.plot(np.arange(one.rope.pairs), one.rope.factors, color=ink[method], lw=1.6, alpha=0.85)
            last = group[0].rope.pairs - 1
            ends[method] = Label(method, last, float(np.mean([one.rope.factors[-1] for one in group])), ink[method])
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        turns = comparison.contestants[ORIGINAL].rope.turns
        axes.axvline(float(np.interp(0, -np.log(turns), np.arange(len(turns)))), color=INK, lw=0.8, ls=(0, (4, 3)))
        axes.set_xlim(0, len(turns) - 1)
        axes.set_title(f"{factor:g} times the training length", loc="left")
        axes.set_xlabel("pair, from fast to slow (dashed: one turn in the training length)")
        label_points(axes, list(ends.values()))
    panels[0].set_ylabel("frequency divided by")
    panels[0].legend(loc="upper left", fontsize=8, bbox_to_anchor=(0, 0.9))
    figure.tight_layout(w_pad=6)
    save(figure, path)


def draw_plane(comparison: Comparison, path: str | Path) -> None:
    """The plane of the two causes, a panel a factor: angles never seen against neighbours too close."""
    ink = colours(comparison.searches)
    figure = Figure(figsize=(6.8 * len(comparison.factors), 4.8))
    panels = figure.subplots(1, len(comparison.factors), squeeze=False)[0]
    for axes, factor in zip(panels, comparison.factors, strict=True):
        length = round(factor * comparison.about["train_length"])
        labels: dict[str, Label] = {}
        for one in comparison.contestants.values():
            if one.factor not in (None, factor):
                continue
            rope = one.rope.at(length)
            x, y, colour = diagnostics.g_w1(rope, length), diagnostics.r_ker(rope), ink.get(one.method, INK)
            axes.scatter(x, y, color=colour, s=42 if one.found else 16, zorder=3 if one.found else 2)
            labels.setdefault(one.method, Label(one.method, x, y, colour if one.found else "#555555"))
        axes.set_ylim(bottom=-0.004)
        axes.set_xlim(left=0)
        axes.set_title(f"{factor:g} times the training length", loc="left")
        axes.set_xlabel("mismatch of angles (radians, mean over pairs)")
        label_points(axes, list(labels.values()))
    panels[0].set_ylabel("distortion of the local kernel")
    figure.tight_layout(w_pad=5)
    save(figure, path)


def draw_price(standings: Mapping[float, pd.DataFrame], ink: Mapping[str, np.ndarray], path: str | Path) -> None:
    """What a rope gains at the target length against what it costs on short texts, a panel a factor."""
    figure = Figure(figsize=(6.8 * len(standings), 4.8))
    panels = figure.subplots(1, len(standings), squeeze=False)[0]
    for axes, (factor, table) in zip(panels, standings.items(), strict=True):
        labels = []
        for row in table.to_dict("records"):
            colour, cost, value = ink.get(row["method"], INK), max(row["short_cost"], 1e-3), row["objective"]
            below, above = max(0.0, value - row["objective_low"]), max(0.0, row["objective_high"] - value)
            size = 6 if row["found"] else 4
            axes.errorbar(cost, value, yerr=[[below], [above]], fmt="o", color=colour, ms=size, lw=0.8)
            labels.append(Label(row["method"], cost, value, colour if row["found"] else "#555555"))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.axhline(0, color=GREY, lw=0.8, zorder=0)
        axes.set_title(f"{factor:g} times the training length", loc="left")
        axes.set_xlabel("cost on short texts (nats a token; 0.001 or less at the left)")
        axes.set_ylim(axes.get_ylim())
        axes.set_xlim(axes.get_xlim())
        label_points(axes, labels)
    panels[0].set_ylabel("at the target length (nats against YaRN; lower is better)")
    figure.tight_layout(w_pad=5)
    save(figure, path)


def draw_importances(searches: list[FoundRope], path: str | Path) -> None:
    """Which parameters make a trial good, a panel a space that is few numbers."""
    shares: dict[str, dict[str, list[float]]] = {}
    for search in searches:
        if search.best["importances"] and len(search.best["values"]) <= 12:
            space = shares.setdefault(str(search.best["options"]["space"]), {})
            for name, share in search.best["importances"].items():
                space.setdefault(name, []).append(share)
    figure = Figure(figsize=(4.2 * max(1, len(shares)), 3.2))
    panels = figure.subplots(1, max(1, len(shares)), squeeze=False)[0]
    for axes, (title, found) in zip(panels, shares.items(), strict=False):
        names = sorted(found, key=lambda name: np.mean(found[name]))
        axes.barh(names, [float(np.mean(found[name])) for name in names], color=GREY)
        for height, name in enumerate(names):
            axes.plot(found[name], [height] * len(found[name]), "o", color=INK, ms=3)
        axes.set_title(f"space {title}", loc="left")
        axes.set_xlabel("importance (share; dots: searches)")
    figure.tight_layout()
    save(figure, path)

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
from ropewalk.search.comparison import BY_HAND, ORIGINAL, WITHIN, Comparison
from ropewalk.search.effort import convergence
from ropewalk.search.value import REFERENCE

DRAWN = {"ntk": "-", "yarn": "--", "mrrope-pro": ":", "llama3": "-."}
"""Hand-made ropes, as coded, behind the found ones in the figure of factors, and their strokes."""

FEWEST_SHADED = 3


def colours(comparison: Comparison) -> dict[str, np.ndarray]:
    """An ink for each kind of search."""
    methods = list(dict.fromkeys(kind[0] for kind in comparison.kinds(None, "found")))
    return dict(zip(methods, inks(len(methods)), strict=True))


def draw_convergence(comparison: Comparison, path: str | Path) -> None:
    """Best so far against trials, documents read and seconds, a row a factor: searches in thin lines, means in thick.

    From three searches on, Student's 95 % interval of the mean over searches is shaded; that of two would fill the
    panel.
    """
    table, ink = convergence(comparison), colours(comparison)
    words = {
        "trials": "finished trials",
        "documents": "documents read to their end",
        "seconds": "seconds of proposing and measuring",
    }
    figure = Figure(figsize=(17, 3.6 * len(comparison.factors)))
    grid = figure.subplots(len(comparison.factors), 3, squeeze=False)
    for row, factor in zip(grid, comparison.factors, strict=True):
        part = table[(table["factor"] == factor) & table["method"].isin(ink)]
        known = part["best"].dropna()
        # What is far above the end tells nothing; the first ropes are the hand-made ones.
        top = min(float(known.max()), float(known.min()) + 3 * max(0.05, float(known.median() - known.min())))
        for axes, over in zip(row, words, strict=True):
            ends: dict[str, float] = {}
            for method, group in part.groupby("method", sort=False):
                searches = [one for _, one in group.groupby(["model", "seed"])]
                for one in searches:
                    axes.step(one[over], one["best"], where="post", color=ink[str(method)], lw=0.5, alpha=0.35)
                last = min(float(one[over].max()) for one in searches)
                places = np.linspace(1 if over == "trials" else 0, last, 200)
                curves = np.array([_at(one, over, "best", places) for one in searches])
                mean = curves.mean(axis=0)
                axes.step(places, mean, where="post", color=ink[str(method)], lw=1.9)
                if len(curves) >= FEWEST_SHADED:
                    bands = [student(values) for values in curves.T]
                    low, high = ([getattr(band, side) for band in bands] for side in ("low", "high"))
                    axes.fill_between(places, low, high, step="post", color=ink[str(method)], alpha=0.15, lw=0)
                ends[str(method)] = min(float(mean[-1]), top)
            axes.axhline(0, color=INK, lw=0.8, ls=(0, (4, 3)), zorder=0)
            axes.set_ylim(float(known.min()) - 0.05 * (top - float(known.min())), top)
            axes.set_xlim(left=0)
            axes.set_xlabel(words[over])
            label_ends(axes, ends, ink)
        row[0].set_title(f"{factor:g} times the training length", loc="left")
        row[0].set_ylabel(f"best so far (nats against {REFERENCE})")
    figure.tight_layout(w_pad=5, h_pad=2)
    save(figure, path)


def draw_replacing(comparison: Comparison, confidence: float, path: str | Path) -> None:
    """How far the best so far is from the rope tuned by hand, by number of evaluations, a panel a factor.

    Thin lines are searches; the thick one is the mean over seeds and models, with Student's interval over models, or
    over seeds where there is one model. Zero is the tuned rope; the vertical line, how many evaluations tuning took.
    """
    table, ink = convergence(comparison), colours(comparison)
    figure = Figure(figsize=(6 * len(comparison.factors), 4))
    panels = figure.subplots(1, len(comparison.factors), squeeze=False)[0]
    for axes, factor in zip(panels, comparison.factors, strict=True):
        part = table[(table["factor"] == factor) & table["method"].isin(ink)]
        if part["from_tuned"].isna().all():
            axes.set_title(f"{factor:g} times the training length: nothing was tuned by hand", loc="left")
            continue
        ends: dict[str, float] = {}
        for method, group in part.groupby("method", sort=False):
            places = np.arange(1, int(group.groupby(["model", "seed"])["trials"].max().min()) + 1)
            means: list[np.ndarray] = []
            for _, model in group.groupby("model"):
                curves = [_at(one, "trials", "from_tuned", places) for _, one in model.groupby("seed")]
                for curve in curves:
                    axes.step(places, curve, where="post", color=ink[str(method)], lw=0.5, alpha=0.35)
                means += [np.mean(curves, axis=0)] if group["model"].nunique() > 1 else curves
            bands = [student(values, confidence=confidence) for values in np.array(means).T]
            axes.step(places, [band.mean for band in bands], where="post", color=ink[str(method)], lw=1.9)
            low, high = ([getattr(band, side) for band in bands] for side in ("low", "high"))
            axes.fill_between(places, low, high, step="post", color=ink[str(method)], alpha=0.15, lw=0)
            ends[str(method)] = float(bands[-1].mean)
        taken = [
            sum(
                len(s.trials) for s in model.searches if s.contestant.group == BY_HAND and s.contestant.factor == factor
            )
            for model in comparison.models
        ]
        axes.axvline(float(np.mean(taken)), color=GREY, lw=0.8, zorder=0)
        axes.axhspan(-WITHIN, WITHIN, color=GREY, alpha=0.4, lw=0, zorder=0)
        known = part["from_tuned"].dropna()
        axes.set_ylim(min(-0.1, 1.1 * float(known.min())), min(float(known.max()), 1.5))
        axes.set_xlim(left=1)
        axes.set_title(f"{factor:g} times the training length", loc="left")
        axes.set_xlabel("evaluations (vertical line: those of tuning by hand)")
        label_ends(axes, ends, ink)
    panels[0].set_ylabel("best so far less the rope tuned by hand (nats)")
    figure.tight_layout(w_pad=5)
    save(figure, path)


def _at(trials: pd.DataFrame, over: str, what: str, places: np.ndarray) -> np.ndarray:
    """What was best so far at given numbers of trials, documents or seconds."""
    index = np.searchsorted(trials[over].to_numpy(), places, side="right") - 1
    best = trials[what].to_numpy()
    return np.where(index >= 0, best[np.maximum(index, 0)], np.nan)


def draw_optimum(comparison: Comparison, path: str | Path) -> None:
    """What each pair's frequency is divided by: found and tuned ropes over hand-made ones, a panel a factor."""
    ink = colours(comparison)
    figure = Figure(figsize=(6.8 * len(comparison.factors), 4.4))
    panels = figure.subplots(1, len(comparison.factors), squeeze=False)[0]
    for axes, factor in zip(panels, comparison.factors, strict=True):
        for method, style in DRAWN.items():
            for one in comparison.first.kinds.get((method, factor), []):
                axes.plot(one.rope.factors, color="#8a8a8a", lw=1.1, ls=style, zorder=1, label=method)
        for model in comparison.models:
            if tuned := model.tuned(factor):
                label = BY_HAND if model is comparison.first else None
                axes.plot(tuned.contestant.rope.factors, color=INK, lw=1.3, zorder=2, label=label)
        ends = {}
        for kind in comparison.kinds(factor, "found"):
            group = [one for model in comparison.models for one in model.kinds[kind]]
            for one in group:
                axes.plot(np.arange(one.rope.pairs), one.rope.factors, color=ink[kind[0]], lw=1.2, alpha=0.6)
            last = group[0].rope.pairs - 1
            height = float(np.mean([one.rope.factors[-1] for one in group]))
            ends[kind[0]] = Label(kind[0], last, height, ink[kind[0]])
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        turns = comparison.first.contestants[ORIGINAL].rope.turns
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
    ink = colours(comparison)
    figure = Figure(figsize=(6.8 * len(comparison.factors), 4.8))
    panels = figure.subplots(1, len(comparison.factors), squeeze=False)[0]
    for axes, factor in zip(panels, comparison.factors, strict=True):
        length = round(factor * comparison.first.about["train_length"])
        labels: dict[str, Label] = {}
        for one in [one for model in comparison.models for one in model.contestants.values()]:
            # Ropes as coded are the same with every model.
            if one.factor not in (None, factor) or (one.search is None and one.method in labels):
                continue
            rope, found = one.rope.at(length), one.group == "found"
            x, y, colour = diagnostics.g_w1(rope, length), diagnostics.r_ker(rope), ink.get(one.method, INK)
            axes.scatter(x, y, color=colour, s=42 if found else 16, zorder=3 if found else 2)
            labels.setdefault(one.method, Label(one.method, x, y, colour if found else "#555555"))
        axes.set_ylim(bottom=-0.004)
        axes.set_xlim(left=0)
        axes.set_title(f"{factor:g} times the training length", loc="left")
        axes.set_xlabel("mismatch of angles (radians, mean over pairs)")
        label_points(axes, list(labels.values()))
    panels[0].set_ylabel("distortion of the local kernel")
    figure.tight_layout(w_pad=5)
    save(figure, path)


def draw_price(
    standings: Mapping[float, pd.DataFrame], ink: Mapping[str, np.ndarray], reference: str, path: str | Path
) -> None:
    """What a rope gains at the target length against what it costs on short texts, a panel a factor."""
    figure = Figure(figsize=(6.8 * len(standings), 4.8))
    panels = figure.subplots(1, len(standings), squeeze=False)[0]
    for axes, (factor, table) in zip(panels, standings.items(), strict=True):
        labels = []
        for row in table.to_dict("records"):
            colour, cost, value = ink.get(row["method"], INK), max(row["short_cost"], 1e-3), row["objective"]
            found = row["group"] == "found"
            # Without an interval there is nothing to draw; a mean may lie outside that of a skewed bootstrap.
            ends = np.nan_to_num([value - row["objective_low"], row["objective_high"] - value])
            axes.errorbar(
                cost, value, yerr=np.maximum(ends, 0)[:, None], fmt="o", color=colour, ms=6 if found else 4, lw=0.8
            )
            labels.append(Label(row["method"], cost, value, colour if found else "#555555"))
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
    panels[0].set_ylabel(f"at the target length (nats against {reference}; lower is better)")
    figure.tight_layout(w_pad=5)
    save(figure, path)


def draw_importances(comparison: Comparison, path: str | Path) -> None:
    """Which parameters make a trial good, a panel a space that is few numbers."""
    shares: dict[str, dict[str, list[float]]] = {}
    for search in [search for model in comparison.models for search in model.searches]:
        known = search.contestant.group == "found" and search.best["importances"]
        if known and len(search.best["values"]) <= 12:
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

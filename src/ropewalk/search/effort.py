"""Tables of what searches took: best so far by trial, searches at equal effort, and how many trials tuning by hand is
worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.intervals import Interval, student
from ropewalk.search.comparison import BY_HAND, WITHIN, Comparison, Kind
from ropewalk.search.standings import interval_columns


def convergence(comparison: Comparison) -> pd.DataFrame:
    """Best so far of every search that counts, by what it had taken.

    Returns:
        ``model``, ``method``, ``factor``, ``seed``, ``trials``, ``documents`` and ``seconds`` (so far), ``best`` (nats
        against YaRN on the search documents, nan before a rope is allowed) and ``from_tuned`` (the same less that of
        the model's rope tuned by hand; nan where none was).
    """
    frames = []
    for model in comparison.models:
        for search in model.searches:
            trials, one = search.trials, search.contestant
            tuned = model.tuned(one.factor)
            frames.append(
                pd.DataFrame(
                    {
                        "model": model.name,
                        "method": one.method,
                        "factor": one.factor,
                        "seed": one.seed,
                        **spent(trials),
                        "best": trials["best"],
                        "from_tuned": trials["best"] - (tuned.best["objective"] if tuned else math.nan),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def spent(trials: pd.DataFrame) -> dict[str, pd.Series]:
    """What a search had taken after each trial: ``trials``, ``documents`` read to their end, and ``seconds``."""
    seconds = (trials["seconds_measuring"] + trials["seconds_proposing"]).cumsum()
    return {"trials": trials["number"] + 1, "documents": trials["documents"].cumsum(), "seconds": seconds}


def rivals(comparison: Comparison, confidence: float) -> pd.DataFrame:
    """What searches take and what they come to, and how they compare at equal trials, documents read and seconds.

    Returns:
        One row a method and factor: ``method``, ``group``, ``factor``, ``seeds``, ``trials``, ``documents`` (read to
        their end), ``seconds`` and ``proposing`` (means a search; seconds in all, and of these for proposals),
        ``found`` (best objective on the search documents, nats against YaRN), ``tested`` (that of the chosen rope on
        the test documents, nats against the reference). Of found ones but the first: ``tested_difference`` (``tested``
        less that of the first one, by seed) with ``better``; ``equal_trials``, ``equal_documents``, ``equal_seconds``
        (best on the search documents less that of the first method when both had taken as many as the one that took
        fewer); and ``overtakes`` (trials after which the first method is below what this one ends with, median;
        infinite where it mostly never is).
    """
    rows = []
    for factor in comparison.factors:
        found = comparison.kinds(factor, "found")
        for kind in [*found, *comparison.kinds(factor, BY_HAND)]:
            searches = [model.searched(kind) for model in comparison.models]
            trials = [search.trials for seeds in searches for search in seeds.values()]
            proposing = float(np.mean([one["seconds_proposing"].sum() for one in trials]))
            best = [[float(search.trials["best"].iloc[-1]) for search in seeds.values()] for seeds in searches]
            row = {
                "method": kind[0],
                "group": comparison.first.kinds[kind][0].group,
                "factor": factor,
                "seeds": max(1, comparison.seeds(kind)),
                "trials": float(np.mean([len(one) for one in trials])),
                "documents": float(np.mean([one["documents"].sum() for one in trials])),
                "seconds": proposing + float(np.mean([one["seconds_measuring"].sum() for one in trials])),
                "proposing": proposing,
                **_repeated("found", best, confidence)[1],
                **interval_columns("tested", comparison.values(kind, factor), confidence)[1],
            }
            if kind in found[1:]:
                row |= _against_first(comparison, kind, found[0], confidence)
            rows.append(row)
    return pd.DataFrame(rows)


def _against_first(comparison: Comparison, kind: Kind, first: Kind, confidence: float) -> dict[str, Any]:
    """A method of search against the first one, by the seeds that both have."""
    tested, pairs = [], []
    zero = (comparison.reference, float(kind[1] or math.nan))
    for model in comparison.models:
        own, others = model.searched(kind), model.searched(first)
        common = sorted(set(own) & set(others))
        if not common:
            return {}
        places = [[list(each).index(seed) for seed in common] for each in (own, others)]
        tested.append(model.values(kind, zero[1], zero)[places[0]] - model.values(first, zero[1], zero)[places[1]])
        pairs.append([(own[seed].trials, others[seed].trials) for seed in common])
    paired, columns = interval_columns("tested_difference", tested, confidence)
    for over in ("trials", "documents", "seconds"):
        ahead = [[_ahead(one, other, over) for one, other in each] for each in pairs]
        columns |= _repeated(f"equal_{over}", ahead, confidence)[1]
    overtaken = [first_below(other, one["best"].iloc[-1]) for each in pairs for one, other in each]
    return {**columns, "better": paired.better(), "overtakes": float(np.median(overtaken))}


def _ahead(one: pd.DataFrame, other: pd.DataFrame, over: str) -> float:
    """How much lower the best so far of one search is than another's when both had taken as much."""
    budget = min(float(spent(each)[over].iloc[-1]) for each in (one, other))
    reached = [each["best"].to_numpy()[spent(each)[over].to_numpy() <= budget] for each in (one, other)]
    return float(reached[0][-1] - reached[1][-1]) if all(map(len, reached)) else math.nan


def first_below(trials: pd.DataFrame, level: float) -> float:
    """Trials after which a search is at or below a level; infinite where it never is."""
    reached = np.flatnonzero(trials["best"].to_numpy() <= level)
    return float(reached[0] + 1) if len(reached) else math.inf


def replacing(comparison: Comparison, confidence: float) -> pd.DataFrame:
    """How many evaluations replace tuning by hand: after how many a search is as good as what was tuned.

    Both are judged on the search documents: the tuned rope by its objective there, the search by its best so far.

    Returns:
        One row a method of search, factor and tuned rope: ``method``, ``factor``, ``seeds``, ``against`` (a tuned
        method; or ``tuned by hand``, all of them together and the one that the selection documents prefer),
        ``by_hand`` (evaluations that the tuning took), ``reached`` (share of searches that come within 0.02 nats of
        it), ``evaluations`` (until then: the median over seeds, and its geometric mean over models; infinite where half
        of a model's searches never are there) with Student's t on their logarithms.
    """
    rows = []
    for factor in comparison.factors:
        tuned = {kind[0]: kind for kind in comparison.kinds(factor, BY_HAND)}
        for kind in comparison.kinds(factor, "found"):
            for against in [BY_HAND, *tuned] if tuned else []:
                levels, taken, until = [], [], []
                for model in comparison.models:
                    grids = [model.searched(one)[min(model.searched(one))] for one in tuned.values()]
                    chosen = min(
                        (grid for grid in grids if against in (BY_HAND, grid.contestant.method)),
                        key=lambda grid: grid.selected,
                    )
                    levels.append(chosen.best["objective"] + WITHIN)
                    taken.append(sum(len(g.trials) for g in grids if against in (BY_HAND, g.contestant.method)))
                    until.append([first_below(s.trials, levels[-1]) for s in model.searched(kind).values()])
                rows.append(
                    {
                        "method": kind[0],
                        "factor": factor,
                        "seeds": comparison.seeds(kind),
                        "against": against,
                        "by_hand": float(np.mean(taken)),
                        "reached": float(np.mean([np.isfinite(each).mean() for each in until])),
                        **_typical("evaluations", until, confidence),
                    }
                )
    return pd.DataFrame(rows)


def _typical(name: str, parts: Sequence[Sequence[float]], confidence: float) -> dict[str, Any]:
    """The geometric mean over models of the median over seeds; over seeds where there is one model."""
    several = len(parts) > 1
    numbers = [float(np.median(each)) for each in parts] if several else list(parts[0])
    over = {f"{name}_over": "seeds and models" if several else "seeds"}
    if not np.isfinite(numbers).all():
        return {**Interval(float(np.median(numbers)), math.nan, math.nan, len(numbers), 2).columns(name), **over}
    return {**student(np.log(numbers), confidence=confidence).exponential().columns(name), **over}


def bounds(comparison: Comparison) -> Iterator[tuple[Kind, str, float, int, int]]:
    """Bounds of spaces that chosen ropes lie on: of which search, number, bound, in how many of how many searches."""
    for factor in comparison.factors:
        for kind in comparison.kinds(factor, BY_HAND, "found"):
            searches = [search for model in comparison.models for search in model.searched(kind).values()]
            lying: dict[tuple[str, float], int] = {}
            for search in searches:
                for place in search.best["on_bounds"].items():
                    lying[place] = lying.get(place, 0) + 1
            for (name, bound), count in lying.items():
                yield kind, name, bound, count, len(searches)


def _repeated(name: str, parts: Sequence[Sequence[float]], confidence: float) -> tuple[Interval, dict[str, Any]]:
    """As :func:`interval_columns`, of numbers that no document varies: Student's t over models, or seeds where one is.

    Args:
        name: of the column.
        parts: for each model, one number a seed.
        confidence: probability that the interval is to cover.
    """
    several = len(parts) > 1
    found = student([float(np.mean(each)) for each in parts] if several else parts[0], confidence=confidence)
    return found, {**found.columns(name), f"{name}_over": "seeds and models" if several else "seeds"}

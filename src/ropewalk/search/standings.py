"""Tables of how ropes that were read alike compare, from best to worst and one against the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.intervals import Interval, over_all
from ropewalk.search.comparison import BY_HAND, ORIGINAL, Comparison, Kind

RESONANCE = "resonance"
"""What ropes with whole wavelengths are called: alone, or before the name of the rope that is rounded."""


def standings(comparison: Comparison, factor: float, confidence: float) -> pd.DataFrame:
    """All ropes for a factor at its length, best first.

    Returns:
        One row a method: ``method``, ``group``, ``seeds`` (different ones, of a found one), ``objective`` (nats against
        the reference; below 0 is better), ``tail`` and ``answer`` (nats a token), ``accuracy``, ``short_cost`` (nats a
        token against the original rope), ``against`` (the best hand-made rope of this factor, coded or tuned),
        ``difference`` (of the objective from it, nats) and ``better``: yes, no or open. Numbers with an interval have
        ``_low``, ``_high``, ``_freedom`` and ``_over`` (what it is over).
    """
    made = comparison.kinds(factor, "as coded", BY_HAND)
    hardest = comparison.hardest(made, factor)
    original: Kind = (ORIGINAL, None)
    rows = []
    for kind in [original, *made, *comparison.kinds(factor, "found")]:
        objective = comparison.values(kind, factor)
        short = [
            model.numbers(kind, factor, "short") - model.numbers(original, factor, "short")
            for model in comparison.models
        ]
        row = {
            "method": kind[0],
            "group": comparison.first.kinds[kind][0].group,
            "seeds": comparison.seeds(kind),
            **interval_columns("objective", objective, confidence)[1],
            **{
                name: float(np.mean([model.numbers(kind, factor, name).mean() for model in comparison.models]))
                for name in ("tail", "answer", "accuracy")
            },
            **interval_columns("short_cost", short, confidence)[1],
        }
        if kind != hardest:
            paired, columns = interval_columns("difference", comparison.less(kind, hardest, factor), confidence)
            row |= {"against": hardest[0], **columns, "better": paired.better()}
        rows.append(row)
    return pd.DataFrame(rows).sort_values("objective", kind="stable", ignore_index=True)


def differences(comparison: Comparison, confidence: float) -> pd.DataFrame:
    """What every kind of search found against every rope made by hand, and against the rope of pre-training.

    Returns:
        One row a method, factor and other: ``method``, ``factor``, ``seeds``, ``against`` (a method; or, for the tuned
        rope that the selection documents prefer in each model, ``tuned by hand``), ``difference`` (of the objective on
        the test documents, nats) with its interval, and ``better``.
    """
    rows = []
    for factor in comparison.factors:
        others: dict[str, Kind | None] = {
            kind[0]: kind for kind in [(ORIGINAL, None), *comparison.kinds(factor, "as coded", BY_HAND)]
        }
        if comparison.first.tuned(factor):
            others[BY_HAND] = None
        for kind in comparison.kinds(factor, "found"):
            for against, other in others.items():
                paired, columns = interval_columns("difference", comparison.less(kind, other, factor), confidence)
                rows.append(
                    {
                        "method": kind[0],
                        "factor": factor,
                        "seeds": comparison.seeds(kind),
                        "against": against,
                        **columns,
                        "better": paired.better(),
                    }
                )
    return pd.DataFrame(rows)


def resonant(comparison: Comparison, confidence: float) -> pd.DataFrame:
    """What rounding to whole wavelengths does to each rope made by hand that was read with and without it.

    Returns:
        One row a factor and rope: ``method``, ``factor``, ``difference`` (of the objective with whole wavelengths less
        that without, nats) with its interval, corrected for all rows (Bonferroni), and ``better``.
    """
    pairs = []
    for factor in comparison.factors:
        made = {kind[0]: kind for kind in comparison.kinds(factor, "as coded")}
        pairs += [
            (name, factor, made[with_it], kind)
            for name, kind in {ORIGINAL: (ORIGINAL, None), **made}.items()
            if (with_it := RESONANCE if name == ORIGINAL else f"{RESONANCE}-{name}") in made
        ]
    each = 1 - (1 - confidence) / max(1, len(pairs))
    rows = []
    for name, factor, rounded, plain in pairs:
        paired, columns = interval_columns("difference", comparison.less(rounded, plain, factor), each)
        rows.append({"method": name, "factor": factor, **columns, "better": paired.better()})
    return pd.DataFrame(rows)


def by_model(comparison: Comparison, factor: float) -> pd.DataFrame:
    """The objective of every rope for a factor with each model, able or not: a row a method, a column a model."""
    kinds = comparison.kinds(factor, "as coded", BY_HAND, "found")
    zero = (comparison.reference, factor)
    table = {
        model.name: [float(model.values(kind, factor, zero).mean()) for kind in kinds]
        for model in comparison.all_models
    }
    return pd.DataFrame(table, index=[kind[0] for kind in kinds])


def transfer(comparison: Comparison, confidence: float) -> pd.DataFrame:
    """What ropes found for one length do at others, against the best hand-made rope at each.

    Returns:
        One row a method, factor and length: ``method``, ``factor``, ``at``, ``against`` and ``against_factor``,
        ``difference`` (of the objective, nats) with its interval, ``better``, ``accuracy`` and ``accuracy_against``.
    """
    rows = []
    for at in comparison.lengths:
        zero = comparison.nearest_reference(at)
        made = comparison.kinds(None, "as trained", "as coded", BY_HAND)
        hardest = comparison.hardest(made, at, zero)
        for factor in comparison.factors:
            for kind in comparison.kinds(factor, "found"):
                paired, columns = interval_columns("difference", comparison.less(kind, hardest, at, zero), confidence)
                right, right_against = (
                    float(np.mean([model.numbers(one, at, "accuracy").mean() for model in comparison.models]))
                    for one in (kind, hardest)
                )
                rows.append(
                    {
                        "method": kind[0],
                        "factor": factor,
                        "at": at,
                        "against": hardest[0] if hardest[1] is None else f"{hardest[0]} {hardest[1]:g}x",
                        **columns,
                        "better": paired.better(),
                        "accuracy": right,
                        "accuracy_against": right_against,
                    }
                )
    return pd.DataFrame(rows)


def interval_columns(name: str, parts: Sequence[np.ndarray], confidence: float) -> tuple[Interval, dict[str, Any]]:
    """A mean with its interval over all that varies, and both as columns of a table.

    Args:
        name: of the column of the mean; ``_low``, ``_high``, ``_freedom`` and ``_over`` follow it.
        parts: for each model, shape (seeds, documents).
        confidence: probability that the interval is to cover.
    """
    found, over = over_all(parts, confidence=confidence)
    freedom = math.nan if found.freedom is None else found.freedom
    return found, {**found.columns(name), f"{name}_freedom": freedom, f"{name}_over": over}

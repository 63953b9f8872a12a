"""Limits by cell and by base, with their intervals and what the laws say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.intervals import Interval, bootstrap, quantile_interval, student
from ropewalk.rope.prediction import limits
from ropewalk.rope.rope import FloatArray
from ropewalk.scaling.measured import Measured, alike, documents, groups, mean_log_limits
from ropewalk.scaling.options import SweepOptions


def limit_table(measured: Sequence[Measured], options: SweepOptions) -> pd.DataFrame:
    """Measured and predicted limits, one row a cell and rule, in tokens.

    Returns:
        ``cell``, the columns of :class:`Key`, ``seed``, ``regime``, ``rule``, ``limit``, ``low``, ``high`` (infinite
        where censored), and for each law its prediction and ``ratio LAW``, measured over predicted, empty where the
        limit is censored or the law names none.
    """
    table = []
    for one in measured:
        cell = one.cell
        predicted = limits(cell.setting)
        for rule, draws in one.limits.items():
            low, high = quantile_interval(draws[1:], len(cell.curves.documents), options.confidence)
            row = {
                "cell": cell.name,
                **cell.key._asdict(),
                "seed": cell.seed,
                "regime": cell.setting.regime,
                "rule": rule,
                "limit": draws[0],
                "low": low,
                "high": high,
            }
            for law, value in predicted.items():
                row[law] = math.nan if value is None else value
                row[f"ratio {law}"] = draws[0] / value if value and math.isfinite(draws[0]) else math.nan
            table.append(row)
    return pd.DataFrame(table)


def base_table(measured: Sequence[Measured], options: SweepOptions) -> pd.DataFrame:
    """The limit of each base by the main rule: geometric mean over seeds, with both intervals, in tokens.

    Returns:
        The columns of :class:`Key`, ``regime``, ``seeds``, ``predicted`` by the discrete law (empty where it names
        none), ``limit`` (infinite where any seed is censored), ``low`` and ``high`` over documents, ``seeds_low`` and
        ``seeds_high`` over seeds, Student's t of the logarithm (empty for one seed, or a censored one);
        ``widest_low`` and ``widest_high``, what both intervals cover together; ``censored`` seeds;
        ``far_degradation`` with its bounds: the mean over the second half of the texts; and ``short_context_price``
        with its bounds: NLL (nats a token) of the first L tokens, L the length of pre-training, over that of the
        original base tuned alike with the same seeds.
    """
    found = groups(measured)
    table = []
    for key, group in found.items():
        setting = group[0].cell.setting
        draws = mean_log_limits(group, options)
        low, high = quantile_interval(draws[1:], documents(measured), options.confidence)
        own = np.array([math.log(one.limits[options.rules[0]][0]) for one in group])
        over_seeds = student(own if np.isfinite(own).all() else own[:1], confidence=options.confidence)
        predicted = limits(setting)["discrete"]
        ends = {"low": math.exp(low), "high": math.exp(high)}
        ends |= {"seeds_low": math.exp(over_seeds.low), "seeds_high": math.exp(over_seeds.high)}
        row = {
            **key._asdict(),
            "regime": setting.regime,
            "seeds": len(group),
            "predicted": math.nan if predicted is None else predicted,
            "limit": math.exp(draws[0]),
            **ends,
            **widest(ends),
            "censored": int(np.isinf(own).sum()),
            **bootstrap(_far(group), confidence=options.confidence).columns("far_degradation"),
        }
        original = key._replace(new_base=setting.base, log_scaling=False)
        pair = alike(group, found.get(original, []))
        if pair[0]:
            here, there = (_mean_to(side, setting.train_length) for side in pair)
            row |= bootstrap(here - there, confidence=options.confidence).columns("short_context_price")
        table.append(row)
    return pd.DataFrame(table)


def widest(row: Mapping[Any, Any]) -> dict[str, float]:
    """What the interval over documents and that over seeds, where there is one, cover together."""
    low, high = row["low"], row["high"]
    if math.isfinite(low) and math.isfinite(row["seeds_low"]):
        low, high = min(low, row["seeds_low"]), max(high, row["seeds_high"])
    return {"widest_low": low, "widest_high": high}


def far_difference(group: Sequence[Measured], other: Sequence[Measured], options: SweepOptions) -> Interval:
    """What reading on costs in the second half of the texts (nats a token), less the same of another group.

    Paired over documents, on the seeds that both groups have.
    """
    first, second = alike(group, other)
    values = _far(first) - _far(second) if first else np.array([])
    return bootstrap(values, confidence=options.confidence)


def _far(group: Sequence[Measured]) -> FloatArray:
    """Mean degradation of each document in the second half of the texts, over seeds."""
    curves = [one.cell.curves for one in group]
    return np.asarray(np.mean([one.degradation[:, one.length // 2 :].mean(axis=1) for one in curves], axis=0))


def _mean_to(group: Sequence[Measured], length: int) -> FloatArray:
    return np.asarray(np.mean([one.cell.curves.mean_to(length) for one in group], axis=0))

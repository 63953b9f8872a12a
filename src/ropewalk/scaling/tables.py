"""Limits by cell and by base, with their intervals and what the laws say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ropewalk.intervals import quantile_interval
from ropewalk.rope.prediction import Setting, limits
from ropewalk.rope.rope import FloatArray
from ropewalk.scaling.cells import Key
from ropewalk.scaling.estimates import Estimate, Run, differences, mean, resampled
from ropewalk.scaling.measured import Group, Measured, costs, groups, log_limits, losses, setting_of
from ropewalk.scaling.options import SweepOptions


def limit_table(measured: Sequence[Measured], options: SweepOptions) -> pd.DataFrame:
    """Measured and predicted limits, one row a cell and rule, in tokens.

    Returns:
        ``cell``, the columns of :class:`Key`, ``model``, ``seed``, ``regime``, ``rule``, ``limit``, ``low``, ``high``
        (over documents; infinite where censored), and for each law its prediction and ``ratio LAW``, measured over
        predicted, empty where the limit is censored or the law names none.
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
                **cell.run._asdict(),
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


@dataclass(frozen=True)
class Base:
    """What was measured of one base, tuned at one length for a number of steps.

    Attributes:
        key: base, tuning length, steps, and whether it was read with log-scaled attention.
        setting: of any of its cells.
        limits: tokens by rule, geometric means over models and seeds; infinite where any run never broke, and then the
            lower end is that of the limits with the length of the texts in the place of what lies beyond.
        predicted: by the discrete law, in tokens; None where it names none.
        censored: by rule, runs that never broke.
        far: what reading everything costs against the last tokens in the second half of the texts (nats a token).
        price: NLL (nats a token) of the first L tokens, L the length of pre-training, over that of the original base
            tuned alike on the same models with the same seeds; None where that was not tuned.
    """

    key: Key
    setting: Setting
    limits: Mapping[str, Estimate]
    predicted: float | None
    censored: Mapping[str, int]
    far: Estimate
    price: Estimate | None


def base_table(measured: Sequence[Measured], options: SweepOptions) -> list[Base]:
    """Every base with its limits and what it costs, in the order of their keys."""
    found = groups(measured)
    table = []
    for key, group in found.items():
        setting = setting_of(group)
        original = found.get(key._replace(new_base=setting.base, log_scaling=False), {})
        price = differences(losses(group, 1, setting.train_length), losses(original, 1, setting.train_length))
        table.append(
            Base(
                key,
                setting,
                {rule: limit_of(group, rule, options) for rule in options.rules},
                limits(setting)["discrete"],
                {rule: sum(one.censored(rule) for one in group.values()) for rule in options.rules},
                mean(_far(group), options.confidence),
                mean(price, options.confidence) if price else None,
            )
        )
    return table


def limit_of(group: Group, rule: str, options: SweepOptions) -> Estimate:
    """The limit of a group by a rule, in tokens; see :class:`Base`."""
    count = len(next(iter(group.values())).cell.curves.documents)
    found = resampled(log_limits(group, rule), count, options.confidence).exponential()
    if any(one.censored(rule) for one in group.values()):
        return replace(found, value=math.inf, high=math.inf)
    return found


def far_difference(group: Group, other: Group, options: SweepOptions) -> Estimate | None:
    """What reading on costs in the second half of the texts (nats a token), less the same of another group.

    Paired over documents, on the runs that both groups have; None where they share none.
    """
    apart = differences(_far(group), _far(other))
    return mean(apart, options.confidence) if apart else None


def limit_ratio(group: Group, other: Group, rule: str, options: SweepOptions) -> Estimate | None:
    """The limit of a group over that of another, on the runs that both have.

    None where they share none, or a limit lies beyond the texts.
    """
    shared = [run for run in group if run in other]
    if not shared or any(side[run].censored(rule) for side in (group, other) for run in shared):
        return None
    count = len(group[shared[0]].cell.curves.documents)
    apart = differences(log_limits(group, rule), log_limits(other, rule))
    return resampled(apart, count, options.confidence).exponential()


def _far(group: Group) -> dict[Run, FloatArray]:
    length = next(iter(group.values())).cell.curves.length if group else 0
    return costs(group, length // 2 + 1, length)

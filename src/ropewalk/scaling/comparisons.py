"""Comparisons of bases with each other, paired on models, seeds and documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ropewalk.rope.prediction import limits
from ropewalk.scaling.cells import Key
from ropewalk.scaling.estimates import Estimate, differences, mean
from ropewalk.scaling.measured import Measured, groups, losses, setting_of
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.tables import far_difference, limit_ratio


@dataclass(frozen=True)
class Longer:
    """What longer tuning texts change.

    Attributes:
        key: of the base that was tuned on the longer ones.
        from_length: tokens of the shorter ones.
        ratio: of the limits.
        rule: by which they are read.
        predicted: ratio by the discrete law.
    """

    key: Key
    from_length: int
    ratio: Estimate
    rule: str
    predicted: float | None


def tuning_effects(measured: Sequence[Measured], options: SweepOptions) -> list[Longer]:
    """Limit at each longer tuning length over that at the shortest, for bases that were tuned at several."""
    found = {key: group for key, group in groups(measured).items() if not key.log_scaling}
    table = []
    for key, group in found.items():
        first = min(one for one in found if one[1:] == key[1:])
        if first == key:
            continue
        old, new = (limits(setting_of(found[one]))["discrete"] for one in (first, key))
        for rule in options.rules:
            ratio = limit_ratio(group, found[first], rule, options)
            if ratio is not None:
                table.append(Longer(key, first.tune_length, ratio, rule, new / old if old and new else None))
    return table


@dataclass(frozen=True)
class Contrast:
    """One base against another that was tuned alike.

    Attributes:
        key: of the one.
        other: base that it is held against.
        what: ``original``: the base of pre-training; ``smaller``: for a small base the next smaller one; ``next``: the
            next smaller base, whatever its regime.
        far: difference of what reading on costs in the second half of the texts (nats a token).
        limits: ratio of the limits by rule, where no run of either lies beyond the texts.
    """

    key: Key
    other: float
    what: Literal["original", "smaller", "next"]
    far: Estimate
    limits: dict[str, Estimate]


def contrasts(measured: Sequence[Measured], options: SweepOptions) -> list[Contrast]:
    """Each base against the original one, and against the next smaller one."""
    found = {key: group for key, group in groups(measured).items() if not key.log_scaling}
    table = []
    for key, group in found.items():
        others: list[tuple[Literal["original", "smaller", "next"], Key]] = []
        original = key._replace(new_base=setting_of(group).base)
        if original in found and original != key:
            others.append(("original", original))
        smaller = [one for one in found if one[:2] == key[:2] and one.new_base < key.new_base]
        if smaller:
            next_one = max(smaller, key=lambda one: one.new_base)
            others.append(("next", next_one))
            if setting_of(group).regime == "soft":
                others.append(("smaller", next_one))
        for what, other in others:
            far = far_difference(group, found[other], options)
            if far is not None:
                ratios = {rule: limit_ratio(group, found[other], rule, options) for rule in options.rules}
                known = {rule: ratio for rule, ratio in ratios.items() if ratio is not None}
                table.append(Contrast(key, other.new_base, what, far, known))
    return table


@dataclass(frozen=True)
class Scaled:
    """What log-scaled attention changes at some positions.

    Attributes:
        key: of the base that was read with it.
        start: first position in tokens.
        stop: position at which they end, excluded.
        difference: NLL in nats a token with it less that without.
    """

    key: Key
    start: int
    stop: int
    difference: Estimate


def log_scaling_effects(measured: Sequence[Measured], options: SweepOptions) -> list[Scaled]:
    """What log-scaled attention changes, by doublings of the position from the tuning length on."""
    found = groups(measured)
    table = []
    for key, group in found.items():
        plain = found.get(key._replace(log_scaling=False), {}) if key.log_scaling else {}
        length = next(iter(group.values())).cell.curves.length
        stops = [key.tune_length]
        while stops[-1] < length:
            stops.append(min(2 * stops[-1], length))
        for start, stop in pairwise(stops):
            apart = differences(losses(group, start, stop), losses(plain, start, stop))
            if apart:
                table.append(Scaled(key, start, stop, mean(apart, options.confidence)))
    return table

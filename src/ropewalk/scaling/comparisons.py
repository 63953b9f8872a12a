"""What longer tuning texts and log-scaled attention change, paired on the same seeds and documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from ropewalk.intervals import bootstrap, quantile_interval
from ropewalk.rope.prediction import limits
from ropewalk.scaling.cells import Key
from ropewalk.scaling.measured import Measured, alike, documents, groups, mean_log_limits
from ropewalk.scaling.options import SweepOptions


def tuning_effects(measured: Sequence[Measured], options: SweepOptions) -> pd.DataFrame:
    """Limit at each longer tuning length over that at the shortest, for bases that were tuned at several.

    Returns:
        ``new_base``, ``steps``, ``from_length``, ``to_length``, ``seeds`` that both have, ``ratio``, ``low``, ``high``
        (over documents), all three empty where a limit is censored, ``dropped`` (share of resamples left out because a
        limit was never reached in them), and ``predicted``, by the discrete law.
    """
    found = {key: group for key, group in groups(measured).items() if not key.log_scaling}
    by_base: dict[tuple[float, int], list[Key]] = {}
    for key in found:
        by_base.setdefault((key.new_base, key.steps), []).append(key)
    table = []
    for (base, steps), (first, *others) in by_base.items():
        for other in others:
            after, before = alike(found[other], found[first])
            if not after:
                continue
            there, here = mean_log_limits(after, options), mean_log_limits(before, options)
            ratio = low = high = dropped = math.nan
            if math.isfinite(there[0]) and math.isfinite(here[0]):
                known = np.isfinite(there[1:]) & np.isfinite(here[1:])
                dropped = 1 - float(known.mean())
                draws = there[1:][known] - here[1:][known]
                ratio = math.exp(there[0] - here[0])
                low, high = map(math.exp, quantile_interval(draws, documents(measured), options.confidence))
            old, new = (limits(side[0].cell.setting)["discrete"] for side in (before, after))
            row = {
                "new_base": base,
                "steps": steps,
                "from_length": first.tune_length,
                "to_length": other.tune_length,
                "seeds": len(after),
                "ratio": ratio,
                "low": low,
                "high": high,
                "dropped": dropped,
                "predicted": new / old if old and new else math.nan,
            }
            table.append(row)
    return pd.DataFrame(table)


def log_scaling_effects(measured: Sequence[Measured], options: SweepOptions) -> pd.DataFrame:
    """What log-scaled attention changes, by doublings of the position from the tuning length on.

    Returns:
        The columns of :class:`Key` but the last, ``start``, ``stop`` (tokens, the stop excluded), and ``difference``
        with its bounds: NLL in nats a token with it less that without, paired on the same models and documents.
    """
    found = groups(measured)
    table = []
    for key, group in found.items():
        pairs = alike(group, found.get(key._replace(log_scaling=False), []) if key.log_scaling else [])
        if not pairs[0]:
            continue
        stops = [key.tune_length]
        while stops[-1] < group[0].cell.curves.length:
            stops.append(min(2 * stops[-1], group[0].cell.curves.length))
        for start, stop in pairwise(stops):
            scaled, unscaled = (
                np.mean([one.cell.curves.full[:, start - 1 : stop - 1].mean(axis=1) for one in side], axis=0)
                for side in pairs
            )
            row = {"tune_length": key.tune_length, "steps": key.steps, "new_base": key.new_base}
            row |= {"start": start, "stop": stop}
            row |= bootstrap(scaled - unscaled, confidence=options.confidence).columns("difference")
            table.append(row)
    return pd.DataFrame(table)

"""How far a tuned model copies, which perplexity does not tell (Men et al., arXiv 2405.14591)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.intervals import CONFIDENCE, quantile_interval, student
from ropewalk.rope.rope import FloatArray
from ropewalk.scaling.cells import Cell
from ropewalk.scaling.measured import Measured, groups

COPIED = 0.5
"""Copy accuracy below which a model no longer retrieves."""

_RESAMPLES = 1_000


def retrieval_table(measured: Sequence[Measured], confidence: float = CONFIDENCE) -> pd.DataFrame:
    """How far each base copies: the text length at which copy accuracy first falls below one half, in tokens.

    A string of twice the gap is read, so that the length is twice the distance. Interpolated between gaps in the
    logarithm; 0 where the shortest gap is not copied, infinite where the longest is.

    Returns:
        The columns of :class:`Key`, ``limit`` from the mean accuracy over seeds, ``low`` and ``high`` over strings,
        which all seeds have in common, and ``seeds_low`` and ``seeds_high``, Student's t of the logarithm over seeds
        (empty for one seed, or where one copies nothing or everything); empty without copying.

    Raises:
        UserError: the seeds of one base were tested on other strings.
    """
    table = []
    for key, group in groups(measured).items():
        known = [accuracies(one.cell) for one in group if one.cell.copying is not None]
        if not known:
            continue
        if any(list(other) != list(known[0]) for other in known):
            raise UserError(f"{key.name}: the seeds were tested on different gaps; measure all alike.")
        gaps = list(known[0])
        # Every seed read the same strings, so that one is drawn for all of them.
        by_gap = [np.mean([one[gap] for one in known], axis=0) for gap in gaps]
        rng = np.random.default_rng(0)
        means = np.stack(
            [np.r_[values.mean(), rng.choice(values, (_RESAMPLES, len(values))).mean(axis=1)] for values in by_gap],
            axis=1,
        )
        draws = 2 * np.array([copy_distance(gaps, row) for row in means])
        low, high = quantile_interval(draws[1:], min(map(len, by_gap)), confidence)
        own = [2 * copy_distance(gaps, [one[gap].mean() for gap in gaps]) for one in known]
        sound = all(0 < value < math.inf for value in own)
        over_seeds = student(np.log(own) if sound else [math.nan], confidence=confidence)
        row = {
            **key._asdict(),
            "limit": float(draws[0]),
            "low": low,
            "high": high,
            "seeds_low": math.exp(over_seeds.low),
            "seeds_high": math.exp(over_seeds.high),
        }
        table.append(row)
    return pd.DataFrame(table)


def accuracies(cell: Cell) -> dict[int, FloatArray]:
    """Accuracy of each string, in order, by gap (tokens), of a cell whose copying was measured."""
    assert cell.copying is not None
    return {
        int(str(gap)): rows["accuracy"].to_numpy(np.float64) for gap, rows in cell.copying.groupby("gap", sort=True)
    }


def copy_distance(gaps: Sequence[int], accuracy: Sequence[float] | FloatArray) -> float:
    """The distance, in tokens, at which accuracy first falls below one half; see :func:`retrieval_table`."""
    for i, value in enumerate(accuracy):
        if value < COPIED:
            if i == 0:
                return 0.0
            share = (accuracy[i - 1] - COPIED) / (accuracy[i - 1] - value)
            return float(gaps[i - 1] * (gaps[i] / gaps[i - 1]) ** share)
    return math.inf

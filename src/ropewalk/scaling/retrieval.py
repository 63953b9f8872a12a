"""How far a tuned model copies, which perplexity does not tell (Men et al., arXiv 2405.14591)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.intervals import CONFIDENCE, quantile_interval
from ropewalk.rope.rope import FloatArray
from ropewalk.scaling.cells import Cell
from ropewalk.scaling.measured import Measured, groups

COPIED = 0.5
"""Copy accuracy below which a model no longer retrieves."""

_RESAMPLES = 1_000


def retrieval_table(measured: Sequence[Measured], confidence: float = CONFIDENCE) -> pd.DataFrame:
    """How far each base copies: between which lengths of text copy accuracy first falls below one half, in tokens.

    A string of twice the gap is read, so that the length is twice the distance. Where between two gaps it falls was
    not measured, and accuracies of .99 and .14 do not say.

    Returns:
        The columns of :class:`Key`; ``copied``, the longest text before the fall, 0 where the shortest gap is not
        copied, and ``lost``, the first after it, infinite where the longest gap is copied, both from the mean accuracy
        over models and seeds; ``low`` and ``high``: from the least of the one to the largest of the other over strings,
        which all have in common, resampled, and over models and seeds; ``seeds`` and ``models``. Empty without copying.

    Raises:
        UserError: the runs of one base were tested on other strings.
    """
    table = []
    for key, group in groups(measured).items():
        known = {run: accuracies(one.cell) for run, one in group.items() if one.cell.copying is not None}
        if not known:
            continue
        gaps, *others = (list(one) for one in known.values())
        if any(other != gaps for other in others):
            raise UserError(f"{key.name}: tested on different gaps; measure all alike.")
        # Every run read the same strings, so that one is drawn for all of them.
        by_gap = [np.mean([one[gap] for one in known.values()], axis=0) for gap in gaps]
        rng = np.random.default_rng(0)
        means = np.stack(
            [np.r_[values.mean(), rng.choice(values, (_RESAMPLES, len(values))).mean(axis=1)] for values in by_gap],
            axis=1,
        )
        draws = 2 * np.array([bracket(gaps, row) for row in means])
        low, high = (quantile_interval(ends[1:], min(map(len, by_gap)), confidence) for ends in draws.T)
        own = 2 * np.array([bracket(gaps, [one[gap].mean() for gap in gaps]) for one in known.values()])
        row = {
            **key._asdict(),
            "copied": float(draws[0, 0]),
            "lost": float(draws[0, 1]),
            "low": min(low[0], float(own[:, 0].min())),
            "high": max(high[1], float(own[:, 1].max())),
            "seeds": len({run.seed for run in known}),
            "models": len({run.model for run in known}),
        }
        table.append(row)
    return pd.DataFrame(table)


def accuracies(cell: Cell) -> dict[int, FloatArray]:
    """Accuracy of each string, in order, by gap (tokens), of a cell whose copying was measured."""
    assert cell.copying is not None
    return {
        int(str(gap)): rows["accuracy"].to_numpy(np.float64) for gap, rows in cell.copying.groupby("gap", sort=True)
    }


def bracket(gaps: Sequence[int], accuracy: Sequence[float] | FloatArray) -> tuple[float, float]:
    """The gaps, in tokens, between which accuracy first falls below one half; see :func:`retrieval_table`."""
    below = next((i for i, value in enumerate(accuracy) if value < COPIED), len(gaps))
    return float(gaps[below - 1]) if below else 0.0, float(gaps[below]) if below < len(gaps) else math.inf

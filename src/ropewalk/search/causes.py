"""The two causes of failure as numbers that need no model: angles never seen, and neighbours too close.

The ORoPE abstract names a global mismatch of distributions and a local loss of resolution, and defines neither. Here
they are read as ``g_w1`` and ``r_ker`` of :mod:`ropewalk.rope.diagnostics`. Both order families of methods and cannot
rank the best of them, so they choose the first points of a search and are drawn, and decide nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import qmc

from ropewalk.rope import Rope
from ropewalk.rope.diagnostics import kernel_distortion, local_kernel, pair_mismatch
from ropewalk.rope.rope import FloatArray
from ropewalk.search.space import YARN_TEMPERATURE, Space

GRID = 64
"""Divisors at which the mismatch of each pair is computed; between them it is interpolated."""
SAMPLES = 2**14
"""Points of a space, by Sobol's sequence, among which the first are sought."""


class Causes:
    """Both causes for many ropes of one table at once.

    The mismatch is a mean over pairs of something that depends on that pair's divisor alone, so it is tabulated once.
    """

    def __init__(self, table: Rope, length: int, low: float, high: float) -> None:
        """Tabulate.

        Args:
            table: the rope of pre-training.
            length: target length in tokens.
            low: smallest ln lambda that will be asked for.
            high: largest.
        """
        self.table = table
        self.grid = np.linspace(low, high, GRID)
        stretched = [replace(table, inv_freq=table.inv_freq / np.exp(x)) for x in self.grid]
        self.mismatch = np.stack([pair_mismatch(rope, length) for rope in stretched])

    def __call__(self, log_divisors: FloatArray) -> FloatArray:
        """``g_w1`` (radians) and ``r_ker`` of each rope.

        Args:
            log_divisors: ln lambda_i, shape (ropes, pairs).

        Returns:
            Shape (ropes, 2).
        """
        columns = zip(log_divisors.T, self.mismatch.T, strict=True)
        mismatch = np.mean([np.interp(x, self.grid, known) for x, known in columns], axis=0)
        original = local_kernel(self.table.inv_freq)
        changed = map(local_kernel, self.table.inv_freq * np.exp(-log_divisors))
        distortion = [kernel_distortion(kernel, original) for kernel in changed]
        return np.stack([mismatch, distortion], axis=1)


def front(points: FloatArray) -> np.ndarray:
    """Indices of the points, shape (n, 2), that no other point beats in both columns, by the first column ascending."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    second = points[order, 1]
    best = np.concatenate([[np.inf], np.minimum.accumulate(second)[:-1]])
    return order[second < best]


def knees(points: FloatArray, count: int) -> list[int]:
    """Up to ``count`` indices of points, shape (n, 2), on the front, spread along it, each near the origin.

    Both columns are divided by their largest value on the front; the front is cut into equal ranges of the angle seen
    from the origin, and each gives its nearest point.
    """
    on = front(points)
    scaled = points[on] / np.maximum(points[on].max(axis=0), 1e-12)
    sectors = np.minimum((np.arctan2(scaled[:, 1], scaled[:, 0]) / (np.pi / 2) * count).astype(int), count - 1)
    norms = np.linalg.norm(scaled, axis=1)
    return [
        int(on[inside[np.argmin(norms[inside])]]) for k in range(count) if len(inside := np.flatnonzero(sectors == k))
    ]


def sobol_values(space: Space, unit: FloatArray) -> list[dict[str, float]]:
    """Points of a space from points of the unit cube, shape (n, parameters)."""
    low = np.array([np.log(p.low) if p.log else p.low for p in space.parameters])
    high = np.array([np.log(p.high) if p.log else p.high for p in space.parameters])
    scaled = low + unit * (high - low)
    logarithmic = np.array([p.log for p in space.parameters])
    scaled = np.where(logarithmic, np.exp(np.where(logarithmic, scaled, 0)), scaled)
    return [
        {parameter.name: parameter.clip(value) for parameter, value in zip(space.parameters, row, strict=True)}
        for row in scaled.tolist()
    ]


def knee_points(space: Space, length: int, *, count: int = 4, seed: int = 0) -> list[dict[str, float]]:
    """Points of a space that trade the two causes against each other at no needless cost.

    Args:
        space: where to look.
        length: target length in tokens.
        count: at most so many points.
        seed: of the scrambling of Sobol's sequence.

    Returns:
        Values by parameter, with YaRN's temperature, which neither cause depends on.
    """
    unit = qmc.Sobol(len(space.parameters), seed=seed).random(SAMPLES)
    values = sobol_values(space, unit)
    log_divisors = np.stack([space.log_divisors(point) for point in values])
    causes = Causes(space.table, length, float(log_divisors.min()), float(log_divisors.max()))
    return [values[i] | {"c": YARN_TEMPERATURE} for i in knees(causes(log_divisors), count)]

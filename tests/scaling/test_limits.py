from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import isotonic_regression

from ropewalk.errors import UserError
from ropewalk.scaling.estimates import Run, resampled
from ropewalk.scaling.limits import Curves, crossings, degradation_draws, perplexity_draws


def curves(degradation: np.ndarray, documents: int = 8) -> Curves:
    windowed = np.random.default_rng(0).normal(2, 0.2, (documents, degradation.size))
    return Curves(windowed + degradation, windowed, tuple(f"d{i}" for i in range(documents)))


def test_a_crossing_is_that_of_the_isotonic_regression():
    rng = np.random.default_rng(0)
    for _ in range(20):
        curve = np.linspace(0, 1, 80) + rng.normal(0, 0.5, 80)
        fitted = isotonic_regression(curve).x
        wanted = [float((fitted <= t).sum()) if (fitted > t).any() else math.inf for t in (0.2, 0.5, 2.0)]
        assert crossings(curve, [0.2, 0.5, 2.0]).tolist() == wanted


def test_a_step_is_found_where_it_is():
    # Position p stands at index p - 1.
    step = np.where(np.arange(1, 1000) > 500, 1.0, 0.0)
    assert degradation_draws(curves(step), [0.5, 0.05])[0].tolist() == [501, 501]


def with_wall(rng, wall, documents=36, noise=0.6):
    """Degradation by document and position: each document has a wall of its own near ``wall``, 1.5 nats high."""
    position = np.arange(1, 2048)
    own = wall * np.exp(rng.normal(0, 0.05, (documents, 1)))
    clean = 1.5 / (1 + np.exp(-(position - own) / (0.03 * wall)))
    # Up to the tuning length nothing is further than the window.
    return clean + rng.normal(0, noise, clean.shape) * (position > 128)


@pytest.mark.parametrize("wall", [200, 900])
def test_limits_of_curves_with_a_known_wall_are_unbiased_and_their_intervals_cover_it(wall):
    """Where a moving mean of 32 tokens first exceeds 0.05 nats is early by chance, the more so for the far wall."""
    thresholds = (0.05, 0.1, 0.2)
    mean = with_wall(np.random.default_rng(99), wall, documents=4000, noise=0).mean(axis=0)
    true = np.array([1 + np.argmax(mean > threshold) for threshold in thresholds])
    found, covered, first = [], [], []
    for seed in range(40):
        values = with_wall(np.random.default_rng(seed), wall)
        draws = degradation_draws(Curves(values, np.zeros_like(values), tuple(map(str, range(36)))), thresholds)
        found.append(draws[0])
        intervals = [resampled({Run("m", 0): np.log(by_rule)}, 36, 0.95).exponential() for by_rule in draws.T]
        covered.append([one.low <= limit <= one.high for one, limit in zip(intervals, true, strict=True)])
        moving = np.convolve(values.mean(axis=0), np.ones(32) / 32, "valid")
        first.append(np.argmax(moving > 0.05) + 17)
    assert np.mean(found, axis=0) / true == pytest.approx(1, abs=0.015)
    assert np.mean(covered) >= 0.9
    assert np.mean(first) / true[0] < (0.94 if wall == 900 else 0.98)


def test_what_never_breaks_is_censored_and_thresholds_are_ordered():
    ramp = np.linspace(0, 0.15, 999)
    draws = degradation_draws(curves(ramp), [0.05, 0.1, 0.2])
    assert draws.shape[1] == 3
    assert draws[0, 0] < draws[0, 1] < draws[0, 2] == math.inf
    # The ramp passes 0.05 a third of the way.
    assert draws[0, 0] == pytest.approx(333, abs=3)


def test_the_rule_on_perplexity_lags_by_the_sound_beginning():
    # Flat to 500, then one nat more: the mean to L exceeds ln 1.1 at (L - 500) / L = ln 1.1.
    step = np.where(np.arange(1, 2000) > 500, 1.0, 0.0)
    flat = Curves(2.0 + np.tile(step, (6, 1)), np.full((6, step.size), 2.0), tuple("abcdef"))
    limit = perplexity_draws(flat, 128, 1.1)[0]
    assert limit == pytest.approx(500 / (1 - math.log(1.1)), abs=3)


def test_intervals_come_from_the_documents():
    noisy = Curves(*(np.random.default_rng(i).normal(2, 1, (10, 500)) for i in (0, 1)), tuple("abcdefghij"))
    draws = degradation_draws(noisy, [0.2])[1:, 0]
    assert len(np.unique(draws)) > 5
    same = np.tile(np.linspace(0, 1, 500), (10, 1))
    steady = degradation_draws(Curves(2 + same, np.full_like(same, 2), tuple("abcdefghij")), [0.2])
    assert len(np.unique(steady)) == 1, "equal documents leave nothing to draw"


def test_a_reading_without_a_window_is_refused():
    rows = pd.DataFrame({"corpus": "c", "document": "d", "position": [1], "nll": [1.0], "pass_length": 2})
    with pytest.raises(UserError, match=r"no window_nll .*; read with the option window"):
        Curves.of(rows)


def test_curves_of_rows_keep_documents_and_positions_apart():
    rows = pd.DataFrame(
        {
            "corpus": ["c"] * 4,
            "document": ["b", "a", "b", "a"],
            "position": [2, 1, 1, 2],
            "nll": [4.0, 1.0, 3.0, 2.0],
            "window_nll": [0.5, 0.5, 0.5, 0.5],
            "pass_length": [3] * 4,
        }
    )
    found = Curves.of(rows)
    assert found.documents == ("c/a", "c/b")
    assert found.full.tolist() == [[1, 2], [3, 4]]
    assert found.length == 3
    assert found.mean_to(3).tolist() == [1.5, 3.5]

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.scaling.limits import Curves, degradation_draws, first_above, perplexity_draws, smoothed


def curves(degradation: np.ndarray, documents: int = 8) -> Curves:
    windowed = np.random.default_rng(0).normal(2, 0.2, (documents, degradation.size))
    return Curves(windowed + degradation, windowed, tuple(f"d{i}" for i in range(documents)))


def test_smoothing_is_a_moving_mean():
    values = np.random.default_rng(0).normal(size=(3, 100))
    wanted = np.stack([np.convolve(row, np.ones(7) / 7, "valid") for row in values])
    np.testing.assert_allclose(smoothed(values, 7), wanted, atol=1e-12)


def test_a_step_is_found_where_half_of_the_window_lies_beyond_it():
    # Position p stands at index p - 1. A step of 1 from position 501 on: a window of 32 has a mean above 0.5 when more
    # than 16 of its positions lie beyond, and its middle then is position 501 (to a position).
    step = np.where(np.arange(1, 1000) > 500, 1.0, 0.0)
    [limit] = degradation_draws(curves(step), [0.5], smoothing=32)[0]
    assert limit == pytest.approx(501, abs=1)
    # 0.05 is exceeded by 2 of 32.
    [early] = degradation_draws(curves(step), [0.05], smoothing=32)[0]
    assert early == pytest.approx(501 - 14, abs=1)


def test_what_never_breaks_is_censored_and_thresholds_are_ordered():
    ramp = np.linspace(0, 0.15, 999)
    draws = degradation_draws(curves(ramp), [0.05, 0.1, 0.2], smoothing=16)
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
    draws = degradation_draws(noisy, [0.2], smoothing=8)[1:, 0]
    assert len(np.unique(draws)) > 5
    same = np.tile(np.linspace(0, 1, 500), (10, 1))
    steady = degradation_draws(Curves(2 + same, np.full_like(same, 2), tuple("abcdefghij")), [0.2], smoothing=8)
    assert len(np.unique(steady)) == 1, "equal documents leave nothing to draw"


def test_first_above():
    values = np.array([[0.0, 2.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    assert first_above(values, 1.0, 10).tolist() == [11, math.inf]


def test_texts_must_be_longer_than_the_moving_mean_and_have_a_window():
    with pytest.raises(UserError, match="smoothing is 50; expected less than the 50 scored tokens"):
        degradation_draws(curves(np.zeros(50)), [0.1], smoothing=50)
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

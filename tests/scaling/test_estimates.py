from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

from ropewalk.scaling.estimates import Run, differences, mean, resampled


def draws(rng, model, runs, spread=0.1):
    """A statistic of all documents and of 400 resamples, whose error over documents is ``spread``."""
    return {Run(model, seed): np.r_[value, value + rng.normal(0, spread, 400)] for seed, value in enumerate(runs)}


def test_one_run_has_the_error_of_its_resamples():
    found = resampled(draws(np.random.default_rng(0), "m", [2.0]), 36, 0.95)
    assert (found.value, found.over, found.n_seeds, found.n_models) == (2.0, "documents", 1, 1)
    assert found.high - found.value == pytest.approx(student.ppf(0.975, 35) * 0.1, rel=0.1)


def test_variances_of_models_and_documents_add():
    rng = np.random.default_rng(0)
    values = draws(rng, "a", [1.0, 1.2]) | draws(rng, "b", [2.0, 2.2]) | draws(rng, "c", [3.0, 3.2])
    found = resampled(values, 36, 0.95)
    assert (found.over, found.n_seeds, found.n_models) == ("documents, seeds and models", 2, 3)
    assert found.value == pytest.approx(2.1)
    # Means of models are 1.1, 2.1 and 3.1; six independent columns of draws.
    parts = [(1 / 3, 2), (0.1**2 / 6, 35)]
    freedom = sum(v for v, _ in parts) ** 2 / sum(v**2 / n for v, n in parts)
    half = student.ppf(0.975, freedom) * math.sqrt(sum(v for v, _ in parts))
    assert found.high - found.value == pytest.approx(half, rel=0.02)
    assert found.freedom == pytest.approx(freedom, rel=0.02)
    more = resampled(values, 36, 0.95, [(1.0, 5.0)])
    assert more.high > found.high


def test_seeds_stand_for_themselves_where_there_is_one_model():
    found = resampled(draws(np.random.default_rng(0), "m", [1.0, 2.0, 3.0], spread=0.0), 36, 0.95)
    assert found.over == "documents and seeds"
    assert found.high - found.value == pytest.approx(student.ppf(0.975, 2) / math.sqrt(3))


def test_few_documents_make_no_interval():
    assert math.isnan(resampled(draws(np.random.default_rng(0), "m", [2.0]), 5, 0.95).low)
    assert math.isnan(mean({Run("m", 0): np.arange(5.0)}, 0.95).low)


def test_coverage_over_models_seeds_and_documents():
    """A true value of 0, each model off by 0.2, each of its seeds by 0.1, the documents together by 0.1."""
    rng, covered = np.random.default_rng(1), 0
    for _ in range(400):
        common = rng.normal(0, 0.1)
        values = {}
        for model in "abc":
            own = rng.normal(0, 0.2)
            for seed in (0, 1):
                values[Run(model, seed)] = common + own + rng.normal(0, 0.1)
        # The documents are the same for all: what is drawn of them is, too.
        shift = rng.normal(0, 0.1, 200)
        values = {run: np.r_[value, value + shift] for run, value in values.items()}
        found = resampled(values, 36, 0.95)
        covered += found.low <= 0 <= found.high
    assert covered / 400 > 0.93


def test_differences_are_of_shared_runs():
    one = {Run("m", 0): np.array([3.0]), Run("m", 1): np.array([5.0])}
    assert differences(one, {Run("m", 1): np.array([1.0])}) == {Run("m", 1): np.array([4.0])}


def test_ratios_and_exponentials_keep_the_ends_together():
    found = resampled(draws(np.random.default_rng(0), "m", [math.log(100)]), 36, 0.95).exponential().per(50)
    assert found.value == pytest.approx(2)
    assert found.low < 2 < found.high

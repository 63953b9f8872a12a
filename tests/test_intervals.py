from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ropewalk.intervals import bootstrap, crossed, nested, over_all, quantile_interval, resample_curves, student


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(1).normal(3, 1, 400)
    ours = bootstrap(values)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert ours.excludes_zero


def test_intervals_of_few_documents_cover_what_they_promise():
    rng = np.random.default_rng(0)
    covered = [bootstrap(rng.normal(0, 1, 8)) for _ in range(400)]
    share = np.mean([interval.low <= 0 <= interval.high for interval in covered])
    assert 0.92 < share < 0.98, "the plain percentile interval covers about 0.89"


def test_five_documents_decide_nothing():
    assert not bootstrap(np.full(5, 1.0)).excludes_zero
    assert bootstrap(np.full(6, 1.0)).excludes_zero


def test_one_document_has_no_interval():
    only = bootstrap(np.array([2.0]))
    assert only.mean == 2.0
    assert math.isnan(only.low)
    assert not only.excludes_zero


def test_student_agrees_with_scipy():
    values = [0.3, 0.1, -0.2, 0.4, 0.25]
    ours = student(values, confidence=0.9)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert ours.mean == pytest.approx(np.mean(values))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert not ours.excludes_zero
    assert student(np.array(values) + 1).excludes_zero


def test_one_seed_has_no_interval():
    only = student([2.0])
    assert only.mean == 2.0
    assert math.isnan(only.low)
    assert not only.excludes_zero


def test_resampled_curves_are_means_over_resampled_documents():
    curves = np.random.default_rng(2).normal(size=(9, 40))
    draws = resample_curves(curves, lambda means: means, resamples=500)
    assert draws.shape == (501, 40)
    np.testing.assert_allclose(draws[0], curves.mean(axis=0))
    # Their spread is the standard error of the mean.
    np.testing.assert_allclose(draws[1:].std(axis=0), curves.std(axis=0) / 3, rtol=0.15)
    other = resample_curves(curves + 1, lambda means: means, resamples=500)
    np.testing.assert_allclose(other - draws, 1, err_msg="the same documents are drawn")


def test_long_curves_are_resampled_in_parts(monkeypatch):
    curves = np.random.default_rng(2).normal(size=(6, 100))
    whole = resample_curves(curves, lambda means: means.max(axis=1), resamples=50)
    monkeypatch.setattr("ropewalk.intervals._VALUES_AT_A_TIME", 700)
    seen = []
    parts = resample_curves(curves, lambda means: seen.append(len(means)) or means.max(axis=1), resamples=50)
    assert max(seen) == 7
    np.testing.assert_allclose(parts, whole)


def test_intervals_of_draws_that_may_be_infinite():
    draws = np.array([1.0] * 50 + [2.0] * 30 + [np.inf] * 20)
    assert quantile_interval(draws, 36) == (1.0, np.inf)
    assert all(math.isnan(end) for end in quantile_interval(draws, 5)), "five documents decide nothing"


def test_what_a_difference_says():
    lower, higher, open_ = (student([x - 0.1, x, x + 0.1]) for x in (-2.0, 2.0, 0.05))
    assert [i.better() for i in (lower, higher, open_)] == ["yes", "no", "open"]
    assert [i.better(lower=False) for i in (lower, higher, open_)] == ["no", "yes", "open"]


def test_an_interval_as_columns_and_as_a_perplexity():
    interval = student([1.0, 2.0, 3.0])
    assert interval.columns("nll") == {"nll": 2.0, "nll_low": interval.low, "nll_high": interval.high}
    perplexity = interval.exponential()
    assert (perplexity.mean, perplexity.low) == pytest.approx((math.e**2, math.exp(interval.low)))
    assert (perplexity.count, perplexity.fewest) == (interval.count, interval.fewest)


@pytest.mark.parametrize("spread", [(1.0, 0.0, 0.3), (0.0, 1.0, 0.3), (1.0, 1.0, 1.0)])
def test_intervals_over_repetitions_and_documents_cover_new_ones_of_both(spread):
    of_repetitions, of_documents, rest = spread
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(3000):
        values = rng.normal(0, of_repetitions, (3, 1)) + rng.normal(0, of_documents, 12) + rng.normal(0, rest, (3, 12))
        found = crossed(values)
        covered.append(found.low <= 0 <= found.high)
    # Satterthwaite's approximation may miss what is promised by a point or two.
    assert 0.925 < np.mean(covered) < 0.98


def test_seeds_of_several_models_widen_the_interval_over_models():
    rng = np.random.default_rng(3)
    models = [rng.normal(level, 1.0, (10, 12)) for level in (-0.5, 0.0, 0.5)]
    over_models, over_seeds = nested(models), nested([np.concatenate(models)])
    assert over_models.mean == pytest.approx(over_seeds.mean)
    assert over_models.high - over_models.low > 2 * (over_seeds.high - over_seeds.low)


def test_one_repetition_or_five_documents_have_no_interval_over_both():
    assert math.isnan(crossed(np.ones((1, 12))).low)
    assert math.isnan(crossed(np.ones((4, 5))).high)
    assert not crossed(np.ones((1, 12))).excludes_zero
    same = crossed(np.ones((2, 6)))
    assert (same.low, same.mean, same.high) == (1, 1, 1)


def test_an_interval_says_what_it_is_over():
    values = np.random.default_rng(0).normal(size=(2, 8))
    assert over_all([values, values + 1])[1] == "documents, seeds and models"
    assert over_all([values]) == (crossed(values), "documents and seeds")
    assert over_all([values[:1]]) == (bootstrap(values[0]), "documents")

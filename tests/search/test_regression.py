"""Regressions over ropes whose losses were made up, and over those of a search that was made."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ropewalk.errors import UserError
from ropewalk.intervals import crossed
from ropewalk.search.regression import Tried, Tries, jackknife, read_tries, regressions


def made(factor, *, noise=0.0, models=3, ropes=40, documents=8, seed=0):
    """Ropes whose short cost is 2 r_ker, and whose tail is 1 + 3 g_w1 + 5 r_ker², but for noise."""
    rng = np.random.default_rng([seed, round(factor)])
    causes = rng.uniform([0, 0], [0.4, 0.2], size=(ropes, 2))
    mismatch, distortion = causes.T
    parts = [rng.normal(0, noise, size=shape) for shape in ((models, 1, 1), (1, 1, documents), (1, ropes, 1))]
    shape = (models, ropes, documents)
    short = np.broadcast_to(2 * distortion[None, :, None] + sum(parts), shape)
    tail = np.broadcast_to(1 + (3 * mismatch + 5 * distortion**2)[None, :, None] + sum(parts), shape)
    return Tries(factor, ("",) * ropes, causes, {"short": short, "tail": tail})


def tried(*group):
    models, _, documents = group[0].losses["tail"].shape
    return Tried(128, 1000, np.full(models, 0.6), tuple("abc"[:models]), documents, {"sobol": group})


def value(table, loss, quantity, factor=4.0):
    [row] = table[(table["loss"] == loss) & (table["quantity"] == quantity) & (table["factor"] == factor)].to_dict(
        "records"
    )
    return row


def test_what_is_known_is_found():
    four, eight = made(4.0), made(8.0)
    table = regressions(tried(four, eight), 0.95)
    assert value(table, "short", "rank_correlation")["value"] == pytest.approx(1)
    for quantity in ("explained", "explained_at_other_factor", "explained_on_other_model"):
        assert value(table, "tail", quantity)["value"] == pytest.approx(1)
    mismatch, distortion = four.causes.T
    assert value(table, "tail", "nats_by_g_w1")["value"] == pytest.approx(3 * mismatch.std(ddof=1))
    assert value(table, "tail", "nats_by_r_ker")["value"] == pytest.approx(5 * np.square(distortion).std(ddof=1))
    assert value(table, "short", "nats_by_r_ker")["value"] == pytest.approx(2 * distortion.std(ddof=1))


def test_numbers_are_those_of_other_libraries():
    one = made(4.0, noise=0.2, models=1)
    table = regressions(tried(one), 0.95)
    short, tail = (one.losses[loss].mean(axis=(0, 2)) for loss in ("short", "tail"))
    assert value(table, "short", "rank_correlation")["value"] == pytest.approx(
        spearmanr(one.causes[:, 1], short).statistic
    )
    line = np.polyfit(one.causes[:, 1], short, 1, full=True)
    assert value(table, "short", "explained")["value"] == pytest.approx(
        1 - line[1][0] / np.square(short - short.mean()).sum()
    )
    assert 0.2 < value(table, "tail", "explained")["value"] < 0.99
    assert set(table["quantity"]) == {"rank_correlation", "explained", "nats_by_g_w1", "nats_by_r_ker"}
    assert np.corrcoef(tail, one.design("tail")[:, 1])[0, 1] > 0  # the sign that the slope must have
    assert value(table, "tail", "nats_by_g_w1")["value"] > 0


def test_coefficients_of_another_factor_may_predict_worse_than_the_mean():
    other = made(8.0)
    turned = replace(other, losses={loss: -values for loss, values in other.losses.items()})
    table = regressions(tried(made(4.0), turned), 0.95)
    assert value(table, "tail", "explained_at_other_factor")["value"] < 0


def test_the_jackknife_of_a_mean_is_the_interval_over_both():
    values = np.random.default_rng(0).normal(size=(4, 9))
    found = jackknife(lambda places: float(values[np.ix_(places[0], places[2])].mean()), (4, 1, 9), confidence=0.9)
    known = crossed(values, confidence=0.9)
    assert (found.mean, found.low, found.high) == pytest.approx((known.mean, known.low, known.high))
    assert found.freedom == pytest.approx(known.freedom)


def test_intervals_cover_what_they_should():
    """Slopes of studies whose models, ropes and documents are drawn anew lie in 95 % of intervals, within chance."""
    inside = 0
    for seed in range(60):
        one = made(4.0, noise=0.1, ropes=24, seed=seed)
        # The slope itself, so that what the spread of the causes happens to be adds nothing.
        row = value(regressions(tried(one), 0.95), "tail", "nats_by_g_w1")
        inside += row["value_low"] <= 3 * one.causes[:, 0].std(ddof=1) <= row["value_high"]
    assert inside >= 52


def test_what_searches_tried_is_read(find, tmp_path):
    options = {"sampler": "sobol", "space": "ramp", "budget": 24, "short_cost": 1e3, "documents": 5}
    folders = [
        find(tmp_path / f"{factor:g}-{seed}", factor=factor, seed=seed, **options)
        for factor in (2.0, 4.0)
        for seed in (0, 1)
    ]
    found = read_tries(folders)
    assert found.models == ("dull",)
    assert found.documents == 5
    two, four = found.populations["sobol"]
    # Ropes of both seeds; the first points are the same and stand once.
    assert len(two.names) == len(four.names) > 20
    named = found.populations["first points"][0].names
    assert "yarn" in named
    assert len(set(named)) == len(named)
    assert two.losses["tail"].shape == (1, len(two.names), 5)
    assert np.isfinite(two.losses["short"]).all()
    with pytest.raises(UserError, match="expected sobol"):
        read_tries([find(tmp_path / "gp", **{**options, "sampler": "gp", "budget": 3})])
    trials = pd.read_parquet(folders[0] / "trials.parquet")
    trials.assign(whole=trials["number"] > 3).to_parquet(folders[0] / "trials.parquet")
    with pytest.raises(UserError, match="did not read every rope to the end"):
        read_tries(folders)
    with pytest.raises(UserError, match="fewer than 8 ropes of a Sobol sequence"):
        read_tries([find(tmp_path / "few", **{**options, "budget": 14})])
    columns = {"search": "s", "experiment": "causes", "model": "other"}
    other = find(tmp_path / "other", columns=columns, factor=2.0, seed=1, **{**options, "budget": 12})
    with pytest.raises(UserError, match="the models tried different ropes at 2x"):
        read_tries([folders[1], other])
    with pytest.raises(UserError, match="no search is given"):
        read_tries([])


def test_too_few_documents_have_no_interval():
    table = regressions(tried(made(4.0, noise=0.1, documents=5)), 0.95)
    assert table["value_low"].map(math.isnan).all()

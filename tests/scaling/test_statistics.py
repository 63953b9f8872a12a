"""The statistics, on sweeps whose walls stand where a law wants them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ropewalk.rope.theory import wall
from ropewalk.scaling import statistics
from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.statistics import Options, measure

# One position and a high wall: the limit is the wall, to a token.
OPTIONS = Options(thresholds=(0.5, 2.0), smoothing=1)


def sweep(make_cell, bases, reading="discrete", **more):
    return [make_cell(base, wall(64, 1e4, 128, base, reading=reading), **more) for base in bases]


@pytest.fixture
def measured(make_cell):
    return measure(read_cells(sweep(make_cell, [1e4, 1e5, 1e6])), OPTIONS)


def test_limits_and_their_ratios_to_predictions(measured):
    table = statistics.limit_table(measured, OPTIONS)
    main = table[(table["rule"] == "0.5 nats") & (table["new_base"] > 1e4)]
    assert main["ratio discrete"].to_numpy() == pytest.approx(1, abs=0.01)
    assert main["ratio continuous"].to_numpy() == pytest.approx([329 / 272, 726 / 578], abs=0.02)
    assert (main["low"] == main["limit"]).all(), "a wall at one place in every document has no width"
    never = table[table["rule"] == "2 nats"]
    assert np.isinf(never["limit"]).all()
    assert never["ratio discrete"].isna().all()


def test_the_slope_is_that_of_the_law(measured):
    slope = statistics.slopes(statistics.base_table(measured, OPTIONS), measured[0].cell.setting)[128, 300]
    assert slope.bases == 3
    assert slope.value == pytest.approx(22 / 64, abs=0.002)
    assert slope.discrete == 22 / 64
    assert slope.continuous == pytest.approx(math.log(128 / (2 * math.pi)) / math.log(1e4))
    assert slope.low < slope.discrete < slope.high


@pytest.mark.parametrize("law", ["discrete", "continuous", "last covered pair"])
def test_the_law_that_made_the_walls_is_the_best_predictor(make_cell, law):
    measured = measure(read_cells(sweep(make_cell, [1e5, 1e6], law)), OPTIONS)
    errors = statistics.predictor_errors(measured, OPTIONS)
    assert errors.index[0] == law
    assert errors.loc[law, "error"] == pytest.approx(0, abs=0.01)
    assert errors.loc[law, "ratio"] == pytest.approx(1, abs=0.01)
    assert (errors["behind_low"].iloc[1:] > 0).all()
    assert errors.loc["aliasing", "factor"] > 1000
    assert errors["settings"].tolist() == [2] * len(errors)


def test_a_censored_limit_counts_by_what_a_prediction_falls_short(make_cell):
    measured = measure(read_cells([make_cell(1e6, 1e9)]), OPTIONS)
    errors = statistics.predictor_errors(measured, OPTIONS)
    assert errors.loc["discrete", "error"] == pytest.approx(math.log(2048 / 725.57), abs=1e-3)
    assert errors.loc["similarity", "error"] == 0, "6,235 tokens lie beyond the text"
    assert math.isnan(errors.loc["discrete", "ratio"])


def test_small_bases_have_no_predictor(make_cell):
    assert statistics.predictor_errors(measure(read_cells([make_cell(20, 300)]), OPTIONS), OPTIONS).empty


def test_seeds_make_an_interval(make_cell):
    folders = [make_cell(1e6, limit, seed=seed) for seed, limit in enumerate((600, 700, 800))]
    [row] = statistics.base_table(measure(read_cells(folders), OPTIONS), OPTIONS).to_dict("records")
    assert row["seeds"] == 3
    assert row["limit"] == pytest.approx((601 * 701 * 801) ** (1 / 3), abs=2)
    logs = np.log([601, 701, 801])
    half = 4.302653 * logs.std(ddof=1) / math.sqrt(3)
    assert row["seeds_high"] == pytest.approx(math.exp(logs.mean() + half), rel=5e-3)


def test_short_context_price_is_paired_with_the_original_base(make_cell):
    folders = [make_cell(1e4, 149), make_cell(20, 100, height=0.5)]
    table = statistics.base_table(measure(read_cells(folders), OPTIONS), OPTIONS).set_index("new_base")
    # 27 of the 127 tokens to position 127 lie beyond 100, at about half a nat each.
    price = table.loc[20.0, "short_context_price"]
    assert price == pytest.approx(27 / 127 * 0.5 * (1 + 0.1 * 5.5 / 12), rel=1e-3)
    assert table.loc[1e4, "short_context_price"] == 0


def test_tuning_on_longer_texts_is_held_against_the_law(make_cell):
    folders = [make_cell(1e6, 700), make_cell(1e6, 710, tune_length=256)]
    folders += [make_cell(1e4, 140), make_cell(1e4, 280, tune_length=256)]
    table = statistics.tuning_effects(measure(read_cells(folders), OPTIONS), OPTIONS).set_index("new_base")
    assert table.loc[1e6, ["ratio", "predicted"]].tolist() == pytest.approx([711 / 701, 1], abs=0.003)
    assert table.loc[1e4, ["ratio", "predicted"]].tolist() == pytest.approx([281 / 141, 2], abs=0.02)


def test_log_scaling_is_paired_on_the_same_models(make_cell):
    folders = [make_cell(20, 300, height=1.0), make_cell(20, 300, height=0.4, log_scaled=True)]
    table = statistics.log_scaling_effects(measure(read_cells(folders), OPTIONS), OPTIONS)
    assert table["start"].tolist() == [128, 256, 512, 1024]
    assert table["stop"].tolist()[-1] == 2048
    assert table["difference"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert table["difference"].iloc[-1] == pytest.approx(-0.6 * (1 + 0.1 * 5.5 / 12), rel=1e-3)
    assert table["difference_high"].iloc[-1] < 0


def test_copying_ends_where_accuracy_falls_below_one_half(make_cell):
    folders = [make_cell(1e6, 700, copied=64), make_cell(20, 300, copied=0), make_cell(1e5, 300, copied=999)]
    table = statistics.retrieval_table(measure(read_cells(folders), OPTIONS)).set_index("new_base")
    assert table.loc[20.0, "limit"] == 0
    assert table.loc[1e5, "limit"] == math.inf
    # Half way, in the logarithm, between gaps 64 and 128; twice as many tokens are read.
    assert table.loc[1e6, "limit"] == pytest.approx(2 * 64 * math.sqrt(2))


def test_copy_distance_reads_the_first_fall():
    assert statistics.copy_distance([16, 32, 64], [1.0, 0.75, 0.25]) == pytest.approx(32 * math.sqrt(2))
    assert statistics.copy_distance([16, 32, 64], [0.4, 1.0, 1.0]) == 0
    assert statistics.copy_distance([16, 32], [1.0, 0.5]) == math.inf

from __future__ import annotations

import math

import numpy as np
import pytest

from ropewalk.rope.theory import wall
from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.measured import groups, measure
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.tables import base_table, far_difference, limit_table

# One position and a high wall: the limit is the wall, to a token.
OPTIONS = SweepOptions(experiment="mine", confidence=0.95, thresholds=(0.5, 2.0), smoothing=1)


def read(folders):
    return read_cells([folder / kind for folder in folders for kind in ("nll", "copying")])


@pytest.fixture
def measured(make_cell):
    return measure(read([make_cell(base, wall(64, 1e4, 128, base)) for base in (1e4, 1e5, 1e6)]), OPTIONS)


def test_limits_and_their_ratios_to_predictions(measured):
    table = limit_table(measured, OPTIONS)
    main = table[(table["rule"] == "0.5 nats") & (table["new_base"] > 1e4)]
    assert main["ratio discrete"].to_numpy() == pytest.approx(1, abs=0.01)
    assert main["ratio continuous"].to_numpy() == pytest.approx([329 / 272, 726 / 578], abs=0.02)
    assert (main["low"] == main["limit"]).all(), "a wall at one place in every document has no width"
    never = table[table["rule"] == "2 nats"]
    assert np.isinf(never["limit"]).all()
    assert never["ratio discrete"].isna().all()


def test_seeds_make_an_interval(make_cell):
    folders = [make_cell(1e6, limit, seed=seed) for seed, limit in enumerate((600, 700, 800))]
    [row] = base_table(measure(read(folders), OPTIONS), OPTIONS).to_dict("records")
    assert row["seeds"] == 3
    assert row["limit"] == pytest.approx((601 * 701 * 801) ** (1 / 3), abs=2)
    logs = np.log([601, 701, 801])
    half = 4.302653 * logs.std(ddof=1) / math.sqrt(3)
    assert row["seeds_high"] == pytest.approx(math.exp(logs.mean() + half), rel=5e-3)
    # Equal documents: that over seeds is the wider one, and a single seed has the other alone.
    assert (row["widest_low"], row["widest_high"]) == (row["seeds_low"], row["seeds_high"])
    [one] = base_table(measure(read(folders[:1]), OPTIONS), OPTIONS).to_dict("records")
    assert (one["widest_low"], one["widest_high"]) == (one["low"], one["high"])
    assert (one["seeds"], one["censored"]) == (1, 0)


def test_a_censored_seed_is_counted(make_cell):
    folders = [make_cell(1e6, limit, seed=seed) for seed, limit in enumerate((600, 1e9))]
    [row] = base_table(measure(read(folders), OPTIONS), OPTIONS).to_dict("records")
    assert (row["limit"], row["censored"], row["seeds"]) == (math.inf, 1, 2)


def test_short_context_price_is_paired_with_the_original_base(make_cell):
    folders = [make_cell(1e4, 149), make_cell(20, 100, height=0.5)]
    table = base_table(measure(read(folders), OPTIONS), OPTIONS).set_index("new_base")
    # 27 of the 127 tokens to position 127 lie beyond 100, at about half a nat each.
    price = table.loc[20.0, "short_context_price"]
    assert price == pytest.approx(27 / 127 * 0.5 * (1 + 0.1 * 5.5 / 12), rel=1e-3)
    assert table.loc[1e4, "short_context_price"] == 0


def test_only_seeds_that_both_have_are_compared(make_cell):
    # Seed 1 of the small base is far worse; the original has no seed 1.
    folders = [make_cell(1e4, 149), make_cell(20, 2000), make_cell(20, 50, seed=1, height=3.0)]
    measured = measure(read(folders), OPTIONS)
    table = base_table(measured, OPTIONS).set_index("new_base")
    assert table.loc[20.0, "short_context_price"] == pytest.approx(0, abs=1e-6)
    found = {key.new_base: group for key, group in groups(measured).items()}
    difference = far_difference(found[20.0], found[1e4], OPTIONS)
    assert difference.mean == pytest.approx((47 / 1024 - 1) * (1 + 0.1 * 5.5 / 12), rel=0.01)
    [other] = groups(measure(read([make_cell(41, 500, seed=7)]), OPTIONS)).values()
    assert math.isnan(far_difference(other, found[1e4], OPTIONS).mean), "no seed in common"


def test_what_the_law_predicts_stands_beside_each_base(make_cell):
    folders = [make_cell(20, 300), make_cell(1e4, 149), make_cell(1e6, 700)]
    table = base_table(measure(read(folders), OPTIONS), OPTIONS).set_index("new_base")
    assert math.isnan(table.loc[20.0, "predicted"])
    assert table.loc[1e4, "predicted"] == 128
    assert table.loc[1e6, "predicted"] == pytest.approx(725.57, abs=0.01)

from __future__ import annotations

import math

import numpy as np
import pytest

from ropewalk.rope.theory import wall
from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.measured import groups, measure
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.tables import base_table, far_difference, limit_ratio, limit_table

# A high wall without noise: the limit is the wall, to a token.
OPTIONS = SweepOptions(experiment="mine", confidence=0.95, thresholds=(0.5, 2.0))


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


def bases(folders):
    return {row.key.new_base: row for row in base_table(measure(read(folders), OPTIONS), OPTIONS)}


def test_seeds_make_an_interval(make_cell):
    folders = [make_cell(1e6, limit, seed=seed) for seed, limit in enumerate((600, 700, 800))]
    limit = bases(folders)[1e6].limits["0.5 nats"]
    assert limit.value == pytest.approx((601 * 701 * 801) ** (1 / 3))
    assert (limit.n_seeds, limit.n_models, limit.over) == (3, 1, "documents and seeds")
    # The walls stand at one place in every document: all variance is that of the seeds.
    logs = np.log([601, 701, 801])
    half = 4.302653 * logs.std(ddof=1) / math.sqrt(3)
    assert limit.high == pytest.approx(math.exp(logs.mean() + half), rel=1e-4)


def test_models_make_one_with_their_seeds_in_it(make_cell):
    walls = {("a", 0): 600, ("a", 1): 620, ("b", 0): 700, ("b", 1): 720, ("c", 0): 800, ("c", 1): 820}
    folders = [make_cell(1e6, wall, model=model, seed=seed) for (model, seed), wall in walls.items()]
    limit = bases(folders)[1e6].limits["0.5 nats"]
    assert (limit.n_seeds, limit.n_models, limit.over) == (2, 3, "documents, seeds and models")
    logs = np.log([[601, 621], [701, 721], [801, 821]]).mean(axis=1)
    half = 4.302653 * logs.std(ddof=1) / math.sqrt(3)
    assert limit.high == pytest.approx(math.exp(logs.mean() + half), rel=1e-4)


def test_a_censored_run_is_counted_and_leaves_the_lower_end(make_cell):
    row = bases([make_cell(1e6, limit, seed=seed) for seed, limit in enumerate((1800, 1e9))])[1e6]
    limit = row.limits["0.5 nats"]
    assert (limit.value, limit.high, row.censored["0.5 nats"]) == (math.inf, math.inf, 1)
    assert limit.low < 1801


def test_short_context_price_is_paired_with_the_original_base(make_cell):
    found = bases([make_cell(1e4, 149), make_cell(20, 100, height=0.5)])
    # 27 of the 127 tokens to position 127 lie beyond 100, at about half a nat each.
    assert found[20.0].price.value == pytest.approx(27 / 127 * 0.5 * (1 + 0.1 * 5.5 / 12), rel=1e-3)
    assert found[1e4].price.value == 0
    assert bases([make_cell(41, 100)])[41.0].price is None


def test_only_runs_that_both_have_are_compared(make_cell):
    # Seed 1 of the small base, and its other model, are far worse; the original has neither.
    folders = [make_cell(1e4, 149), make_cell(20, 2000), make_cell(20, 50, seed=1, height=3.0)]
    folders.append(make_cell(20, 50, model="other", height=3.0))
    assert bases(folders)[20.0].price.value == pytest.approx(0, abs=1e-6)
    found = {key.new_base: group for key, group in groups(measure(read(folders), OPTIONS)).items()}
    difference = far_difference(found[20.0], found[1e4], OPTIONS)
    assert difference.value == pytest.approx((47 / 1023 - 1) * (1 + 0.1 * 5.5 / 12), rel=0.01)
    ratio = limit_ratio(found[20.0], found[1e4], "0.5 nats", OPTIONS)
    assert ratio.value == pytest.approx(2001 / 150)
    [other] = groups(measure(read([make_cell(41, 500, seed=7)]), OPTIONS)).values()
    assert far_difference(other, found[1e4], OPTIONS) is None, "no seed in common"
    assert limit_ratio(other, found[1e4], "0.5 nats", OPTIONS) is None


def test_what_the_law_predicts_stands_beside_each_base(make_cell):
    found = bases([make_cell(20, 300), make_cell(1e4, 149), make_cell(1e6, 700)])
    assert found[20.0].predicted is None
    assert found[1e4].predicted == 128
    assert found[1e6].predicted == pytest.approx(725.57, abs=0.01)

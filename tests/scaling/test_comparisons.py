from __future__ import annotations

import pytest

from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.comparisons import contrasts, log_scaling_effects, tuning_effects
from ropewalk.scaling.measured import measure
from ropewalk.scaling.options import SweepOptions

# A high wall without noise: the limit is the wall, to a token.
OPTIONS = SweepOptions(experiment="mine", confidence=0.95, thresholds=(0.5, 2.0))


def read(folders):
    return read_cells([folder / kind for folder in folders for kind in ("nll", "copying")])


def test_tuning_on_longer_texts_is_held_against_the_law(make_cell):
    folders = [make_cell(1e6, 700), make_cell(1e6, 710, tune_length=256), make_cell(1e6, 1400, seed=1)]
    folders += [make_cell(1e4, 140), make_cell(1e4, 280, tune_length=256)]
    table = tuning_effects(measure(read(folders), OPTIONS), OPTIONS)
    found = {one.key.new_base: one for one in table if one.rule == "0.5 nats"}
    # Seed 1 was tuned at one length only.
    assert (found[1e6].ratio.value, found[1e6].predicted) == pytest.approx((711 / 701, 1))
    assert found[1e6].ratio.n_seeds == 1
    assert (found[1e4].ratio.value, found[1e4].predicted) == pytest.approx((281 / 141, 2))
    assert found[1e4].from_length == 128


@pytest.mark.parametrize("walls", [(1e9, 730), (730, 1e9), (1e9, 1e9)])
def test_a_censored_limit_has_no_effect(make_cell, walls):
    folders = [make_cell(1e6, walls[0]), make_cell(1e6, walls[1], tune_length=256)]
    assert tuning_effects(measure(read(folders), OPTIONS), OPTIONS) == []


def test_bases_are_held_against_the_original_and_the_next_smaller_one(make_cell):
    folders = [make_cell(20, 1900), make_cell(41, 500, height=0.5), make_cell(1e4, 140, height=2.0)]
    folders.append(make_cell(1e6, 700))
    table = {(one.key.new_base, one.what): one for one in contrasts(measure(read(folders), OPTIONS), OPTIONS)}
    assert {(base, what): one.other for (base, what), one in table.items()} == {
        (20, "original"): 1e4, (41, "original"): 1e4, (1e6, "original"): 1e4,
        (41, "smaller"): 20, (41, "next"): 20, (1e4, "next"): 41, (1e6, "next"): 1e4,
    }  # fmt: skip
    assert table[41, "smaller"].far.low > 0
    assert table[41, "smaller"].limits["0.5 nats"].value == pytest.approx(501 / 1901)
    assert table[1e6, "next"].far.high < 0


def test_log_scaling_is_paired_on_the_same_models(make_cell):
    folders = [make_cell(20, 300, height=1.0), make_cell(20, 300, height=0.4, log_scaled=True)]
    table = log_scaling_effects(measure(read(folders), OPTIONS), OPTIONS)
    assert [one.start for one in table] == [128, 256, 512, 1024]
    assert table[-1].stop == 2048
    assert table[0].difference.value == pytest.approx(0, abs=1e-6)
    assert table[-1].difference.value == pytest.approx(-0.6 * (1 + 0.1 * 5.5 / 12), rel=1e-3)
    assert table[-1].difference.high < 0

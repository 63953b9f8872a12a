from __future__ import annotations

import math

import pytest

from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.comparisons import log_scaling_effects, tuning_effects
from ropewalk.scaling.measured import measure
from ropewalk.scaling.options import SweepOptions

# One position and a high wall: the limit is the wall, to a token.
OPTIONS = SweepOptions(experiment="mine", confidence=0.95, thresholds=(0.5, 2.0), smoothing=1)


def read(folders):
    return read_cells([folder / kind for folder in folders for kind in ("nll", "copying")])


def test_tuning_on_longer_texts_is_held_against_the_law(make_cell):
    folders = [make_cell(1e6, 700), make_cell(1e6, 710, tune_length=256), make_cell(1e6, 1400, seed=1)]
    folders += [make_cell(1e4, 140), make_cell(1e4, 280, tune_length=256)]
    table = tuning_effects(measure(read(folders), OPTIONS), OPTIONS).set_index("new_base")
    # Seed 1 was tuned at one length only.
    assert table.loc[1e6, ["ratio", "predicted", "seeds"]].tolist() == pytest.approx([711 / 701, 1, 1], abs=0.003)
    assert table.loc[1e4, ["ratio", "predicted"]].tolist() == pytest.approx([281 / 141, 2], abs=0.02)


@pytest.mark.parametrize("walls", [(1e9, 730), (730, 1e9), (1e9, 1e9)])
def test_a_censored_limit_has_no_effect(make_cell, walls):
    folders = [make_cell(1e6, walls[0]), make_cell(1e6, walls[1], tune_length=256)]
    [row] = tuning_effects(measure(read(folders), OPTIONS), OPTIONS).to_dict("records")
    assert all(math.isnan(row[name]) for name in ("ratio", "low", "high"))


def test_log_scaling_is_paired_on_the_same_models(make_cell):
    folders = [make_cell(20, 300, height=1.0), make_cell(20, 300, height=0.4, log_scaled=True)]
    table = log_scaling_effects(measure(read(folders), OPTIONS), OPTIONS)
    assert table["start"].tolist() == [128, 256, 512, 1024]
    assert table["stop"].tolist()[-1] == 2048
    assert table["difference"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert table["difference"].iloc[-1] == pytest.approx(-0.6 * (1 + 0.1 * 5.5 / 12), rel=1e-3)
    assert table["difference_high"].iloc[-1] < 0

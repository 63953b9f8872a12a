from __future__ import annotations

import math

import numpy as np
import pytest

from ropewalk.rope.theory import wall
from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.measured import Options, measure
from ropewalk.scaling.predictors import predictor_errors, slopes

# One position and a high wall: the limit is the wall, to a token.
OPTIONS = Options(thresholds=(0.5, 2.0), smoothing=1)


def sweep(make_cell, bases, reading="discrete", **more):
    folders = [make_cell(base, wall(64, 1e4, 128, base, reading=reading), **more) for base in bases]
    return measure(read_cells(folders), OPTIONS)


def test_the_slope_is_that_of_the_law_with_the_original_base_and_without(make_cell):
    walls, whole = slopes(sweep(make_cell, [1e4, 1e5, 3e5, 1e6]), OPTIONS)
    assert (walls.original, walls.bases) == (False, 3)
    assert (whole.original, whole.bases) == (True, 4)
    for slope in (walls, whole):
        assert slope.value == pytest.approx(22 / 64, abs=0.002)
        assert slope.discrete == 22 / 64
        assert slope.continuous == pytest.approx(math.log(128 / (2 * math.pi)) / math.log(1e4))
        assert slope.low < slope.discrete < slope.high


def test_a_slope_of_a_line_that_scatters_has_the_interval_of_its_regression(make_cell):
    bases, limits = np.array([1e5, 3e5, 1e6]), np.array([330, 540, 700])
    [slope] = slopes(
        measure(read_cells([make_cell(b, n) for b, n in zip(bases, limits, strict=True)]), OPTIONS), OPTIONS
    )
    x, y = np.log(bases), np.log(limits + 1)
    value = np.polyfit(x, y, 1)[0]
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    error = math.sqrt(residual @ residual / 1 / ((x - x.mean()) @ (x - x.mean())))
    assert slope.value == pytest.approx(value, rel=1e-3)
    assert slope.high - slope.value == pytest.approx(12.7062 * error, rel=0.02)
    assert slope.documents_low == pytest.approx(slope.value), "the walls stand at one place in every document"
    assert slope.verdict == "undecided"


def test_censored_bases_are_left_out_of_a_slope_and_counted(make_cell):
    folders = [make_cell(1e5, 329), make_cell(3e5, 480), make_cell(1e6, 1e9)]
    [slope] = slopes(measure(read_cells(folders), OPTIONS), OPTIONS)
    assert (slope.bases, slope.censored) == (2, 1)
    assert math.isnan(slope.low)
    assert slope.verdict == "undecided"
    assert slopes(measure(read_cells(folders[:1]), OPTIONS), OPTIONS) == []


@pytest.mark.parametrize("law", ["discrete", "continuous", "last covered pair"])
def test_the_law_that_made_the_walls_is_the_best_predictor(make_cell, law):
    measured = sweep(make_cell, [1e5, 1e6], law)
    errors = predictor_errors(measured, OPTIONS)
    assert errors.index[0] == law
    assert errors.loc[law, "error"] == pytest.approx(0, abs=0.01)
    assert errors.loc[law, "ratio"] == pytest.approx(1, abs=0.01)
    assert (errors["behind_low"].iloc[1:] > 0).all()
    assert errors.loc["aliasing", "factor"] > 1000
    assert errors["settings"].tolist() == [2] * len(errors)


def test_a_censored_limit_counts_by_what_a_prediction_falls_short(make_cell):
    measured = measure(read_cells([make_cell(1e6, 1e9)]), OPTIONS)
    errors = predictor_errors(measured, OPTIONS)
    assert errors.loc["discrete", "error"] == pytest.approx(math.log(2048 / 725.57), abs=1e-3)
    assert errors.loc["similarity", "error"] == 0, "6,235 tokens lie beyond the text"
    assert math.isnan(errors.loc["discrete", "ratio"])


def test_small_bases_have_no_predictor(make_cell):
    assert predictor_errors(measure(read_cells([make_cell(20, 300)]), OPTIONS), OPTIONS).empty

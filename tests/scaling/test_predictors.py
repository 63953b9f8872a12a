from __future__ import annotations

import math

import numpy as np
import pytest

from ropewalk.rope.theory import wall
from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.measured import measure
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.predictors import predictor_errors, slopes

# One position and a high wall: the limit is the wall, to a token.
OPTIONS = SweepOptions(experiment="mine", confidence=0.95, thresholds=(0.5, 2.0), smoothing=1)


def read(folders):
    return read_cells([folder / kind for folder in folders for kind in ("nll", "copying")])


def sweep(make_cell, bases, reading="discrete", **more):
    folders = [make_cell(base, wall(64, 1e4, 128, base, reading=reading), **more) for base in bases]
    return measure(read(folders), OPTIONS)


def test_the_slope_is_that_of_the_law_with_the_original_base_and_without(make_cell):
    walls, whole = slopes(sweep(make_cell, [1e4, 1e5, 3e5, 1e6]), OPTIONS)
    assert (walls.original, walls.bases) == (False, 3)
    assert (whole.original, whole.bases) == (True, 4)
    for slope in (walls, whole):
        assert slope.value == pytest.approx(22 / 64, abs=0.002)
        assert slope.discrete == 22 / 64
        assert slope.continuous == pytest.approx(math.log(128 / (2 * math.pi)) / math.log(1e4))
        assert slope.band == pytest.approx(math.log(128 / 3.65721) / math.log(1e4)) == pytest.approx(0.386, abs=5e-4)
        assert slope.low < slope.discrete < slope.high
        assert slope.dropped == 0


def test_a_slope_of_a_line_that_scatters_has_the_interval_of_its_regression(make_cell):
    bases, limits = np.array([1e5, 3e5, 1e6]), np.array([330, 540, 700])
    [slope] = slopes(measure(read([make_cell(b, n) for b, n in zip(bases, limits, strict=True)]), OPTIONS), OPTIONS)
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
    [slope] = slopes(measure(read(folders), OPTIONS), OPTIONS)
    assert (slope.bases, slope.censored) == (2, 1)
    assert math.isnan(slope.low)
    assert slope.verdict == "undecided"
    assert slopes(measure(read(folders[:1]), OPTIONS), OPTIONS) == []


@pytest.mark.parametrize("law", ["discrete", "continuous", "last covered pair"])
def test_the_law_that_made_the_walls_is_the_best_predictor(make_cell, law):
    measured = sweep(make_cell, [1e5, 1e6], law)
    errors = predictor_errors(measured, OPTIONS)
    assert errors.index[0] == law
    assert errors.loc[law, "error"] == pytest.approx(0, abs=0.01)
    assert errors.loc[law, "ratio"] == pytest.approx(1, abs=0.01)
    assert (errors["behind_low"].iloc[1:] > 0).all()
    assert errors["worse"].tolist() == [False, *[True] * (len(errors) - 1)]
    assert errors.loc["aliasing", "factor"] > 1000
    assert errors["settings"].tolist() == [2] * len(errors)


def test_a_censored_limit_counts_by_what_a_prediction_falls_short(make_cell):
    measured = measure(read([make_cell(1e6, 1e9)]), OPTIONS)
    errors = predictor_errors(measured, OPTIONS)
    assert errors.loc["discrete", "error"] == pytest.approx(math.log(2048 / 725.57), abs=1e-3)
    assert errors.loc["similarity", "error"] == 0, "6,235 tokens lie beyond the text"
    assert math.isnan(errors.loc["discrete", "ratio"])


def test_small_bases_have_no_predictor(make_cell):
    assert predictor_errors(measure(read([make_cell(20, 300)]), OPTIONS), OPTIONS).empty


def at(make_cell, walls):
    """Errors of walls at ``(base, tuning length): tokens``."""
    folders = [make_cell(base, tokens, tune_length=tuned) for (base, tuned), tokens in walls.items()]
    return predictor_errors(measure(read(folders), OPTIONS), OPTIONS)


def test_a_lead_that_one_base_carries_is_none(make_cell):
    # Two bases where the band says, a third far nearer to the discrete law, which leads by it alone.
    def band(base):
        return 3.65721 * base ** (math.log(128 / 3.65721) / math.log(1e4))

    def discrete(base):
        return wall(64, 1e4, 128, base)

    between = {1e5: (band(1e5) * discrete(1e5)) ** 0.5, 3e5: band(3e5), 1e7: discrete(1e7)}
    errors = at(make_cell, {(base, 128): tokens for base, tokens in between.items()})
    assert errors.index[0] == "discrete"
    band_row = errors.loc["frequency band"]
    assert band_row["behind_low"] > 0
    assert band_row["carriers"] == (1e7,)
    assert not band_row["worse"]
    assert errors.loc["continuous", "worse"]


def test_a_base_tuned_at_two_lengths_counts_once(make_cell):
    errors = at(make_cell, {(1e6, 128): 725, (1e6, 256): 725, (3e5, 128): 2 * wall(64, 1e4, 128, 3e5)})
    assert errors.loc["discrete", "error"] == pytest.approx(math.log(2) / 2, abs=2e-3)
    assert errors.loc["discrete", ["settings", "bases"]].tolist() == [3, 2]


def test_a_bound_that_fits_best_leads_no_law(make_cell):
    # Similarity ends at 6,235 tokens for base 1e6, beyond the text, and the wall is never reached.
    errors = at(make_cell, {(1e6, 128): 1e9, (1e5, 128): 1e9})
    bounds = ["similarity", "aliasing", "stability"]
    assert set(errors.index[:3]) == set(bounds)
    assert (errors.loc[bounds, "behind"] < 0).all()
    assert not errors.loc[bounds, "worse"].any()
    walls = errors.drop(index=bounds)
    assert walls["behind"].iloc[0] == 0
    assert (walls["behind"].iloc[1:] > 0).all()

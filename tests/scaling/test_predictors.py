from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ropewalk.rope.theory import wall
from ropewalk.scaling.cells import read_cells
from ropewalk.scaling.measured import measure
from ropewalk.scaling.options import SweepOptions
from ropewalk.scaling.predictors import predictor_errors, slopes

# A high wall without noise: the limit is the wall, to a token.
OPTIONS = SweepOptions(experiment="mine", confidence=0.95, thresholds=(0.5, 2.0))


def read(folders):
    return read_cells([folder / kind for folder in folders for kind in ("nll", "copying")])


def sweep(make_cell, bases, reading="discrete", **more):
    folders = [make_cell(base, wall(64, 1e4, 128, base, reading=reading), **more) for base in bases]
    return measure(read(folders), OPTIONS)


def by_rule(measured, rule="0.5 nats"):
    """Slopes by a rule."""
    return [slope for slope in slopes(measured, OPTIONS) if slope.rule == rule]


def errors_of(measured, rule="0.5 nats"):
    """Errors by law, best first, by a rule."""
    return {error.law: error for error in predictor_errors(measured, OPTIONS) if error.rule == rule}


def test_the_slope_is_that_of_the_law_for_walls_alone(make_cell):
    measured = sweep(make_cell, [1e4, 1e5, 3e5, 1e6])
    [slope] = by_rule(measured)
    assert slope.bases == 3
    assert slope.found.value == pytest.approx(22 / 64, abs=0.002)
    assert slope.discrete == 22 / 64
    assert slope.continuous == pytest.approx(math.log(128 / (2 * math.pi)) / math.log(1e4))
    assert slope.band == pytest.approx(math.log(128 / 3.65721) / math.log(1e4)) == pytest.approx(0.386, abs=5e-4)
    assert slope.verdict == "agrees"
    assert [one.rule for one in slopes(measured, OPTIONS)] == ["0.5 nats", "perplexity × 1.1"]


def test_a_slope_of_a_line_that_scatters_has_the_interval_of_its_regression(make_cell):
    bases, limits = np.array([1e5, 3e5, 1e6]), np.array([330, 540, 700])
    [slope] = by_rule(measure(read([make_cell(b, n) for b, n in zip(bases, limits, strict=True)]), OPTIONS))
    fit = stats.linregress(np.log(bases), np.log(limits + 1))
    assert slope.found.value == pytest.approx(fit.slope)
    # The walls stand at one place in every document: all variance is that of the bases.
    assert slope.found.high - slope.found.value == pytest.approx(12.7062 * fit.stderr, rel=1e-3)
    assert slope.found.over == "bases, documents"


def test_models_and_seeds_are_in_the_interval_of_a_slope(make_cell):
    walls = {"a": 0.30, "b": 0.34, "c": 0.38}
    folders = [
        make_cell(base, 10 * base**power, model=model, seed=seed)
        for model, power in walls.items()
        for seed in (0, 1)
        for base in (3e4, 1e5, 3e5)
    ]
    [slope] = by_rule(measure(read(folders), OPTIONS))
    assert slope.found.value == pytest.approx(0.34, abs=2e-3)
    assert (slope.found.n_models, slope.found.n_seeds) == (3, 2)
    assert slope.found.over == "bases, documents, seeds and models"
    assert slope.found.high - slope.found.value == pytest.approx(4.303 * 0.04 / math.sqrt(3), rel=0.03)
    # A base that one run lacks is compared on the others.
    assert by_rule(measure(read(folders[:-1]), OPTIONS))[0].found.n_models == 3


def test_censored_bases_are_left_out_of_a_slope_and_counted(make_cell):
    folders = [make_cell(1e5, 329), make_cell(3e5, 480), make_cell(1e6, 1e9)]
    [slope] = by_rule(measure(read(folders), OPTIONS))
    assert (slope.bases, slope.censored) == (2, 1)
    assert math.isnan(slope.found.low)
    assert slope.verdict == "undecided"
    assert slopes(measure(read(folders[:1]), OPTIONS), OPTIONS) == []


@pytest.mark.parametrize("law", ["discrete", "continuous", "last covered pair"])
def test_the_law_that_made_the_walls_is_the_best_predictor(make_cell, law):
    first, *others = errors_of(sweep(make_cell, [1e5, 1e6], law)).values()
    assert first.law == law
    assert first.error.value == pytest.approx(0, abs=0.01)
    assert first.ratio == pytest.approx(1, abs=0.01)
    assert not first.worse
    assert all(one.behind.low > 0 and one.worse and one.settings == 2 for one in others)
    assert next(one for one in others if one.law == "aliasing").factor > 1000


def test_a_censored_limit_counts_by_what_a_prediction_falls_short(make_cell):
    errors = errors_of(measure(read([make_cell(1e6, 1e9)]), OPTIONS))
    assert errors["discrete"].error.value == pytest.approx(math.log(2048 / 725.57), abs=1e-3)
    assert errors["similarity"].error.value == 0, "6,235 tokens lie beyond the text"
    assert errors["discrete"].ratio is None


def test_small_bases_have_no_predictor(make_cell):
    assert predictor_errors(measure(read([make_cell(20, 300)]), OPTIONS), OPTIONS) == []


def at(make_cell, walls):
    """Errors of walls at ``(base, tuning length): tokens``."""
    folders = [make_cell(base, tokens, tune_length=tuned) for (base, tuned), tokens in walls.items()]
    return errors_of(measure(read(folders), OPTIONS))


def test_a_lead_that_one_base_carries_is_none(make_cell):
    # Two bases where the band says, a third far nearer to the discrete law, which leads by it alone.
    def band(base):
        return 3.65721 * base ** (math.log(128 / 3.65721) / math.log(1e4))

    def discrete(base):
        return wall(64, 1e4, 128, base)

    between = {1e5: (band(1e5) * discrete(1e5)) ** 0.5, 3e5: band(3e5), 1e7: discrete(1e7)}
    errors = at(make_cell, {(base, 128): tokens for base, tokens in between.items()})
    assert next(iter(errors)) == "discrete"
    assert errors["frequency band"].behind.low > 0
    assert errors["frequency band"].carriers == (1e7,)
    assert not errors["frequency band"].worse
    assert errors["continuous"].worse


def test_a_base_tuned_at_two_lengths_counts_once(make_cell):
    errors = at(make_cell, {(1e6, 128): 725, (1e6, 256): 725, (3e5, 128): 2 * wall(64, 1e4, 128, 3e5)})
    assert errors["discrete"].error.value == pytest.approx(math.log(2) / 2, abs=2e-3)
    assert (errors["discrete"].settings, errors["discrete"].bases) == (3, 2)


def test_a_bound_that_fits_best_leads_no_law(make_cell):
    # Similarity ends at 6,235 tokens for base 1e6, beyond the text, and the wall is never reached.
    errors = at(make_cell, {(1e6, 128): 1e9, (1e5, 128): 1e9})
    bounds = {"similarity", "aliasing", "stability"}
    assert set(list(errors)[:3]) == bounds
    assert all(errors[law].behind.value < 0 and not errors[law].worse for law in bounds)
    first, *others = (error for law, error in errors.items() if law not in bounds)
    assert first.behind.value == 0
    assert all(error.behind.low > 0 for error in others)

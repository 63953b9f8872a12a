from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import qmc

from ropewalk.rope import default_rope
from ropewalk.search.rivals import (
    CROSSOVERS,
    MUTATIONS,
    PARENTS,
    POPULATION,
    Tried,
    evolution,
    scan,
    sobol,
)
from ropewalk.search.spaces import make_space

TABLE = default_rope(64, 10_000.0, 128)


def search(propose, space, loss, trials, seed=0, given=()):
    history = list(given)
    while len(history) < trials:
        values = propose(space, history, len(history), seed)
        history.append(Tried(values, loss(space.log_divisors(values)), 0.0))
    return history


def bowl(log_divisors):
    """Least for the first half of the pairs left alone and the others divided by four."""
    target = np.where(np.arange(32) < 16, 0.0, math.log(4))
    return float(np.square(log_divisors - target).mean())


def test_sobol_points_are_those_of_the_sequence_whoever_asks():
    space = make_space("ramp", TABLE, 4)
    whole = qmc.Sobol(6, seed=3).random(8)
    u = [sobol(space, [], n, 3)["u"] for n in range(8)]
    np.testing.assert_allclose(u, whole[:, 4])


def test_evolution_stays_monotone_and_gets_better():
    space = make_space("pairs", TABLE, 4)
    history = search(evolution, space, bowl, 400)
    for trial in history:
        factors = [trial.values[name] for name in space.free]
        assert np.all(np.diff(np.maximum.accumulate(factors)) >= 0)
        assert factors[0] >= 1
        assert factors[-1] <= 5.0
    best = np.minimum.accumulate([trial.objective for trial in history])
    assert best[-1] < 0.85 * best[0]
    # The budgets of a small study and of LongRoPE are whole generations.
    assert [divmod(n - POPULATION, MUTATIONS + CROSSOVERS) for n in (192, 1344)] == [(10, 0), (82, 0)]


def test_evolution_moves_every_number_of_any_space_within_its_bounds():
    for name in ("ramp", "bands", "pairs"):
        space = make_space(name, TABLE, 4)
        # Slower pairs are divided by more, so that each has room between its neighbours.
        middle = {p.name: p.at(0.2 + 0.6 * k / len(space.parameters)) for k, p in enumerate(space.parameters)}
        start = Tried(middle, 0.0, 0.0, given=True)
        children = [evolution(space, [start], number, 0) for number in range(1, POPULATION)]
        for p in space.parameters:
            assert len({child[p.name] for child in children}) > 1, p.name
            assert all(p.low <= child[p.name] <= p.high for child in children)


def test_evolution_finds_the_bottom_of_a_bowl_in_few_numbers():
    """Ten generations halve the distance of what its first population had, in the temperature too."""
    space = make_space("ramp", TABLE, 4)
    history: list[Tried] = []
    while len(history) < 192:
        values = evolution(space, history, len(history), 0)
        history.append(Tried(values, bowl(space.log_divisors(values)) + (10 * (values["c"] - 0.03)) ** 2, 0.0))
    best = np.minimum.accumulate([trial.objective for trial in history])
    assert best[-1] < 0.5 * best[POPULATION - 1]
    assert min(history, key=lambda trial: trial.rank).values["c"] == pytest.approx(0.03, abs=0.03)


def test_a_generation_is_bred_from_those_before_it_alone():
    space = make_space("pairs", TABLE, 4)
    history = search(evolution, space, bowl, POPULATION + 40)
    number = POPULATION + MUTATIONS + 2
    again = evolution(space, history[:number], number, 0)
    worse = [*history[:POPULATION], *(Tried(t.values, -100.0, 0.0) for t in history[POPULATION:number])]
    assert again == history[number].values == evolution(space, worse, number, 0)


def test_evolution_prefers_what_is_allowed():
    space = make_space("pairs", TABLE, 4)
    base = dict.fromkeys(space.free, 4.0) | {"c": 0.1}
    forbidden = [Tried({**base, "c": 0.0}, -5.0, 0.3) for _ in range(POPULATION - PARENTS)]
    allowed = [Tried(base, 1.0, 0.0) for _ in range(PARENTS)]
    crosses = range(POPULATION + MUTATIONS, POPULATION + MUTATIONS + CROSSOVERS)
    children = [evolution(space, [*forbidden, *allowed], number, 0) for number in crosses]
    assert {child["c"] for child in children} == {0.1}


def test_a_scan_keeps_the_best_level_of_each_group():
    space = make_space("groups", TABLE, 4)
    history = search(scan, space, bowl, 64)
    grid = np.linspace(0, 5, 8)
    last = history[-8:]
    for k in range(7):
        target = 0.0 if k < 4 else 2.0
        nearest = grid[int(np.argmin(np.abs(grid - target)))]
        assert {trial.values[f"g{k}"] for trial in last} == {nearest}
    assert [trial.values["g0"] for trial in history[:8]] == pytest.approx(grid)
    assert {trial.values["g7"] for trial in history[:8]} == {3.0}  # twice the factor of four


def test_ranks_put_what_is_allowed_first():
    best, worse, off, further = (Tried({}, 1.0, -0.1), Tried({}, 2.0, 0.0), Tried({}, -9.0, 0.1), Tried({}, -9.0, 0.2))
    assert sorted([further, worse, off, best], key=lambda t: t.rank) == [best, worse, off, further]

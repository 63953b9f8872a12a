"""Known methods are points of the spaces; every point is a rope."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.rope import default_rope, methods
from ropewalk.search.by_hand import BY_HAND
from ropewalk.search.causes import sobol_values
from ropewalk.search.spaces import SPACES, make_space

LLAMA2 = default_rope(128, 10_000.0, 4096)
LLAMA3 = default_rope(128, 500_000.0, 8192)


def points(space, count=64, seed=0):
    return sobol_values(space, np.random.default_rng(seed).random((count, len(space.parameters))))


@pytest.mark.parametrize("name", SPACES)
def test_every_point_is_a_rope_on_the_table(name):
    space = make_space(name, LLAMA2, 4)
    for values in points(space):
        rope = space.rope(values)
        assert rope.static
        assert rope.original_length == 4096
        assert np.all(rope.inv_freq > 0)
        assert rope.attention_factor == pytest.approx(1 + values.get("c", 0.1) * math.log(4))
        if name not in ("groups", "wavelengths", "free-wavelengths"):
            assert np.all(np.diff(np.log(rope.factors)) >= -1e-9)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("name", ["ramp", "bands"])
def test_closed_forms_are_exact_points(name, factor):
    space = make_space(name, LLAMA2, factor)
    for rope in (methods.pi(LLAMA2, factor=factor), methods.ntk(LLAMA2, factor=factor)):
        found = space.rope(space.point(rope))
        np.testing.assert_allclose(found.inv_freq, rope.inv_freq, rtol=1e-6)
        assert found.attention_factor == pytest.approx(rope.attention_factor)


def power_between_fixed_ends(rope, factor):
    """The power of the index that fits best between the rounded indices of 32 turns and of one, as YaRN takes them."""
    index = make_space("ramp", LLAMA2, factor).index
    low, high = math.floor(index(32)), math.ceil(index(1))
    x = np.clip((np.arange(64) - low) / (high - low), 0, 1)
    tried = np.arange(0.3, 4, 0.01)
    return tried[np.argmin([np.square(x**p - np.log(rope.factors) / math.log(factor)).sum() for p in tried])]


def test_powers_of_the_ramps_by_hand():
    """YaRN as coded is a power of the index that grows with the factor; MrRoPE-Pro is one, whatever the factor."""
    for factor, power in ((2, 1.26), (4, 1.58), (8, 1.99), (16, 2.50), (32, 3.11)):
        assert power_between_fixed_ends(methods.yarn(LLAMA2, factor=factor), factor) == pytest.approx(power, abs=0.011)
        assert power_between_fixed_ends(methods.mrrope_uni(LLAMA2, factor=factor), factor) == pytest.approx(1)
        assert power_between_fixed_ends(methods.mrrope_pro(LLAMA2, factor=factor), factor) == pytest.approx(
            1.95, abs=0.02
        )


@pytest.mark.parametrize("factor", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("table", [LLAMA2, LLAMA3], ids=["llama2", "llama3"])
def test_ramps_are_points_as_near_as_their_shape_allows(table, factor):
    space, unit = make_space("ramp", table, factor), math.log(factor)
    assert space.distance(methods.mrrope_uni(table, factor=factor)) < 1e-6
    assert space.distance(methods.mrrope_pro(table, factor=factor)) / unit < 0.002
    assert space.distance(methods.yarn(table, factor=factor)) / unit < 0.03
    assert space.distance(methods.yarn_written(table, factor=factor)) / unit < 0.03


def test_bands_stand_at_the_methods_knots():
    space = make_space("bands", LLAMA2, 8)
    for rope in (methods.yarn(LLAMA2, factor=8), methods.mrrope_pro(LLAMA2, factor=8)):
        found = space.log_divisors(space.point(rope))
        wanted = np.interp(space.knots, np.arange(64), np.log(rope.factors))
        np.testing.assert_allclose(np.interp(space.knots, np.arange(64), found), wanted, atol=0.03)


def test_broken_sticks_are_uniform_on_the_simplex():
    """The mean share of each of seven pieces is a seventh, and its variance that of a flat Dirichlet law."""
    space = make_space("bands", LLAMA2, 4)
    at_knots = [
        np.interp(space.knots, np.arange(64), space.log_divisors({**values, "u": 0.0, "kappa": 0.0})) / math.log(4)
        for values in points(space, 4000)
    ]
    shares = np.diff(np.array(at_knots), axis=1)
    inner = shares[:, 1:-1]  # the first and last knot are whole indices; those between are interpolated
    np.testing.assert_allclose(inner.mean(axis=0), 1 / 7, atol=0.03)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_the_tail_grows_as_ntk_up_to_its_critical_pair():
    space = make_space("tail", LLAMA2, 4)
    values = points(space, 1)[0] | {"k": 40.0}
    log_divisors = space.log_divisors(values)
    np.testing.assert_allclose(np.diff(log_divisors[:41]), log_divisors[40] / 40)
    assert np.all((log_divisors[40:] >= math.log(4)) & (log_divisors[40:] <= math.log(8) + 1e-12))
    bounds = space.parameters[0]
    # Pairs of ten turns and of one turn within 4,096 tokens: 128 ln(4096 / (2 pi t)) / (2 ln 10^4).
    assert (bounds.low, bounds.high) == (30, 46)


def test_groups_need_not_be_monotone_and_reach_eight_times_the_factor():
    space = make_space("groups", LLAMA2, 4)
    values = {f"g{k}": float(level) for k, level in enumerate([2, 0, 5, 1, 3, 4, 2, 0])} | {"c": 0.0}
    factors = space.rope(values).factors
    np.testing.assert_allclose(factors[::8], [4, 1, 32, 2, 8, 16, 4, 1])
    assert space.parameters[0].high == pytest.approx(5)


@pytest.mark.parametrize("name", ["yarn", "mrrope-uni", "mrrope-pro"])
def test_a_tuned_method_is_the_method_with_its_constants(name):
    space, method = make_space(name, LLAMA2, 4), getattr(methods, name.replace("-", "_"))
    first, *_ = space.points.values()
    assert space.rope(first) == method(LLAMA2, factor=4)
    for values in space.points.values():
        assert values["beta_fast"] > values["beta_slow"]
        assert space.rope(values) == method(LLAMA2, factor=4, **values)
        assert space.log_divisors(space.point(space.rope(values))) == pytest.approx(space.log_divisors(values))


def test_a_grid_has_no_rope_twice_and_no_ramp_that_ends_before_it_starts():
    # At 4,096 tokens all ends differ: 8 times 3, without those from 1.5 and from 2 turns to 2.
    assert len(make_space("yarn", LLAMA2, 4).points) == 22
    # At 128 tokens the fastest pair turns 20.4 times: 32 turns and 16 make one rope.
    small = make_space("yarn", default_rope(64, 10_000.0, 128), 4)
    assert not [values for values in small.points.values() if values["beta_fast"] == 16]
    assert "beta_fast 3, beta_slow 1" in small.points


def test_a_step_divides_the_pairs_that_turn_less():
    """At 128 tokens and base 10,000, pair i of 32 makes 20.37 · 10^(-i/8) turns: 1.4 are between pairs 9 and 10."""
    space = make_space("step", default_rope(64, 10_000.0, 128), 4)
    assert space.rope({"turns": 1.4}).factors.tolist() == pytest.approx([1] * 10 + [4] * 22)
    assert space.rope({"turns": 1.4}).attention_factor == pytest.approx(1 + 0.1 * math.log(4))


def test_the_steepest_ramp_is_a_step():
    space = make_space("ramp", LLAMA2, 4)
    values = {"alpha": 1.0, "rho": 1.0, "p": 1.0, "kappa": 0.0, "u": 0.0, "c": 0.1}
    factors = space.rope(values).factors
    turns = LLAMA2.turns
    assert factors[turns > 1.01].tolist() == pytest.approx([1.0] * int((turns > 1.01).sum()))
    assert factors[turns < 0.99].tolist() == pytest.approx([4.0] * int((turns < 0.99).sum()))


def test_bounds_that_a_point_lies_on():
    space = make_space("ramp", LLAMA2, 4)
    inside = {p.name: p.at(0.5) for p in space.parameters}
    assert space.on_bounds(inside) == {}
    assert space.on_bounds(inside | {"rho": 1.0, "p": 7.99}) == {"rho": 1.0, "p": 8.0}
    assert space.on_bounds(inside | {"p": 7.5}) == {}


def test_shares_of_a_range_and_back():
    for p in make_space("ramp", LLAMA2, 4).parameters:
        assert [p.at(0), p.at(1)] == pytest.approx([p.low, p.high])
        assert p.share(p.at(0.3)) == pytest.approx(0.3)
    [rho] = [p for p in make_space("ramp", LLAMA2, 4).parameters if p.name == "rho"]
    assert rho.at(0.5) == pytest.approx(math.sqrt(rho.high))  # on a logarithmic scale from 1


@pytest.mark.parametrize("factor", [2, 8])
@pytest.mark.parametrize("name", BY_HAND)
def test_hand_made_methods_are_tuned_at_every_factor(name, factor):
    for values in make_space(name, LLAMA2, factor).points.values():
        assert make_space(name, LLAMA2, factor).rope(values).static


@pytest.mark.parametrize(("factor", "said"), [(1, "factor is 1; expected more than 1"), (0.5, "factor is 0.5")])
def test_a_target_within_the_training_length_is_refused(factor, said):
    with pytest.raises(UserError, match=said):
        make_space("ramp", LLAMA2, factor)


def test_other_faults_are_one_sentence():
    with pytest.raises(UserError, match="space 'rmap': expected one of ramp, mapped-ramp, bands"):
        make_space("rmap", LLAMA2, 4)
    with pytest.raises(UserError, match="changed already"):
        make_space("ramp", methods.yarn(LLAMA2, factor=2), 4)
    with pytest.raises(UserError, match="rotary_dim is 8; expected more than 16"):
        make_space("bands", default_rope(8, 1e4, 128), 4)


def test_a_mapped_ramp_is_a_ramp_with_a_map_and_no_map_is_in_it():
    space, ramp = make_space("mapped-ramp", LLAMA2, 4), make_space("ramp", LLAMA2, 4)
    yarn = methods.yarn(LLAMA2, factor=4)
    values = space.point(yarn)
    assert (values["window"], values["group"]) == (LLAMA2.original_length, 1.0)
    rope = space.rope(values)
    np.testing.assert_allclose(rope.inv_freq, ramp.rope(ramp.point(yarn)).inv_freq)
    positions = np.arange(0, 16_384, 97)
    # A divisor of 1 leaves every distance as it is.
    np.testing.assert_allclose(
        np.tril(rope.position_map.relative(positions, positions)), np.tril(positions[:, None] - positions[None])
    )
    mapped = space.rope({**values, "window": 512.0, "group": 8.0})
    assert (mapped.position_map.window, mapped.position_map.group) == (512, 8.0)
    assert space.distance(yarn) == pytest.approx(ramp.distance(yarn))

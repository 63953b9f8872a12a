"""Wavelengths near those that Resonance RoPE rounds to."""

from __future__ import annotations

import numpy as np
import pytest

from ropewalk.rope import default_rope, methods
from ropewalk.search.causes import sobol_values
from ropewalk.search.spaces import make_space
from ropewalk.search.study import first_points

TABLE = default_rope(64, 10_000.0, 128)


def points(space, count=64):
    return sobol_values(space, np.random.default_rng(0).random((count, len(space.parameters))))


def test_the_first_point_is_resonance_on_yarn():
    """Its wavelengths are those of the paper's algorithm, applied to the table that YaRN makes."""
    space = make_space("wavelengths", TABLE, 4.0)
    [(name, values)] = first_points(space, 512).items()
    known = methods.resonance(methods.yarn(TABLE, factor=4.0))
    assert name == "unmoved"
    np.testing.assert_allclose(space.rope(values).wavelengths, known.wavelengths, rtol=1e-12)
    assert space.rope(values).attention_factor == pytest.approx(known.attention_factor)
    assert space.point(known) == values


def test_all_wavelengths_are_whole_and_near():
    space = make_space("wavelengths", TABLE, 4.0)
    unmoved = np.round(methods.yarn(TABLE, factor=4.0).wavelengths)
    found = np.array([space.rope(values).wavelengths for values in points(space)])
    np.testing.assert_allclose(found, np.round(found), rtol=1e-12)
    # Pairs that never turn in 128 tokens stay where they are; the others reach three tokens both ways.
    turning = methods.yarn(TABLE, factor=4.0).wavelengths <= 128
    assert (np.abs(found - unmoved)[:, ~turning] < 1e-6 * unmoved[~turning]).all()
    moved = np.round(found - unmoved)[:, turning]
    assert set(moved.ravel()) == {-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0}


def test_no_wavelength_is_below_two_tokens():
    space = make_space("wavelengths", default_rope(64, 10.0, 128), 4.0)
    assert min(parameter.low for parameter in space.parameters) >= 2


def test_the_free_ones_start_from_yarn_and_need_not_be_whole():
    space = make_space("free-wavelengths", TABLE, 4.0)
    [values] = first_points(space, 512).values()
    known = methods.yarn(TABLE, factor=4.0)
    np.testing.assert_allclose(space.rope(values).wavelengths, known.wavelengths, rtol=1e-12)
    found = np.array([space.rope(point).wavelengths for point in points(space)])
    assert np.abs(found - np.round(found))[:, 0].max() > 0.1
    assert [(p.name, p.high - p.low) for p in space.parameters][-1] == (space.parameters[-1].name, pytest.approx(6))


def test_a_search_of_whole_wavelengths_finds_a_rope(find, tmp_path):
    from ropewalk.rope import Rope

    find(tmp_path / "s", space="wavelengths", budget=20, factor=2.0)
    found = Rope.load(tmp_path / "s/rope.json").wavelengths
    np.testing.assert_allclose(found, np.round(found), rtol=1e-12)

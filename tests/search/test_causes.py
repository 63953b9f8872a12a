from __future__ import annotations

import numpy as np
import pytest

from ropewalk.rope import default_rope, diagnostics, methods
from ropewalk.search.causes import Causes, front, knee_points, knees
from ropewalk.search.spaces import make_space

TABLE = default_rope(64, 10_000.0, 128)


def test_both_causes_are_the_diagnostics():
    causes = Causes(TABLE, 512, -0.2, 2.2)
    ropes = [methods.ntk(TABLE, factor=4), methods.yarn(TABLE, factor=4), methods.pi(TABLE, factor=4)]
    found = causes(np.log([rope.factors for rope in ropes]))
    np.testing.assert_allclose(found[:, 1], [diagnostics.r_ker(rope) for rope in ropes], atol=1e-9)
    # Interpolated between tabulated divisors; neighbours differ by the whole tokens that they round to.
    np.testing.assert_allclose(found[:, 0], [diagnostics.g_w1(rope, 512) for rope in ropes], atol=0.01)


def test_the_front_is_what_nothing_else_beats():
    rng = np.random.default_rng(0)
    points = rng.random((200, 2))
    beaten = [(np.all(points <= p, axis=1) & np.any(points < p, axis=1)).any() for p in points]
    assert sorted(front(points)) == np.flatnonzero(~np.array(beaten)).tolist()


def test_knees_lie_on_the_front_and_apart():
    angles = np.linspace(0, np.pi / 2, 101)
    points = np.stack([1.01 - np.sin(angles), 1.01 - np.cos(angles)], axis=1)
    chosen = knees(points, 4)
    assert len(set(chosen)) == 4
    assert set(chosen) <= set(front(points).tolist())


def test_no_hand_made_rope_beats_a_knee_in_both_causes():
    space = make_space("ramp", TABLE, 4)
    points = knee_points(space, 512)
    assert 1 <= len(points) <= 4
    assert all(values["c"] == pytest.approx(0.1) for values in points)
    for knee in map(space.rope, points):
        mismatch, distortion = diagnostics.g_w1(knee, 512), diagnostics.r_ker(knee)
        for made in (methods.ntk, methods.yarn, methods.mrrope_uni, methods.mrrope_pro, methods.pi):
            rope = made(TABLE, factor=4)
            # By more than interpolation may err.
            assert diagnostics.g_w1(rope, 512) > mismatch - 0.01 or diagnostics.r_ker(rope) > distortion

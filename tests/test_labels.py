"""What rows are called: short where that is enough, and never two alike."""

from __future__ import annotations

import pytest

from ropewalk.labels import labels

TUNED = {"base_model": "small", "rope": "yarn", "tuned_rope": "yarn", "regime": "long", "seed": 0, "experiment": "a"}


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([{"base_model": "small", "rope": "none"}, {"base_model": "small", "rope": "yarn"}], ["none", "yarn"]),
        ([{"base_model": "small", "rope": "yarn"}, {"base_model": "big", "rope": "yarn"}], ["small_yarn", "big_yarn"]),
        ([{"base_model": "small", "rope": "yarn"}, TUNED], ["yarn", "yarn_long_seed-0"]),
        ([TUNED, {**TUNED, "rope": "pi"}], ["yarn_long_seed-0", "pi_on-yarn_long_seed-0"]),
        ([TUNED, {**TUNED, "seed": 1}], ["yarn_long_seed-0", "yarn_long_seed-1"]),
        ([TUNED, {**TUNED, "experiment": "b"}], ["yarn_long_seed-0_a", "yarn_long_seed-0_b"]),
        (
            [TUNED, {**TUNED, "experiment": "b"}, {**TUNED, "regime": "reference"}],
            ["yarn_long_seed-0_a", "yarn_long_seed-0_b", "yarn_reference_seed-0"],
        ),
        (
            [{**TUNED, "regime": None, "tune_length": length} for length in (32, 64)],
            ["yarn_seed-0_length-32", "yarn_seed-0_length-64"],
        ),
        (
            [{**TUNED, "regime": None, "tune_length": 32, "steps": steps} for steps in (5, 10)],
            ["yarn_seed-0_steps-5", "yarn_seed-0_steps-10"],
        ),
        (
            [{**TUNED, "tuned_from": name} for name in ("x", "y")],
            ["yarn_long_seed-0_from-x", "yarn_long_seed-0_from-y"],
        ),
    ],
)
def test_a_row_is_called_by_what_tells_it_apart(rows, names):
    assert labels(rows) == names


def test_rows_that_nothing_tells_apart_have_one_name():
    """Which the report refuses."""
    assert labels([TUNED, dict(TUNED)]) == ["yarn_long_seed-0"] * 2

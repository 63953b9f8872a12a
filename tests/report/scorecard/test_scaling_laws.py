from __future__ import annotations

import math

import pytest

from ropewalk.scores import number_rows


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        # Figures of the paper, and closed forms worked out apart from this code.
        ("scaling-laws/critical-dimension", 92, "reproduced"),
        ("scaling-laws/code-llama", 970_497, "reproduced"),
        ("scaling-laws/million-base", 129_027, "reproduced"),
        ("scaling-laws/fixed-point", 4711.7 / 4096, "not reproduced"),
        ("scaling-laws/updated-dimension", 134, "not reproduced"),
        ("scaling-laws/covered-angles", (2 * 4096 / math.pi) ** (1 / 64), "not reproduced"),
    ],
)
def test_what_is_computed_agrees_with_the_paper_and_with_closed_forms(found, name, value, verdict):
    finding = found(name)
    assert finding.verdict == verdict
    assert finding.decisive.value == pytest.approx(value, abs=0.01, rel=2e-3)


@pytest.fixture
def scaling(experiment):
    def made(limit=400.0, decay=0.1, documents=12, ends=None):
        """A wall, a slope and two small bases."""
        base = {"base": 1e5, "tune_length": 128, "steps": 300, "regime": "hard wall"}
        line = {"tune_length": 128, "steps": 300, "n_bases": 3}
        small = {"base": 40.0, "against_base": 20.0, "tune_length": 128, "steps": 300}
        return experiment(
            "scaling",
            {"rotary_dim": 64, "train_length": 128, "longest": 2048, "documents": documents},
            number_rows("limit", limit, intervals={"documents": ends or (limit - 20, limit + 20)}, **base),
            number_rows("predicted_limit", 329.0, law="discrete", **base),
            number_rows("slope", 0.36, intervals={"bases": (0.33, 0.39), "documents": (0.35, 0.37)}, **line),
            number_rows("predicted_slope", 0.344, law="discrete", **line),
            number_rows(
                "far_degradation_less_smaller", decay, intervals={"documents": (decay - 0.02, decay + 0.02)}, **small
            ),
        )

    return made


def test_walls_slopes_and_small_bases(found, scaling):
    scores = scaling(350.0)
    assert found("scaling-laws/walls", scores).decisive.value == pytest.approx(350 / 329)
    assert found("scaling-laws/walls", scores).verdict == "reproduced"
    assert found("scaling-laws/walls", scaling(600.0)).verdict == "not reproduced"
    assert found("scaling-laws/slope", scores).verdict == "reproduced"
    assert found("scaling-laws/smaller-is-flatter", scores).verdict == "reproduced"
    assert found("scaling-laws/smaller-is-flatter", scaling(decay=-0.1)).verdict == "not reproduced"
    assert found("scaling-laws/wall-stays", scores).verdict == "not tried"


def test_a_wall_that_was_never_met_is_beyond_the_law(found, scaling):
    finding = found("scaling-laws/walls", scaling(math.inf, ends=(2000.0, math.inf)))
    assert finding.verdict == "not reproduced"
    assert math.isinf(finding.decisive.value)

from __future__ import annotations

import pytest

from ropewalk.scores import table_rows


def test_what_was_found_against_what_is_made_by_hand(found, experiment):
    own = {"objective": -1.0, "objective_low": -1.2, "objective_high": -0.8}
    own |= {"difference": -0.5, "difference_low": -0.7, "difference_high": -0.3}
    none = {"objective": 1.0, "objective_low": 0.9, "objective_high": 1.1}
    over = {"over": "documents", "confidence": 0.95, "factor": 4.0}
    scores = experiment(
        "search",
        {"train_length": 128, "documents": 18},
        table_rows(own, "objective", "difference", method="gp/ramp", n_seeds=2, **over),
        table_rows(own, "objective", method="sobol/ramp", n_seeds=2, **over),
        table_rows(none, "objective", method="none", **over),
    )
    assert found("orope/beats-hand-made-4x", scores).verdict == "reproduced"
    assert found("orope/beats-hand-made-8x", scores).verdict == "not tried"
    apart = found("orope/reads-longer", scores).decisive
    assert (apart.low, apart.high) == (pytest.approx(-2.3), pytest.approx(-1.7))

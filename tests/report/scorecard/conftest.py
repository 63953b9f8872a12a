from __future__ import annotations

from itertools import chain

import pytest

from ropewalk.report.scorecard import CLAIMS, evaluate
from ropewalk.report.scorecard.claim import Experiment
from ropewalk.scores import Scores


@pytest.fixture
def found():
    """A function of a claim's name and of an experiment: the only finding."""
    by_id = {claim.id: claim for claim in CLAIMS}

    def one(name, experiment=None):
        (finding,) = evaluate([by_id[name]], [experiment] if experiment else [])
        return finding

    return one


@pytest.fixture
def experiment():
    """A function of a stage, of a setting and of iterables of rows: an experiment."""

    def made(stage, setting, *rows):
        about = {"stage": stage, "experiment": "e", "confidence": 0.95, "parameters": 558_208} | setting
        return Experiment("study", f"reports/{stage}/e/scores.json", Scores(about, tuple(chain.from_iterable(rows))))

    return made

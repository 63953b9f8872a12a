from __future__ import annotations

import html
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ropewalk.options import ReportOptions
from ropewalk.report import causes
from ropewalk.report.scorecard import CLAIMS, evaluate
from ropewalk.report.scorecard.claim import Experiment
from ropewalk.scores import Scores
from ropewalk.search.regression import Tried, Tries

OPTIONS = ReportOptions(experiment="mine", confidence=0.95)


def made(factor, names):
    rng = np.random.default_rng(len(names))
    causes = rng.uniform([0, 0], [0.4, 0.2], size=(len(names), 2))
    mismatch, distortion = causes.T
    noise = rng.normal(0, 0.02, size=(3, len(names), 8))
    losses = {"short": 2 * distortion[None, :, None], "tail": 1 + (3 * mismatch + 5 * distortion**2)[None, :, None]}
    return Tries(factor, names, causes, {loss: values + noise for loss, values in losses.items()})


@pytest.fixture
def tried():
    populations = {
        "sobol": (made(4.0, ("",) * 30), made(8.0, ("",) * 30)),
        "first points": (made(4.0, tuple("abcdefgh")), made(8.0, tuple("abcdefgh"))),
    }
    return Tried(128, 558_208, np.array([0.6, 0.62, 0.64]), ("one", "two", "three"), 8, populations)


def test_everything_is_written(tried, tmp_path, monkeypatch):
    monkeypatch.setattr(causes, "read_tries", lambda searches: tried)
    causes.write_report([], OPTIONS, tmp_path / "out")
    with Image.open(tmp_path / "out/causes.png") as image:
        assert min(image.size) > 600
    page = html.unescape((tmp_path / "out/causes.html").read_text())
    assert "<b>30 ropes of a Sobol sequence at 4 times the training length:</b>" in page
    assert "models save\n60%, 62%, 64% of the nats" in page
    scores = Scores.read(tmp_path / "out/scores.json")
    assert scores.setting["parameters"] == 558_208
    row = scores.one(quantity="explained", task="tail", factor=8.0, method="sobol")
    assert row.value > 0.98
    assert (row.over, row.n_documents, row.n_samples, row.n_models) == ("documents, ropes and models", 8, 30, 3)
    assert row.freedom > 2


@pytest.mark.parametrize(
    ("saved", "sign", "verdict"), [(0.6, 1, "reproduced"), (0.4, 1, "no verdict"), (0.6, -1, "not reproduced")]
)
def test_the_claims_are_decided_by_the_regressions(tried, saved, sign, verdict):
    turned = {
        name: tuple(replace(one, losses={loss: sign * values for loss, values in one.losses.items()}) for one in group)
        for name, group in tried.populations.items()
    }
    tried = replace(tried, saved=np.array([saved, 0.62, 0.64]), populations=turned)
    scores = causes.scores(tried, causes.regressions(tried, 0.95), OPTIONS)
    experiment = Experiment("study", "reports/causes/mine/scores.json", scores)
    own = [claim for claim in CLAIMS if claim.stage == "causes"]
    assert [claim.id for claim in own] == ["orope/global-mismatch", "orope/local-resolution"]
    assert [finding.verdict for finding in evaluate(own, [experiment])] == [verdict, verdict]

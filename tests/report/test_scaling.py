from __future__ import annotations

import json

import pandas as pd
import pytest
from PIL import Image

from ropewalk.report.scaling import scores, write_report
from ropewalk.rope.theory import wall
from ropewalk.scaling.sweep import read_sweep

READ = {"thresholds": [0.5, 2.0], "smoothing": 1, "perplexity_ratio": 1.1, "confidence": 0.95}


@pytest.fixture
def sweep(make_cell):
    at_wall = {base: wall(64, 1e4, 128, base) for base in (1e4, 1e5, 1e6)}
    cells = [make_cell(base, limit) for base, limit in at_wall.items()]
    cells += [make_cell(1e6, 1.5 * at_wall[1e6], seed=1), make_cell(20, 600, copied=0), make_cell(41, 500)]
    cells += [make_cell(20, 600, height=0.6, log_scaled=True, copied=0), make_cell(1e6, 730, tune_length=256)]
    return read_sweep(cells, **READ)


def test_everything_is_written(sweep, tmp_path):
    out = tmp_path / "report"
    write_report(sweep, out)
    for name in ("limits", "nll_by_position", "degradation", "ladder", "copying"):
        with Image.open(out / f"{name}.png") as image:
            assert min(image.size) > 300
    page = (out / "scaling.html").read_text()
    for words in (
        "Best predictor of the walls: discrete",
        "within 25 % is called close: 100,000 1.00; 1,000,000 1.23; 1,000,000 · tuned at 256 1.01.",
        "the law's 0.344",
        "the worst base in the second half of the texts is",
        "by the law it is the critical base, 10,000",
        "Among small bases the law wants a slower decay for a smaller base",
        "Perplexity and retrieval <b>part</b>",
        "Log-scaled attention changes the NLL of base 20 by",
    ):
        assert words in page, words
    table = pd.read_csv(out / "limits.csv")
    assert len(table) == 8 * 3
    runs = sorted(path.name for path in (out / "runs").iterdir())
    assert runs[0] == "base-1000000_length-128_steps-300_seed-0"
    params = json.loads((out / "runs" / runs[0] / "params.json").read_text())
    assert params["new_base"] == 1e6
    own = json.loads((out / "runs" / runs[0] / "scores.json").read_text())
    assert own["limit"]["0.5 nats"] == pytest.approx(726, abs=2)
    assert own["predicted"]["discrete"] == pytest.approx(725.57, abs=0.01)


def test_scores_hold_every_statistic(sweep):
    found = scores(sweep)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["predictors"]["discrete"]["error"] < found["predictors"]["continuous"]["error"]
    assert found["slopes"]["length-128_steps-300"]["discrete"] == pytest.approx(22 / 64)
    base = found["bases"]["base-1000000_length-128_steps-300"]
    assert base["seeds"] == 2
    assert base["limit"] == pytest.approx(726 * 1.5**0.5, rel=0.01)
    assert found["tuning"]["base-1000000_steps-300_128-to-256"]["predicted"] == 1
    assert found["retrieval"]["base-20_length-128_steps-300"]["limit"] == 0
    assert found["log_scaling"]["base-20_length-128_1024-to-2048"]["difference_high"] < 0
    assert found["longest"] == 2048


def test_a_wall_that_is_far_from_the_law_is_said_to_be(make_cell, tmp_path):
    sweep = read_sweep([make_cell(1e5, 329), make_cell(1e6, 1400)], **READ)
    write_report(sweep, tmp_path / "report")
    assert "1,000,000 1.93, <b>not close</b>" in (tmp_path / "report/scaling.html").read_text()


def test_a_sweep_of_small_bases_alone_has_a_page_too(make_cell, tmp_path):
    write_report(read_sweep([make_cell(20, 300), make_cell(41, 1e9)], **READ), tmp_path / "report")
    page = (tmp_path / "report/scaling.html").read_text()
    assert "beyond the longest text" in page
    assert "Best predictor" not in page

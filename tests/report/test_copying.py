from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ropewalk.errors import UserError
from ropewalk.files import write_json
from ropewalk.options import ReportOptions
from ropewalk.report import copying
from ropewalk.report.copying import write_report
from ropewalk.rope import apply, default_rope
from ropewalk.scores import Scores

OPTIONS = ReportOptions(experiment="mine", confidence=0.9)
ORIGINAL = default_rope(32, 10_000.0, 32)
STRINGS = [(8, 1.0), (8, 0.8), (64, 0.1), (64, 0.2)]


@pytest.fixture
def make(tmp_path):
    """Write a reading of kind copying."""

    def reading(name, strings=STRINGS, **columns):
        folder = tmp_path / f"readings/{name}"
        folder.mkdir(parents=True)
        pd.DataFrame(strings, columns=["gap", "accuracy"]).to_csv(folder / "copying.csv", index=False)
        rope = apply(ORIGINAL, "yarn", factor=4.0).to_json()
        write_json(folder / "reading.json", {"columns": {"rope": name, **columns}, "rope": rope})
        return folder

    return reading


def test_accuracy_stands_by_rope_and_distance(make, tmp_path, monkeypatch):
    drawn, draw = [], copying.draw_copying_heatmap
    monkeypatch.setattr(copying, "draw_copying_heatmap", lambda *told: drawn.append(told) or draw(*told))
    out = tmp_path / "report"
    write_report([make("yarn"), make("none", [(8, 0.5), (8, 0.7), (64, 0.0), (64, 0.0)])], OPTIONS, out)
    assert {path.name for path in out.iterdir()} == {"copying.csv", "copying.png", "scores.json"}
    table = pd.read_csv(out / "copying.csv", index_col="rope")
    assert list(table.index) == ["yarn", "none"]
    assert table.loc["yarn"].to_dict() == pytest.approx({"8": 0.9, "64": 0.15})
    scores = Scores.read(out / "scores.json")
    assert scores.setting == {"stage": "copying", "experiment": "mine", "confidence": 0.9}
    found = {(row.rope, row.gap): row.value for row in scores.select(quantity="copy_accuracy")}
    assert found == pytest.approx({("yarn", 8): 0.9, ("yarn", 64): 0.15, ("none", 8): 0.6, ("none", 64): 0.0})
    [(shown, trained, _)] = drawn
    assert trained == 32, "the length of pre-training, of the first reading's rope"
    assert shown.loc["none", 8] == pytest.approx(0.6)
    with Image.open(out / "copying.png") as image:
        pixels = np.asarray(image.convert("L"))
        assert 0.005 < (pixels < 200).mean() < 0.9


def test_tuned_models_are_told_apart(make, tmp_path):
    tuned = {"tuned_rope": "yarn", "regime": "long"}
    folders = [make("a", rope="yarn"), *(make(f"b{seed}", rope="yarn", **tuned, seed=seed) for seed in (0, 1))]
    write_report(folders, OPTIONS, tmp_path / "report")
    table = pd.read_csv(tmp_path / "report/copying.csv", index_col="rope")
    assert list(table.index) == ["yarn", "yarn_long_seed-0", "yarn_long_seed-1"]


def test_readings_that_do_not_fit_each_other_are_named(make, tmp_path):
    with pytest.raises(UserError, match="the readings copied over different distances; read all alike"):
        write_report([make("yarn"), make("none", STRINGS[:2])], OPTIONS, tmp_path / "report")
    with pytest.raises(UserError, match="2 readings are called 'x'; expected different ones"):
        write_report([make("a", rope="x"), make("b", rope="x")], OPTIONS, tmp_path / "report")
    other = make("other")
    (other / "copying.csv").unlink()
    with pytest.raises(UserError, match=r"copying\.csv: no such file; expected a reading of kind copying"):
        write_report([other], OPTIONS, tmp_path / "report")
    assert not (tmp_path / "report").exists()

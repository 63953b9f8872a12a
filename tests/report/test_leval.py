from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.options import ReportOptions
from ropewalk.reading.leval.comparison import compare, mean_over_tasks, read_answers
from ropewalk.reading.leval.scoring import score_file
from ropewalk.report.leval import scores_text, write_report
from ropewalk.rope import default_rope
from ropewalk.scores import Scores

OPTIONS = ReportOptions(experiment="mine", confidence=0.95)


@pytest.fixture
def answers(tmp_path):
    """Folders of answers to twelve documents of four questions; `good` is right where `poor` guesses A."""

    def make(name, right, tasks=("tpo", "gsm100"), called=None):
        called, folder = called or name, tmp_path / name
        folder.mkdir()
        for task in tasks:
            truth = "B" if task == "tpo" else "7"
            lines = []
            for d in range(12):
                for q in range(4):
                    good = (d + q) % 4 < right
                    answer = (truth if task == "tpo" else f"The answer is {truth}") if good else ""
                    line = {"query": f"{d}.{q}", "gt": truth, "m_pred": answer, "document": d, "question": q}
                    lines.append(json.dumps(line))
            (folder / f"{task}.jsonl").write_text("\n".join(lines))
        rope = default_rope(8, 10_000.0, 64).to_json()
        training = {"options": {"steps": 5, "length": 256}} if called == "good" else None
        about = {"columns": {"rope": called}, "rope": rope, "training": training, "data": "folder:leval"}
        (folder / "reading.json").write_text(json.dumps(about))
        return folder

    return make


def test_report(answers, tmp_path):
    write_report([answers("poor", 1), answers("good", 3)], OPTIONS, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "leval.html",
        "leval.csv",
        "leval.png",
        "scores.json",
    }
    table = pd.read_csv(tmp_path / "out/leval.csv").set_index(["task", "subject"])
    assert table.loc[("tpo", "poor"), "parity"] == 25
    assert table.loc[("average", "good"), "parity"] == 75
    assert table.loc[("average", "good"), "difference"] == 50
    assert table.loc[("average", "good"), "better"] == "yes"
    assert table.loc[("tpo", "good"), "documents"] == 12
    scores = Scores.read(tmp_path / "out/scores.json")
    good = scores.select(quantity="score", model="good", task="gsm100")
    assert {row.scoring: row.value for row in good} == {"parity": 75.0, "strict": 75.0}
    apart = {"quantity": "difference", "scoring": "parity", "task": "average"}
    assert scores.one(**apart, model="good", against="poor").value == 50
    assert scores.one(**apart, model="poor", against="good").high < 0
    assert {name: scores.setting[name] for name in ("pocket", "train_length", "tasks")} == {
        "pocket": False,
        "train_length": 64,
        "tasks": 2,
    }
    assert scores.setting["models"] == [
        {"model": "poor", "recipe": "default", "tuned_at": None},
        {"model": "good", "recipe": "default", "tuned_at": 256},
    ]
    page = (tmp_path / "out/leval.html").read_text()
    assert "class=better" in page
    assert "Vicuna1.5-13b-16k" in page
    assert "src=leval" not in page, "the page stands alone"


def test_a_model_whose_own_rope_is_unknown_is_reported_too(answers, tmp_path):
    folders = [answers("poor", 1), answers("good", 3)]
    about = {"rope": None, "own_rope": None, "training": None, "data": "folder:leval"}
    (folders[1] / "reading.json").write_text(json.dumps({**about, "columns": {"rope": "good"}}))
    write_report(folders, OPTIONS, tmp_path / "out")
    setting = Scores.read(tmp_path / "out/scores.json").setting
    assert {one["model"]: one["recipe"] for one in setting["models"]} == {"poor": "default", "good": "unknown"}
    assert setting["train_length"] == 64


def test_subjects_must_have_answered_the_same(answers, tmp_path):
    with pytest.raises(UserError, match=r"gsm100\.jsonl: no such file, but a answered gsm100"):
        write_report([answers("a", 1), answers("b", 1, ("tpo",))], OPTIONS, tmp_path / "out")
    with pytest.raises(UserError, match="reference 'x' is not among c"):
        compare(read_answers({"c": answers("c", 1)}), "x")
    with pytest.raises(UserError, match="no answers in"):
        write_report([answers("d", 1, ())], OPTIONS, tmp_path / "out")
    with pytest.raises(UserError, match="2 readings are called 'c'; expected different ones"):
        write_report([answers("e", 1, called="c"), answers("f", 1, called="c")], OPTIONS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_average_has_no_interval_where_a_task_has_one_document():
    found = mean_over_tasks([np.array([1.0]), np.array([0.0, 0.5])])
    assert found.mean == 0.625
    assert np.isnan(found.low)


def test_text(answers):
    text = scores_text({"x/tpo.jsonl": score_file(answers("a", 1) / "tpo.jsonl")}, published=True)
    assert "x/tpo.jsonl  TOEFL" in text
    assert "25.0000" in text
    assert "Llama3-8b-Instruct 82.89" in text

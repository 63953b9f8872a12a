from __future__ import annotations

import json
import sys

from ropewalk import cli
from ropewalk.rope import default_rope
from ropewalk.scores import Scores


def run(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ropewalk", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_from_pocket_to_report(monkeypatch, tmp_path, tiny_model, capsys):
    monkeypatch.chdir(tmp_path)
    pocket = '{"documents": 2, "questions": 1, "words": 60}'
    assert run(monkeypatch, "leval", "pocket", "-o", "data", "--options", pocket) == 0
    default_rope(16, 1e4, 64).save("rope.json")
    asked = {"data": "folder:data", "context": 300, "max_new_tokens": 4, "tasks": ["tpo", "topic_retrieval_longchat"]}
    for name in ("one", "two"):
        words = ("--model", tiny_model, "--rope", "rope.json", "--columns", json.dumps({"rope": name}), "-o", name)
        assert run(monkeypatch, "read", "leval", *words, "--options", json.dumps(asked)) == 0
    capsys.readouterr()
    assert run(monkeypatch, "leval", "score", "./one/tpo.jsonl", "two/topic_retrieval_longchat.jsonl", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert list(scores) == ["./one/tpo.jsonl", "two/topic_retrieval_longchat.jsonl"]
    assert all(isinstance(score, float) for score in scores.values())
    assert run(monkeypatch, "leval", "score", "one/tpo.jsonl", "--published") == 0
    assert "TOEFL" in capsys.readouterr().out
    options = '{"experiment": "mine", "confidence": 0.9}'
    assert run(monkeypatch, "report", "leval", "two", "one", "--options", options, "-o", "report") == 0
    written = Scores.read("report/scores.json")
    about = {name: written.setting[name] for name in ("stage", "experiment", "confidence", "tasks")}
    assert about == {"stage": "leval", "experiment": "mine", "confidence": 0.9, "tasks": 2}
    assert [one["model"] for one in written.setting["models"]] == ["two", "one"]


def test_faults_are_one_sentence(monkeypatch, tmp_path, capsys):
    (tmp_path / "tpo.jsonl").write_text("{")
    assert run(monkeypatch, "leval", "score", tmp_path / "tpo.jsonl", "--json") == 2
    error = capsys.readouterr().err
    assert "tpo.jsonl:1 is no JSON" in error
    assert error.count("\n") == 1

from __future__ import annotations

import json
import sys

from ropewalk import cli


def run(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ropewalk", "leval", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_from_pocket_to_report(monkeypatch, tmp_path, tiny_model, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "pocket", "-o", "data", "--documents", 2, "--questions", 1, "--words", 60) == 0
    for name in ("one", "two"):
        words = ("--model", tiny_model, "--data", "data", "-o", name, "--context", 300, "--max-new-tokens", 4)
        assert run(monkeypatch, "predict", *words, "--tasks", "tpo,topic_retrieval_longchat") == 0
    capsys.readouterr()
    assert run(monkeypatch, "score", "./one/tpo.jsonl", "two/topic_retrieval_longchat.jsonl", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert list(scores) == ["./one/tpo.jsonl", "two/topic_retrieval_longchat.jsonl"]
    assert all(isinstance(score, float) for score in scores.values())
    assert run(monkeypatch, "score", "one/tpo.jsonl", "--published") == 0
    assert "TOEFL" in capsys.readouterr().out
    words = ("--predictions", "a=one", "--predictions", "two", "--reference", "two", "-o", "report")
    assert run(monkeypatch, "report", *words) == 0
    assert set(json.loads((tmp_path / "report/scores.json").read_text())) == {
        "a",
        "two",
        "setting",
        "subjects",
        "averages",
    }


def test_faults_are_one_sentence(monkeypatch, tmp_path, capsys):
    (tmp_path / "tpo.jsonl").write_text("{")
    assert run(monkeypatch, "score", tmp_path / "tpo.jsonl", "--json") == 1
    error = capsys.readouterr().err
    assert "tpo.jsonl:1 is no JSON" in error
    assert error.count("\n") == 1

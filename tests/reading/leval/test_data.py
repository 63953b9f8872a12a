from __future__ import annotations

import json

import pytest

from ropewalk.errors import UserError
from ropewalk.reading.leval.data import DataSource, load_task
from ropewalk.reading.leval.pocket import write_pocket
from ropewalk.reading.leval.tasks import TASKS
from ropewalk.reading.options import PocketOptions

GOOD = {"input": "text", "instructions": ["a?", "b?"], "outputs": ["A", "B"]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([json.dumps(GOOD), "{"], r"tpo\.jsonl:2 is no JSON"),
        (['"text"'], r"tpo\.jsonl:1 holds a str"),
        ([json.dumps({**GOOD, "outputs": ["A"]})], r"tpo\.jsonl:1 has 2 instructions and 1 outputs"),
        ([json.dumps({"input": "text", "instructions": []})], r"tpo\.jsonl:1 has no key 'outputs'"),
        ([json.dumps({**GOOD, "input": 1})], r"tpo\.jsonl:1 input is a int"),
        ([json.dumps({**GOOD, "outputs": [1, 2]})], r"tpo\.jsonl:1 outputs is no list of texts"),
        ([], r"tpo\.jsonl holds no lines"),
    ],
)
def test_bad_lines_are_named(tmp_path, lines, message):
    (tmp_path / "tpo.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match=message):
        load_task(DataSource.parse(str(tmp_path)), TASKS["tpo"])


def test_missing_files_and_unreachable_hubs_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no quality\.jsonl there"):
        load_task(DataSource.parse(f"folder:{tmp_path}"), TASKS["quality"])
    with pytest.raises(UserError, match=r"tasks hub:a/b at revision c: tpo\.jsonl is not kept"):
        load_task(DataSource.parse("hub:a/b", "c"), TASKS["tpo"])
    with pytest.raises(UserError, match="expected folder:PATH or hub:"):
        DataSource.parse("ftp:x")


def test_real_documents(real_documents):
    counts = {"tpo": (15, 269), "quality": (15, 202), "coursera": (15, 172), "sci_fi": (7, 64), "gsm100": (100, 100)}
    for name, (documents, questions) in counts.items():
        found = load_task(DataSource.parse(str(real_documents)), TASKS[name])
        assert (len(found), sum(len(one.questions) for one in found)) == (documents, questions)


def test_the_pocket_edition(tmp_path):
    write_pocket(tmp_path / "a", PocketOptions(documents=2, questions=3, words=120, seed=1))
    write_pocket(tmp_path / "b", PocketOptions(documents=2, questions=3, words=120, seed=1))
    write_pocket(tmp_path / "c", PocketOptions(documents=2, questions=3, words=120, seed=2))
    for task in TASKS.values():
        texts = [(tmp_path / one / f"{task.name}.jsonl").read_text() for one in "abc"]
        assert texts[0] == texts[1] != texts[2]
        for document in load_task(DataSource.parse(str(tmp_path / "a")), task):
            assert len(document.questions) == 3
            assert 90 < len(document.text.split()) < 260
    with pytest.raises(UserError, match="questions is 15; expected at most 14"):
        write_pocket(tmp_path / "d", PocketOptions(questions=15))
    assert not (tmp_path / "d").exists()


def test_right_answers_of_the_pocket_edition_score_full_marks(tmp_path):
    from ropewalk.reading.leval import parity, strict

    write_pocket(tmp_path, PocketOptions(questions=5, words=200))
    for task in TASKS.values():
        for document in load_task(DataSource.parse(str(tmp_path)), task):
            for truth in document.answers:
                answer = f"The answer is {truth}" if task.kind == "number" else truth.split(")")[0].strip("(")
                answer = answer if task.kind in ("choice", "choices", "number") else truth
                assert set(parity.score(task, answer, truth)) == {1.0}
                assert set(strict.score(task, answer, truth)) == {1.0}

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ropewalk.errors import UserError
from ropewalk.models.sources import ModelSource
from ropewalk.reading.leval import predict as module
from ropewalk.reading.leval.data import DataSource
from ropewalk.reading.leval.pocket import write_pocket
from ropewalk.reading.leval.predict import predict, read_leval
from ropewalk.reading.leval.scoring import score_file
from ropewalk.reading.leval.tasks import TASKS
from ropewalk.reading.options import LEvalOptions, PocketOptions
from ropewalk.rope import apply, default_rope

OPTIONS = LEvalOptions(data="folder:here", tasks=("tpo", "sci_fi"), context=300, max_new_tokens=6)
FEW = {"max_new_tokens": 4, "questions": 1}
ROPE = default_rope(16, 1e4, 64)
COLUMNS = {"model": "tiny", "rope": "m"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_pocket(folder, PocketOptions(questions=2, words=60))
    return folder


@pytest.fixture
def run(tiny_model, data, tmp_path):
    def answer(out="out", *, rope=ROPE, state="state", **changed):
        source, tasks_from = ModelSource.parse(f"folder:{tiny_model}"), DataSource.parse(str(data))
        folder, options = tmp_path / out, replace(OPTIONS, **changed)
        predict(source, rope, tasks_from, options, columns=COLUMNS, state=tmp_path / state, folder=folder)
        return folder

    return answer


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_tasks_are_answered_in_the_format_of_the_original(run, tmp_path):
    folder = run(tasks=tuple(TASKS))
    for task in TASKS:
        answered = lines(folder / f"{task}.jsonl")
        assert list(answered[0])[:3] == ["query", "gt", "m_pred"]
        assert [one["document"] for one in answered] == sorted(one["document"] for one in answered)
        assert all(one["cut"] and 150 < one["document_tokens"] <= 294 for one in answered), "each is over 294 bytes"
        score_file(folder / f"{task}.jsonl")
    assert all("[fact: " in one["m_pred"] for one in lines(folder / "sci_fi.jsonl"))
    assert not (tmp_path / "state").exists()
    header = json.loads((folder / "reading.json").read_text())
    assert header["rope"] == ROPE.to_json()
    assert header["options"]["context"] == 300
    assert header["columns"] == COLUMNS
    assert header["training"] is None
    assert set(header["documents"]) == set(TASKS)


@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_killed_run_goes_on_and_ends_as_if_undisturbed(run, tmp_path, monkeypatch, after):
    whole = run("whole", state="other")
    real, calls = module.generate, []

    def killed(*args, **kwargs):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "generate", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not (tmp_path / "out").exists()
    with (tmp_path / "state/tpo.jsonl").open("a") as file:
        file.write('{"query": "torn')
    counted = []
    monkeypatch.setattr(module, "generate", lambda *a, **k: counted.append(1) or real(*a, **k))
    resumed = run()
    # Three documents of tpo take one call each, those of sci_fi two; the last document begun is begun anew.
    assert len(counted) == {1: 8, 2: 7, 4: 6}[after]
    for task in ("tpo", "sci_fi"):
        assert (resumed / f"{task}.jsonl").read_bytes() == (whole / f"{task}.jsonl").read_bytes()


def test_answers_of_other_settings_are_not_taken_up(run, tmp_path, monkeypatch):
    real = module.generate
    calls = []

    def once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "generate", once)
    with pytest.raises(KeyboardInterrupt):
        run(tasks=("tpo",))
    count = len(calls)
    run(tasks=("tpo",), rope=apply(ROPE, "pi", factor=2.0))
    assert len(calls) - count == 3


def test_a_foreign_state_folder_is_refused(run, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds other files"):
        run()
    assert (tmp_path / "state/thesis.txt").exists()


def test_identity_does_not_depend_on_where_it_is_called(tiny_model, monkeypatch):
    whole = module._place(ModelSource.parse(f"folder:{tiny_model}"))
    monkeypatch.chdir(tiny_model.parent)
    assert module._place(ModelSource.parse(f"folder:{tiny_model.name}")) == whole


def test_a_rope_that_changes_with_the_length_is_fixed_at_each_prompt(run, monkeypatch):
    dynamic = apply(ROPE, "dynamic_ntk", factor=2.0)
    bound = []
    monkeypatch.setattr(module.binding, "patch", lambda model, rope: bound.append(rope))
    answered = lines(run(rope=dynamic, tasks=("tpo",)) / "tpo.jsonl")
    assert bound == [dynamic.at(one["prompt_tokens"]) for one in answered]


def test_limits_and_a_model_with_its_own_rope(run):
    folder = run(rope=None, tasks=("quality",), documents=2, **FEW)
    assert [(one["document"], one["question"]) for one in lines(folder / "quality.jsonl")] == [(0, 0), (1, 0)]
    header = json.loads((folder / "reading.json").read_text())
    assert header["rope"] is None
    assert header["own_rope"]["original_length"] == 64
    topics = run("topics", tasks=("topic_retrieval_longchat",), documents=1, **FEW)
    assert len(lines(topics / "topic_retrieval_longchat.jsonl")) == 3, "their places tell them apart"


def test_the_pocket_edition_is_made_on_the_spot(tiny_model, tmp_path, run):
    pocket = PocketOptions(questions=2, words=60)
    options = replace(OPTIONS, data="pocket", pocket=pocket)
    source = ModelSource.parse(f"folder:{tiny_model}")
    read_leval(source, ROPE, options, columns=COLUMNS, state=tmp_path / "s", folder=tmp_path / "pocket")
    assert json.loads((tmp_path / "pocket/reading.json").read_text())["data"] == "pocket"
    other = run()
    for task in OPTIONS.tasks:
        assert (tmp_path / f"pocket/{task}.jsonl").read_bytes() == (other / f"{task}.jsonl").read_bytes()
    folder = replace(OPTIONS, data=f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(UserError, match=r"no tpo\.jsonl there"):
        read_leval(source, ROPE, folder, columns=COLUMNS, state=tmp_path / "s", folder=tmp_path / "none")


def test_how_the_work_is_cut_is_no_part_of_what_is_answered(run, monkeypatch):
    real, calls = module.generate, []

    def once(*args, **kwargs):
        calls.append(kwargs["rows"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "generate", once)
    with pytest.raises(KeyboardInterrupt):
        run(tasks=("tpo",), rows=1)
    run(tasks=("tpo",), rows=2, chunk=64, data="folder:elsewhere")
    assert calls == [1, 1, 1, 2], "two of three documents were kept"


def test_documents_of_one_text_are_read_once(run, data, tmp_path, monkeypatch):
    lines_of_one = (data / "gsm100.jsonl").read_text().splitlines()[:1] * 20
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/gsm100.jsonl").write_text("\n".join(lines_of_one))
    read = []
    real = module.generate
    monkeypatch.setattr(module, "generate", lambda *a, **k: read.append(len(a[2])) or real(*a, **k))
    monkeypatch.setattr(DataSource, "file", lambda self, task: tmp_path / "tasks/gsm100.jsonl")
    answered = lines(run(tasks=("gsm100",)) / "gsm100.jsonl")
    assert read == [32, 8], "two questions on each of twenty documents"
    assert [(one["document"], one["question"]) for one in answered] == [(d, q) for d in range(20) for q in range(2)]
    assert answered[0]["m_pred"] == answered[38]["m_pred"]

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from ropewalk.corpora import Corpus
from ropewalk.errors import UserError
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.shape import ModelShape
from ropewalk.models.sources import ModelSource
from ropewalk.options import ReportOptions, plain
from ropewalk.reading import retrieval
from ropewalk.reading.options import NeedleOptions
from ropewalk.reading.retrieval import answer_nll, effective_interval, effective_length, found_share, read_needles
from ropewalk.report.needle import write_report
from ropewalk.rope import apply, default_rope
from ropewalk.scores import Scores

SHAPE = ModelShape(hidden_size=32, layers=2, heads=1, kv_heads=1, intermediate_size=32, length=64)
ROPE = default_rope(32, 10_000.0, 64)
OPTIONS = NeedleOptions(
    tasks=("digits", "passkey"), lengths=(64, 128), depths=(0.0, 0.5), samples=6, by="nll", dtype="float32"
)
REPORT = ReportOptions(experiment="mine", confidence=0.95)


@pytest.fixture(scope="module")
def corpus(lettered) -> Corpus:
    return lettered


@pytest.fixture(scope="module")
def source(make_model) -> ModelSource:
    return make_model(SHAPE)


def run(source, corpus, folder, *, options=OPTIONS, rope=ROPE):
    state, columns = folder.parent / f"{folder.name}.state", {"model": "m", "rope": folder.name}
    read_needles(source, rope, {"text": corpus}, options, columns=columns, state=state, folder=folder)
    return pd.read_json(folder / "answers.jsonl", lines=True)


@pytest.mark.parametrize("chunk", [16, 1024])
def test_the_nll_of_an_answer_is_that_of_a_plain_pass(chunk):
    model = fresh_llama(SHAPE, 50, seed=0).eval()
    prompts = [np.random.default_rng(i).integers(0, 50, 60) for i in range(5)]
    answers = [3, 7, 1, 4, 5]
    nll, right = answer_nll(model, prompts, answers, chunk)
    for i, (tokens, count) in enumerate(zip(prompts, answers, strict=True)):
        ids = torch.from_numpy(tokens)
        with torch.no_grad():
            logits = model(ids[None]).logits[0, -count - 1 : -1]
        assert nll[i] == pytest.approx(float(functional.cross_entropy(logits, ids[-count:])), abs=1e-5)
        assert right[i] == pytest.approx(float((logits.argmax(-1) == ids[-count:]).float().mean()))


def test_every_model_and_rope_is_asked_the_same(source, corpus, tmp_path):
    one = run(source, corpus, tmp_path / "one")
    two = run(source, corpus, tmp_path / "two", rope=apply(ROPE, "dynamic_ntk", factor=2.0))
    assert len(one) == 2 * 2 * 2 * 6
    assert list(one["answer"]) == list(two["answer"])
    short = one["length"] == 64
    np.testing.assert_allclose(one["nll"][short], two["nll"][short], atol=1e-5)  # within the training length
    assert (one["nll"][~short] - two["nll"][~short]).abs().max() > 5e-5
    # Lengths and depths of a sample ask for one answer; the control does not depend on the depth.
    assert one.groupby(["task", "sample"])["answer"].agg(lambda a: len({str(x) for x in a})).max() == 1
    assert one.groupby(["task", "length", "sample"])["control_nll"].nunique().max() == 1
    scores = Scores.read(tmp_path / "one/scores.json")
    expected = one[(one["task"] == "digits") & short]["score"].mean()
    assert scores.one(quantity="score", task="digits", length=64).value == pytest.approx(expected)
    assert not (tmp_path / "one.state").exists()
    write_report([tmp_path / "one", tmp_path / "two"], REPORT, tmp_path / "report")
    table = pd.read_csv(tmp_path / "report/needle.csv")
    assert set(table[table["subject"] == "two"]["better"]) == {"open"}, "nothing was learned, so nothing differs"
    assert "effective length" in (tmp_path / "report/needle.html").read_text()
    assert (tmp_path / "report/needle.png").stat().st_size > 10_000
    other = run(source, corpus, tmp_path / "other", options=replace(OPTIONS, seed=1))
    assert list(other["answer"]) != list(one["answer"])
    with pytest.raises(UserError, match="other was asked other questions than one"):
        write_report([tmp_path / "one", tmp_path / "other"], REPORT, tmp_path / "report")


def test_a_text_is_read_once_for_the_questions_of_all_depths(source, corpus, tmp_path, monkeypatch):
    options = replace(
        OPTIONS, tasks=("multi-query",), lengths=(280, 288), depths=(0.0, 0.02), samples=3, by="generation"
    )
    generate, prefixes = retrieval.generate, []

    def counted(model, prefix, endings, **others):
        prefixes.append((len(prefix), len(endings)))
        return generate(model, prefix, endings, **others)

    monkeypatch.setattr(retrieval, "generate", counted)
    together = run(source, corpus, tmp_path / "together", options=options)
    assert [count for _, count in prefixes] == [2] * 2 * 3
    assert not [length for length, _ in prefixes if length < 150], prefixes
    said = retrieval._said
    monkeypatch.setattr(
        retrieval,
        "_said",
        lambda model, tokenizer, prompts, chunk: [said(model, tokenizer, [one], chunk)[0] for one in prompts],
    )
    alone = run(source, corpus, tmp_path / "alone", options=options)
    columns = ["task", "length", "depth", "sample", "answer"]
    pd.testing.assert_frame_equal(together[columns], alone[columns])
    # The answers of one call may be longer: each goes on as long as the longest.
    assert [str(a)[:5] for a in together["said"]] == [str(a)[:5] for a in alone["said"]]


@pytest.mark.parametrize("by", ["nll", "generation"])
def test_a_killed_measurement_goes_on_as_if_nothing_had_happened(source, corpus, tmp_path, monkeypatch, by):
    options = replace(OPTIONS, lengths=(64, 100), depths=(0.0, 1.0), samples=2, by=by)
    whole = run(source, corpus, tmp_path / "whole", options=options)
    name = "answer_nll" if by == "nll" else "_said"
    own, calls = getattr(retrieval, name), []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return own(*args, **kwargs)

    monkeypatch.setattr(retrieval, name, failing)
    with pytest.raises(KeyboardInterrupt):
        run(source, corpus, tmp_path / "cut", options=options)
    state = tmp_path / "cut.state/answers.jsonl"
    assert len(state.read_text().splitlines()) > 1
    with state.open("a") as file:
        file.write('{"task": "dig')  # torn
    before = len(calls)
    resumed = run(source, corpus, tmp_path / "cut", options=options)
    pd.testing.assert_frame_equal(resumed, whole)
    assert len(calls) - before < (12 if by == "nll" else 16), "some cells were not measured again"


def test_an_answer_holds_words_not_pieces_of_them():
    assert found_share("They are BL, CM and DN.", ["BL", "CM", "XX", "D"]) == 0.5
    assert found_share("code 12345678", ["1234567"]) == 0.0


def test_the_effective_length_is_the_longest_before_the_fall():
    lengths = [1, 2, 4, 8]
    assert effective_length(lengths, np.array([1.0, 0.9, 0.85, 0.5])) == 4
    assert effective_length(lengths, np.array([1.0, 0.8, 0.9, 0.9])) == 1, "not beyond a gap"
    assert effective_length(lengths, np.array([0.6, 0.52, 0.6, 0.6])) == 8, "85 % of its own score"
    assert effective_length(lengths, np.array([0.4, 0.4, 0.4, 0.4])) == 0, "it cannot do the task"
    rows = [
        {"task": "t", "length": n, "depth": d, "sample": i, "score": float(n < 4 or i == 0)}
        for n in lengths
        for d in (0, 1)
        for i in range(6)
    ]
    point, low, high = effective_interval(pd.DataFrame(rows))
    assert (point, low) == (2, 2)
    assert high >= 2


def test_faults_are_named(source, corpus, tmp_path):
    single = replace(OPTIONS, tasks=("single",), lengths=(64,), depths=(0.0,), samples=1)
    with pytest.raises(UserError, match="task single: length is 64 tokens; the facts, question and answer of"):
        run(source, corpus, tmp_path / "out", options=single)
    with pytest.raises(UserError, match="documents of at least 5000 tokens"):
        run(source, corpus, tmp_path / "out", options=replace(single, lengths=(5000,)))
    (tmp_path / "reading.json").write_text('{"columns": {"rope": "x"}}')
    with pytest.raises(UserError, match="no such file; expected the answers of `ropewalk read needle`"):
        write_report([tmp_path], REPORT, tmp_path / "report")


def test_what_is_read_says_what_it_is(source, corpus, tmp_path):
    run(source, corpus, tmp_path / "one")
    header = json.loads((tmp_path / "one/reading.json").read_text())
    assert header["columns"] == {"model": "m", "rope": "one"}
    assert header["rope"] == ROPE.to_json()
    # How the work is cut changes nothing of what is read.
    assert header["options"] == {name: value for name, value in plain(OPTIONS).items() if name != "chunk"}
    assert Scores.read(tmp_path / "one/scores.json").setting == {"stage": "needle", "model": "m", "rope": "one"}

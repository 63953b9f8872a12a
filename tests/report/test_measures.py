from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.files import write_json
from ropewalk.reading.nll_file import write_nll
from ropewalk.report.measures import agreement, write_report
from ropewalk.report.options import MeasuresReportOptions
from ropewalk.rope import apply, default_rope
from ropewalk.scores import Scores

LENGTH, KEYS, DOCUMENTS = 200, [120, 150, 190], 7
OPTIONS = MeasuresReportOptions(experiment="mine", confidence=0.95, lengths=(128, 200), reference="yarn")
ROPE = default_rope(32, 10_000.0, 64)


@pytest.fixture
def write(tmp_path):
    """A reading in which all tokens cost ``other`` nats but key tokens, which cost ``key`` (and 5 in a window)."""

    def make(name, key, other=2.0, *, window=None, rope=ROPE):
        frames = []
        for d in range(DOCUMENTS):
            position = np.arange(1, LENGTH, dtype=np.int32)
            nll = np.where(np.isin(position, KEYS), key, other + 0.01 * d).astype(np.float32)
            columns = {"corpus": "text", "document": f"d{d}", "position": position, "nll": nll}
            if window:
                columns["window_nll"] = np.where(np.isin(position, KEYS), 5.0, nll).astype(np.float32)
            frames.append(pd.DataFrame({**columns, "pass_length": np.int32(LENGTH)}))
        folder = tmp_path / f"{name}{window or ''}"
        folder.mkdir()
        about = {"columns": {"rope": name}, "model": "m", "rope": rope.to_json(), "options": {"window": window}}
        write_nll(folder / "nll.parquet", pd.concat(frames), about)
        return folder

    return make


@pytest.fixture
def ask(tmp_path):
    """Hidden facts, of which a share is found at each length."""

    def make(name, share):
        folder = tmp_path / f"facts-{name}"
        folder.mkdir()
        same = {"task": "multi-query", "depth": 0.5, "answer": ["1"]}
        rows = [
            {**same, "length": length, "sample": i, "score": float(i < 10 * share)}
            for length in OPTIONS.lengths
            for i in range(10)
        ]
        (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_json(folder / "reading.json", {"columns": {"rope": name}})
        return folder

    return make


def test_measures_stand_side_by_side_and_are_ranked(write, ask, tmp_path):
    readings = [
        write("yarn", 0.5, 2.0),
        write("ntk", 1.5, 1.9),
        write("pi", 3.0, 2.2),
        write("yarn", 0.5, window=64),
        ask("yarn", 0.9),
        ask("ntk", 0.5),
        ask("pi", 0.1),
    ]
    write_report(readings, OPTIONS, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/measures.csv").set_index(["rope", "length"])
    # Means of what was made above: 3 key tokens and 196 others, which cost 0.01 nats more with each document.
    assert table.loc[("ntk", 200), "longppl"] == pytest.approx(np.exp(1.5), rel=1e-4)
    assert table.loc[("ntk", 200), "perplexity"] == pytest.approx(np.exp((3 * 1.5 + 196 * 1.93) / 199), rel=1e-4)
    assert table.loc[("ntk", 128), "perplexity"] == pytest.approx(np.exp((1.5 + 126 * 1.93) / 127), rel=1e-4)
    assert table.loc[("ntk", 200), "longppl_difference"] == pytest.approx(1.0, abs=1e-4)
    assert table.loc[("pi", 200), "facts_difference"] == pytest.approx(-0.8)
    assert np.isnan(table.loc[("yarn", 200), "longppl_difference"])
    scores = Scores.read(tmp_path / "out/scores.json")
    # Perplexity puts ntk before yarn; the key tokens and the facts put it behind.
    asked = {"quantity": "rank_correlation", "length": 200}
    assert scores.one(**asked, task="LongPPL and facts found").value == pytest.approx(1.0)
    assert scores.one(**asked, task="perplexity and LongPPL").value == pytest.approx(0.5)
    page = (tmp_path / "out/measures.html").read_text()
    assert "21 key tokens" in page
    assert "last 64 tokens" in page
    assert (tmp_path / "out/measures.png").stat().st_size > 5_000


def test_ropes_may_lack_a_measure(write, ask, tmp_path):
    changing = apply(ROPE, "dynamic_ntk", factor=2.0)
    readings = [
        write("yarn", 0.5),
        write("ntk", 1.5),
        write("dynamic", 1.0, rope=changing),
        write("yarn", 0.5, window=64),
    ]
    write_report([*readings, ask("ntk", 0.5)], OPTIONS, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/measures.csv").set_index(["rope", "length"])
    assert np.isnan(table.loc[("dynamic", 128), "perplexity"])
    assert table.loc[("dynamic", 200), "longppl"] == pytest.approx(np.e, rel=1e-4)
    assert np.isnan(table.loc[("yarn", 200), "facts"])
    assert "—" in (tmp_path / "out/measures.html").read_text()


def test_agreement_needs_three_ropes_that_differ():
    table = pd.DataFrame({"rope": list("abc"), "length": 9, "perplexity": [1.0, 2.0, 3.0], "longppl": [1.0, 1.0, 1.0]})
    assert agreement(table).empty
    assert agreement(table.assign(longppl=[3.0, 2.0, 1.0]))["correlation"].tolist() == pytest.approx([-1.0])
    assert agreement(table.assign(longppl=[3.0, 2.0, 1.0]).head(2)).empty


def test_one_reading_tells_the_key_tokens(write, tmp_path):
    with pytest.raises(UserError, match="0 readings have a window; expected one, which tells the key tokens"):
        write_report([write("yarn", 0.5)], OPTIONS, tmp_path / "out")
    assert not (tmp_path / "out").exists()

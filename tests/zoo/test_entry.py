from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import Phi3Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from typer.testing import CliRunner

from ropewalk.cli import app
from ropewalk.errors import UserError
from ropewalk.rope import Rope, apply, default_rope
from ropewalk.zoo.entry import ZOO, Entry, add, entries, find, from_answer, load
from ropewalk.zoo.text import page, table

ROPE = apply(default_rope(64, 1e4, 2048), "yarn", factor=4.0)
MINE = Entry("mine", "someone/model", 8192, "a run of mine", ROPE)
DOCS = Path(__file__).parents[2] / "docs"


def test_every_entry_that_comes_along_is_whole():
    assert len(entries()) >= 3
    for path in ZOO.glob("*.json"):
        assert load(path).source


def test_phi_is_what_transformers_makes_of_its_factors():
    rope = find("phi-3.5-mini-128k").rope
    [step] = [step for step in rope.steps if step.method == "longrope"]
    scaling = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "long_factor": step.params["long_factor"],
        "short_factor": step.params["short_factor"],
        "original_max_position_embeddings": 4096,
        "factor": 32.0,
    }
    config = Phi3Config(
        hidden_size=3072, num_attention_heads=32, max_position_embeddings=131_072, rope_parameters=scaling,
        original_max_position_embeddings=4096,
    )  # fmt: skip
    for length in (4096, 131_072):
        table, factor = ROPE_INIT_FUNCTIONS["longrope"](config, "cpu", seq_len=length)
        np.testing.assert_allclose(rope.at(length).inv_freq, table.numpy(), rtol=1e-6)
        assert rope.at(length).attention_factor == pytest.approx(factor)


def test_a_rope_has_one_id_and_one_name(tmp_path):
    path = add(MINE, tmp_path)
    assert path.stem == MINE.id == Entry("other", "else", 1, "", ROPE).id
    assert load(path) == MINE
    assert find("mine", tmp_path) == find(MINE.id[:4], tmp_path) == MINE
    add(MINE, tmp_path)
    with pytest.raises(UserError, match="the same rope is there as mine"):
        add(Entry("other", "else", 1, "", ROPE), tmp_path)


def test_what_was_changed_is_seen(tmp_path):
    path = add(MINE, tmp_path)
    value = json.loads(path.read_text())
    value["rope"]["inv_freq"][3] *= 1.001
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match="was changed or renamed"):
        entries(tmp_path)
    path.write_text("{}")
    with pytest.raises(UserError, match="expected an entry of a zoo"):
        entries(tmp_path)


def test_an_answer_brings_its_measurements(tmp_path):
    interval = {"mean": 1.0, "low": 0.5, "high": 1.5}
    row = {"rope": "yarn", "file": "ropes/yarn.json", "gain": interval, "cost": interval}
    answer = {
        "model": "hub:someone/model", "length": 8192, "rope": "yarn", "ropes": [{"rope": "native", "gain": None}, row],
        "proof": {"passed": True, "said": "transformers"}, "short_cost": 0.05, "documents": ["a/b"],
        "corpora": {"a": {}}, "confidence": 0.95, "comparisons": 2, "seconds": 3.0,
    }  # fmt: skip
    (tmp_path / "ropes").mkdir()
    ROPE.save(tmp_path / "ropes/yarn.json")
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    entry = from_answer(tmp_path, "mine", None, "a run")
    assert (entry.model, entry.length, entry.rope) == ("someone/model", 8192, ROPE)
    assert entry.measured["gain"] == interval
    assert "+1.000 [+0.500, +1.500]" in page([entry])
    assert "Proved: transformers." in page([entry])
    with pytest.raises(UserError, match="--rope ntk: expected one of yarn"):
        from_answer(tmp_path, "mine", "ntk", "a run")


def test_the_page_in_the_docs_is_that_of_the_entries():
    assert (DOCS / "zoo.md").read_text() == page(entries()), "run `ropewalk zoo list --markdown > docs/zoo.md`"


def test_by_hand(tmp_path):
    def run(*words):
        return CliRunner().invoke(app, ["zoo", *words])

    ROPE.save(tmp_path / "rope.json")
    added = run("add", str(tmp_path / "rope.json"), "--name", "mine", "--source", "me", "--zoo", str(tmp_path / "zoo"),
                "--model", "someone/model", "--length", "8192")  # fmt: skip
    assert added.exit_code == 0, added.output
    assert "someone/model" in run("list", "--zoo", str(tmp_path / "zoo")).output
    assert run("show", "mine", "--zoo", str(tmp_path / "zoo"), "-o", str(tmp_path / "out.json")).exit_code == 0
    assert Rope.load(tmp_path / "out.json") == ROPE
    assert table(entries()).count("\n") == len(entries())

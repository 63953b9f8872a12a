from __future__ import annotations

import json

import pytest

from ropewalk.errors import UserError
from ropewalk.export import prove
from ropewalk.models.sources import ModelSource
from ropewalk.scores import Scores


def test_an_export_stands_beside_its_proof(make, tmp_path):
    made = make()
    source = ModelSource("folder", str(made.folder))
    written, proof = prove.export_proved(source, made.rope, "hf", tmp_path / "out", columns={"rope": "mine"})
    assert (written.path / "config.json").is_file()
    assert proof.positions_beyond > 0
    told = json.loads((tmp_path / "out/proof.json").read_text())
    assert (told["passed"], told["engine"], told["path"]) == (True, "transformers", "model")
    assert told["columns"] == {"rope": "mine"}
    value = Scores.read(tmp_path / "out/scores.json").one(quantity="max_difference").value
    assert value == told["max_difference"] <= 1e-4


def test_an_export_that_does_something_else_is_not_left_behind(make, tmp_path, monkeypatch):
    made = make()
    export = prove.export
    monkeypatch.setattr(
        prove, "export", lambda source, rope, *rest, **others: export(source, made.rope.at(64), *rest, **others)
    )
    source = ModelSource("folder", str(made.folder))
    other = prove.Rope.from_json({**made.rope.to_json(), "attention_factor": 2.0})
    with pytest.raises(UserError, match="the export does not do what the rope does: a logit differs by"):
        prove.export_proved(source, other, "hf", tmp_path / "out", columns={})
    assert list(tmp_path.glob("out*")) == []


def test_an_unknown_engine_is_refused(make, tmp_path):
    made = make()
    with pytest.raises(UserError, match="--to 'onnx': expected hf or gguf"):
        prove.export(ModelSource("folder", str(made.folder)), made.rope, "onnx", tmp_path / "out")

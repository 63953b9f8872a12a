"""A rope on a model, read by what searches make small; no search is needed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.models.configurations import load_config
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.rope import Rope, methods
from ropewalk.scores import Scores
from ropewalk.search.objective import Reader, make_probes
from ropewalk.search.options import ProbeOptions
from ropewalk.search.probe import probe

COLUMNS = {"reading": "r", "model": "dull", "rope": "dynamic", "method": "dynamic-ntk", "factor": 4.0}
COLUMNS |= {"search": None, "seed": None}


@pytest.fixture
def rope(source):
    return methods.dynamic_ntk(read_rope(load_config(source)), factor=4)


def test_a_probe_is_what_a_reader_reads_at_each_length(source, corpus, rope, tmp_path):
    options = ProbeOptions(factors=[4.0, 2.0], documents=3, retrieval="copy")
    probe(source, rope, {"text": corpus}, options, columns=COLUMNS, folder=tmp_path / "r")
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"measured.parquet", "reading.json", "scores.json"}
    rows = pd.read_parquet(tmp_path / "r/measured.parquet")
    assert rows["at"].tolist() == [2.0] * 3 + [4.0] * 3
    model = load_model(source)
    for at, part in rows.groupby("at"):
        length = int(64 * at)
        probes = make_probes(
            {"text": corpus},
            byte_tokenizer(),
            split="test",
            documents=3,
            train_length=64,
            length=length,
            retrieval="none",  # this model cannot copy
        )
        read = Reader(model, probes, 64).read(rope.at(length))
        assert part["document"].tolist() == [one.document for one in probes]
        np.testing.assert_array_equal(part["tail"], read.tail)
        np.testing.assert_array_equal(part["short"], read.short)
    header = json.loads((tmp_path / "r/reading.json").read_text())
    assert header["columns"] == COLUMNS
    assert Rope.from_json(header["rope"]) == rope
    assert (header["answers"]["asked"], header["answers"]["retrieval"], header["train_length"]) == ("copy", "none", 64)
    scores = Scores.read(tmp_path / "r/scores.json")
    assert scores.one(quantity="tail", at=2.0).value == rows[rows["at"] == 2]["tail"].mean()
    assert not scores.select(quantity="answer")


def test_a_rope_of_another_model_is_refused(source, corpus, tmp_path):
    rope = methods.default_rope(64, 10_000.0, 64)
    with pytest.raises(UserError, match="the rope rotates 64 dimensions of a head; this model rotates 32"):
        probe(source, rope, {"text": corpus}, ProbeOptions(factors=[2.0]), columns=COLUMNS, folder=tmp_path / "r")
    assert not (tmp_path / "r").exists()

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from ropewalk.errors import UserError
from ropewalk.models.shape import ModelShape
from ropewalk.options import plain
from ropewalk.reading import nll
from ropewalk.reading.document_nll import read_documents
from ropewalk.reading.nll_file import read_nll
from ropewalk.reading.options import NllOptions
from ropewalk.reading.perplexity import perplexity_table
from ropewalk.rope import apply, default_rope
from ropewalk.scores import Scores

SHAPE = ModelShape(hidden_size=32, layers=1, heads=1, kv_heads=1, intermediate_size=32, length=64)
ORIGINAL = default_rope(32, 10_000.0, 64)
OPTIONS = NllOptions(read_to=256, documents=2, dynamic_lengths=(64, 128), dtype="float32")
COLUMNS = {"model": "m", "rope": "mine", "base_model": "m"}


@pytest.fixture(scope="module")
def source(make_model):
    return make_model(SHAPE)


@pytest.fixture
def read(source, lettered, tmp_path):
    def run(rope=ORIGINAL, options=OPTIONS, corpora=None, name="out"):
        folder = tmp_path / name
        read_documents(
            source,
            rope,
            corpora or {"text": lettered},
            options,
            columns=COLUMNS,
            state=tmp_path / f"{name}.state",
            folder=folder,
        )
        return folder

    return run


def test_a_static_rope_is_read_in_one_pass_that_tells_of_every_shorter_length(read):
    folder = read()
    assert {path.name for path in folder.iterdir()} == {"nll.parquet", "scores.json", "metrics.jsonl"}
    rows, _ = read_nll(folder / "nll.parquet")
    assert rows["pass_length"].unique().tolist() == [256]
    assert len(rows) == 2 * 255
    scores = Scores.read(folder / "scores.json")
    assert scores.setting == {"stage": "nll", **COLUMNS}
    # The doublings up to what was read, whatever else is asked of ropes that change.
    assert [row.length for row in scores.select(quantity="perplexity")] == [64, 128, 256]
    table = perplexity_table({"mine": rows}, [100, 128]).set_index("length")
    assert scores.one(quantity="perplexity", length=128).value == pytest.approx(table.loc[128, "perplexity"])
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == 256


def test_a_rope_that_changes_with_the_length_is_read_in_a_pass_at_each_of_its_lengths(read):
    rope = apply(ORIGINAL, "dynamic_ntk", factor=2.0)
    folder = read(rope)
    rows, header = read_nll(folder / "nll.parquet")
    assert rows["pass_length"].unique().tolist() == [64, 128, 256]
    assert header["rope"] == rope.to_json()
    scores = Scores.read(folder / "scores.json")
    assert [row.length for row in scores.select(quantity="perplexity")] == [64, 128, 256]
    # Each pass is that of the rope as it is at this length.
    at_128, _ = read_nll(read(rope.at(128), name="fixed") / "nll.parquet")
    here = rows[rows["pass_length"] == 128]["nll"].to_numpy()
    fixed = at_128[at_128["position"] < 128]["nll"].to_numpy()
    assert here == pytest.approx(fixed, abs=1e-5)
    longer = rows[(rows["pass_length"] == 256) & (rows["position"] < 128)]["nll"].to_numpy()
    assert abs(longer - fixed).max() > 1e-4


@pytest.mark.parametrize("window", [None, 32])
def test_a_killed_reading_goes_on_after_the_last_document(read, tmp_path, monkeypatch, window):
    options = NllOptions(read_to=128, documents=2, window=window, dtype="float32")
    whole, _ = read_nll(read(options=options, name="whole") / "nll.parquet")
    token_nll, lengths = nll.token_nll, []

    def killed(model, tokens, **others):
        if lengths:
            raise KeyboardInterrupt
        lengths.append(len(tokens))
        return token_nll(model, tokens, **others)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(nll, "token_nll", killed)
        read(options=options)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(nll, "token_nll", lambda *args, **others: lengths.append(1) or token_nll(*args, **others))
    rows, _ = read_nll(read(options=options) / "nll.parquet")
    assert lengths == [128, 1]
    pd.testing.assert_frame_equal(rows, whole)
    assert not (tmp_path / "out.state").exists()


def test_a_rope_that_changes_is_read_at_the_end_where_no_other_length_is_asked_for(read):
    rows, _ = read_nll(read(apply(ORIGINAL, "dynamic_ntk", factor=2.0), NllOptions(read_to=128)) / "nll.parquet")
    assert rows["pass_length"].unique().tolist() == [128]


def test_the_header_says_what_was_read_and_how(read, lettered, source):
    options = NllOptions(read_to=128, documents=2, split="search", window=32, window_stride=8, dtype="float32")
    path = read(options=options) / "nll.parquet"
    _, header = read_nll(path)
    assert header == json.loads(pq.read_schema(path).metadata[b"ropewalk"])
    assert header["columns"] == COLUMNS
    assert (header["model"], header["rope"]) == (str(source), ORIGINAL.to_json())
    assert header["options"] == plain(options)
    assert header["corpora"] == {"text": lettered.info}
    assert (header["training"], header["dtype"]) == (None, "float32")
    saved = load_file(Path(source.name) / "model.safetensors")
    assert header["parameters"] == sum(weights.size for weights in saved.values())
    rows, _ = read_nll(path)
    [text, _] = nll.texts({"text": lettered}, split="search", documents=2, length=128)
    assert text.document in set(rows["document"])
    assert rows["window_nll"].notna().all()


def test_what_cannot_be_read_is_said_before_anything_is_written(read, lettered, tmp_path):
    with pytest.raises(UserError, match="corpus name 'all' stands for all corpora together"):
        read(corpora={"all": lettered})
    with pytest.raises(UserError, match="documents of at least 5000 tokens"):
        read(options=NllOptions(read_to=5000))
    with pytest.raises(UserError, match="the rope rotates 16 dimensions of a head; this model rotates 32"):
        read(default_rope(16, 10_000.0, 64))
    with pytest.raises(UserError, match="a rope that changes with the length has no table for a window"):
        read(apply(ORIGINAL, "dynamic_ntk", factor=2.0), NllOptions(read_to=128, documents=2, window=32))
    assert not (tmp_path / "out").exists()

from __future__ import annotations

import math
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers import decoders as decoding
from transformers import PreTrainedTokenizerFast

from ropewalk import cli
from ropewalk.corpora import build
from ropewalk.errors import UserError
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.shape import ModelShape
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.reading import longppl, nll
from ropewalk.reading.nll_file import write_nll
from ropewalk.rope import apply, default_rope


def rows(values: dict[str, list[tuple[float, float]]], corpus: str = "c") -> pd.DataFrame:
    """Rows of documents from pairs of NLL and window NLL."""
    frames = [
        pd.DataFrame(
            {
                "corpus": corpus,
                "document": document,
                "position": np.arange(1, len(pairs) + 1, dtype=np.int32),
                "nll": np.array([one for one, _ in pairs], dtype=np.float32),
                "pass_length": np.int32(len(pairs) + 1),
                "window_nll": np.array([two for _, two in pairs], dtype=np.float32),
            }
        )
        for document, pairs in values.items()
    ]
    return pd.concat(frames, ignore_index=True)


# Key are places 2 and 5 of x, and 1 of y: 3 costs exactly 2 nats more, 4 is predicted badly with the whole text too.
WORKED = {
    "x": [(1.0, 1.0), (0.5, 3.0), (1.0, 3.0), (2.0, 9.0), (1.5, 4.0)],
    "y": [(0.25, 2.5), (3.0, 9.0), (0.1, 0.1), (1.0, 0.5), (1.0, 1.0)],
    "z": [(1.0, 1.0)] * 5,
}


def test_key_tokens_by_hand():
    keys = longppl.key_tokens(rows(WORKED))
    assert list(keys.itertuples(index=False, name=None)) == [("c", "x", 2), ("c", "x", 5), ("c", "y", 1)]
    assert len(longppl.key_tokens(rows(WORKED), alpha=1.9)) == 4
    assert len(longppl.key_tokens(rows(WORKED), beta=-1.0)) == 2


def test_longppl_by_hand():
    measured = rows(WORKED)
    keys = longppl.key_tokens(measured)
    table = longppl.longppl_table({"a": measured}, keys, [3, 6]).set_index("length")
    assert table.loc[6, "longppl"] == pytest.approx(math.exp(((0.5 + 1.5) / 2 + 0.25) / 2))
    assert table.loc[3, "longppl"] == pytest.approx(math.exp((0.5 + 0.25) / 2))
    assert table["keys"].tolist() == [2, 3]
    assert table["documents"].tolist() == [2, 2], "a document without key tokens has no say"


def test_subjects_are_paired_by_document():
    rng = np.random.default_rng(0)
    pairs = {f"d{d}": [(float(x), float(x) + 3) for x in rng.uniform(0, 1.9, 9)] for d in range(8)}
    a, b = rows(pairs), rows(pairs)
    b["nll"] += np.float32(0.25)
    table = longppl.longppl_table({"a": a, "b": b}, longppl.key_tokens(a), [10], reference="a").set_index("rope")
    assert table.loc["b", ["difference", "difference_low", "difference_high"]].tolist() == pytest.approx([0.25] * 3)
    assert table.loc["b", "better"] == "no"
    with pytest.raises(UserError, match="reference rope 'q' was not measured; measured: a"):
        longppl.longppl_table({"a": a}, longppl.key_tokens(a), [10], reference="q")


def test_what_cannot_be_read_is_said():
    measured = rows(WORKED)
    keys = longppl.key_tokens(measured)
    with pytest.raises(UserError, match="key tokens need the NLL with a window"):
        longppl.key_tokens(measured.drop(columns="window_nll"))
    with pytest.raises(UserError, match="1 key tokens were not measured, the first at position 1 of document 'y' of c"):
        longppl.key_nll(measured[measured["document"] != "y"], keys, 6)
    with pytest.raises(UserError, match="length 1: there is no key token"):
        longppl.key_nll(measured, keys, 1)


def test_keys_are_kept_with_where_they_came_from(tmp_path):
    path = tmp_path / "keys.parquet"
    options = {"window": 8, "window_stride": 4}
    about = {"corpora": {"c": {"tokenizer": {"fingerprint": "f"}}}, "model": "m", "options": options}
    keys = longppl.key_tokens(rows(WORKED))
    longppl.write_keys(path, keys, longppl.keys_metadata(about, 2.0, -2.0))
    back, metadata = longppl.read_keys(path)
    pd.testing.assert_frame_equal(back, keys)
    assert (metadata["alpha"], metadata["beta"], metadata["options"]) == (2.0, -2.0, options)
    longppl.check_same_tokens(metadata, about, "a")
    with pytest.raises(UserError, match="measurement 'a' has another tokenizer than the key tokens of corpus 'c'"):
        longppl.check_same_tokens(metadata, {"corpora": {"c": {"tokenizer": {"fingerprint": "g"}}}}, "a")
    with pytest.raises(UserError, match="measurement 'a' did not read corpus 'c'"):
        longppl.check_same_tokens(metadata, {"corpora": {}}, "a")
    keys.to_parquet(path)
    with pytest.raises(UserError, match="keys.parquet holds no key tokens"):
        longppl.read_keys(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="is damaged or no parquet file"):
        longppl.read_keys(path)
    with pytest.raises(UserError, match="no such file; expected key tokens"):
        longppl.read_keys(tmp_path / "none.parquet")


def published_keys(model, tokens: np.ndarray, trunc_len: int, sliding: int, alpha: float, beta: float) -> list[int]:
    """Key tokens in the way of longppl 0.3.0: one short pass a stride, its last tokens held against the full pass."""

    def losses(ids):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(ids)[None]).logits[0, :-1]
        return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none").numpy()

    full, found = losses(tokens), []
    for start in range(0, len(tokens) - trunc_len, sliding):
        short = losses(tokens[start : start + trunc_len + sliding])
        for place in range(start + trunc_len, min(start + trunc_len + sliding, len(tokens))):
            if short[place - start - 1] - full[place - 1] > alpha and full[place - 1] < -beta:
                found.append(place)
    return found


def test_a_model_gives_the_keys_that_the_published_code_gives():
    model = fresh_llama(ModelShape(32, 2, 2, 1, 32, length=64), 50, seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    tokens = np.random.default_rng(0).integers(0, 50, size=24 + 8 * 20)
    rope = read_rope(model.config)
    measured = nll.score(model, rope, [nll.Text("c", "d", tokens)], [len(tokens)], window=32, stride=8)
    alpha, beta = 0.05, -4.5
    keys = longppl.key_tokens(measured, alpha, beta)["position"].tolist()
    assert keys == published_keys(model, tokens, 24, 8, alpha, beta)
    assert len(keys) > 5
    assert min(keys) >= 32


def pair_tokenizer() -> PreTrainedTokenizerFast:
    """One token for up to two characters, and for each of a few."""
    letters = "abcdefgh "
    vocabulary = [*letters, *(a + b for a in letters for b in letters)]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("..?"), "isolated")
    backend.decoder = decoding.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.fixture
def corpora(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "d.txt").write_text("abc defgh abcd efg")
    made = {}
    for name, tokenizer in (("byte", byte_tokenizer()), ("pair", pair_tokenizer())):
        made[name] = build(f"folder:{folder}", tokenizer, tmp_path / name / "c")
    return made


def test_keys_are_carried_over_by_their_characters(corpora):
    byte, pair = corpora["byte"], corpora["pair"]
    [document] = byte.documents["id"]
    # In pairs ab|c_|de|fg|h_|ab|cd|_e|fg: 1 and 4 lie whole within the keys; 2 and 6 do so by half.
    keys = pd.DataFrame({"corpus": "c", "document": document, "position": [2, 3, 4, 8, 9, 13]})
    found = longppl.transfer(keys, {"c": byte}, byte_tokenizer(), {"c": pair}, pair_tokenizer())
    assert found["position"].tolist() == [1, 4]
    back = longppl.transfer(found, {"c": pair}, pair_tokenizer(), {"c": byte}, byte_tokenizer())
    assert back["position"].tolist() == [2, 3, 8, 9]
    with pytest.raises(UserError, match="corpus 'c' of the key tokens is not among the target corpora"):
        longppl.transfer(keys, {"c": byte}, byte_tokenizer(), {}, pair_tokenizer())
    with pytest.raises(UserError, match="its tokens are not those of the tokenizer given"):
        longppl.transfer(keys, {"c": byte}, byte_tokenizer(), {"c": pair}, byte_tokenizer())


def test_spans_that_touch_become_one():
    merged = longppl.merge_spans(np.array([[0, 2], [2, 5], [7, 8], [7, 8]]))
    assert merged.tolist() == [[0, 5], [7, 8]]
    spans = np.array([[0, 3], [3, 6], [4, 5], [5, 5], [7, 8]])
    assert longppl.inside(spans, merged).tolist() == [0, 2, 4]
    assert longppl.inside(spans, longppl.merge_spans(np.empty((0, 2), dtype=np.int64))).tolist() == []


def test_a_rope_that_changes_with_the_length_is_read_where_it_was_measured(monkeypatch, tmp_path, capsys):
    measured = rows(WORKED)
    short = measured[measured["position"] < 4].assign(pass_length=4, nll=measured["nll"] + 1)
    keys = longppl.key_tokens(measured)
    both = {"a": measured, "b": pd.concat([measured, short])}
    table = longppl.longppl_table(both, keys, [3, 4, 6], reference="a")
    assert table[["rope", "length"]].to_numpy().tolist() == [["a", 3], ["a", 4], ["b", 4], ["a", 6], ["b", 6]]
    assert table.set_index(["rope", "length"]).loc[("b", 4), "difference"] == pytest.approx(1)
    one = longppl.longppl_table({"a": measured, "b": measured}, keys, [3, 6], dynamic=["b"])
    assert one[["rope", "length"]].to_numpy().tolist() == [["a", 3], ["a", 6], ["b", 6]]
    with pytest.raises(UserError, match="no rope was read at 3 tokens"):
        longppl.longppl_table({"b": both["b"]}, keys, [3])
    ropes = {"a": default_rope(8, 1e4, 6), "b": apply(default_rope(8, 1e4, 6), "dynamic_ntk", factor=2.0)}
    for name, rope in ropes.items():
        about = {"corpora": {"c": {"tokenizer": {"fingerprint": "f"}}}, "model": "m", "rope": rope.to_json()}
        write_nll(tmp_path / name / "nll.parquet", measured, about)
    longppl.write_keys(tmp_path / "keys.parquet", keys, longppl.keys_metadata(about))
    files = [tmp_path / name / "nll.parquet" for name in ropes]
    command(monkeypatch, "table", *files, "--keys", tmp_path / "keys.parquet", "--lengths", "3,6")
    assert re.search(r"^b +— +\d", capsys.readouterr().out, re.MULTILINE)


def command(monkeypatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["ropewalk", "longppl", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code


def test_commands(monkeypatch, tmp_path, capsys):
    rope = default_rope(8, 1e4, 6).to_json()
    about = {"corpora": {"c": {"tokenizer": {"fingerprint": "f"}}}, "model": "m", "rope": rope}
    for name in ("a", "b"):
        write_nll(tmp_path / name / "nll.parquet", rows(WORKED), about)
    files = [tmp_path / name / "nll.parquet" for name in ("a", "b")]
    command(monkeypatch, "keys", files[0], "-o", tmp_path / "keys.parquet")
    assert "3 key tokens of 15, in 2 documents" in capsys.readouterr().out
    command(monkeypatch, "table", *files, "--keys", tmp_path / "keys.parquet", "--lengths", "6", "--reference", "a")
    printed = capsys.readouterr().out
    assert "c (2 documents)" in printed
    assert f"{math.exp(0.625):.2f}" in printed
    command(
        monkeypatch, "table", *files, "--keys", tmp_path / "keys.parquet", "--lengths", "6", "-o", tmp_path / "t.csv"
    )
    assert pd.read_csv(tmp_path / "t.csv")["rope"].tolist() == ["a", "b"]

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ropewalk.corpora import store
from ropewalk.corpora.options import Need
from ropewalk.corpora.splits import SPLITS, split_of, text_hash
from ropewalk.corpora.store import Corpus, build, fingerprint
from ropewalk.errors import UserError

TEXTS = {f"{number:02d}.txt": f"Text {number}: naïve 🙂\n" * (5 * number + 1) for number in range(40)}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def built(texts: Path, byte_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "tiny"
    build(f"folder:{texts}", byte_tokenizer, folder)
    return folder


@pytest.fixture
def corpus(built: Path) -> Corpus:
    return Corpus.open(built)


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def test_tokens_are_the_text_again(corpus: Corpus, byte_tokenizer: Any) -> None:
    for name, text in TEXTS.items():
        assert len(corpus.document(name)) == len(text.encode())
        assert byte_tokenizer.decode(corpus.document(name)) == text


def test_documents(corpus: Corpus) -> None:
    table = corpus.documents.set_index("id")
    assert list(table.index) == sorted(TEXTS)
    for name, text in TEXTS.items():
        row = table.loc[name]
        assert (row["characters"], row["split"], row["sha256"]) == (len(text), split_of(text), text_hash(text))


def test_tokens_are_mapped_not_read(corpus: Corpus) -> None:
    assert isinstance(corpus.tokens, np.memmap)
    assert corpus.tokens.dtype == np.uint16
    assert isinstance(corpus.document("00.txt"), np.memmap)
    assert not corpus.tokens.flags.writeable


def test_description(corpus: Corpus, texts: Path, byte_tokenizer: Any) -> None:
    info = corpus.info
    assert info["source"] == f"folder:{texts}"
    assert info["provenance"] == {"kind": "folder", "folder": str(texts)}
    assert info["tokenizer"] == {
        "fingerprint": fingerprint(byte_tokenizer),
        "vocabulary": 258,
        "bos_id": None,
    }
    assert list(info["splits"]) == list(SPLITS)
    assert sum(split["documents"] for split in info["splits"].values()) == info["documents"] == len(TEXTS)
    assert sum(split["tokens"] for split in info["splits"].values()) == info["tokens"] == len(corpus.tokens)


def test_batches_make_no_difference(
    corpus: Corpus, texts: Path, byte_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BATCH_CHARACTERS", 1000)
    seen: list[tuple[int, int]] = []
    again = build(f"folder:{texts}", byte_tokenizer, tmp_path / "c", progress=lambda *done: seen.append(done))
    assert np.array_equal(again.tokens, corpus.tokens)
    pd.testing.assert_frame_equal(again.documents, corpus.documents)
    assert len(seen) > 5
    assert seen == sorted(seen)
    assert seen[-1] == (len(TEXTS), len(corpus.tokens))


def test_real_text(byte_tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        corpus = build("package:government", byte_tokenizer, tmp_path / "c", limit=3)
    assert not caplog.records  # the tokenizer does not complain of texts beyond its 128 tokens
    assert corpus.info["documents"] == corpus.info["limit"] == 3
    assert corpus.documents["id"].tolist() == ["1790-Washington-1", "1790-Washington-2", "1791-Washington-1"]
    assert "Fellow-Citizens" in byte_tokenizer.decode(corpus.document("1790-Washington-1"))


class Stop(Exception):
    pass


def stop_after(batches: int) -> Callable[[int, int], None]:
    """A progress that ends a build, as a kill would, after so many batches."""
    seen: list[int] = []

    def progress(documents: int, tokens: int) -> None:
        seen.append(documents)
        if len(seen) == batches:
            raise Stop

    return progress


def numbered(folder: Path, documents: list[str]) -> Path:
    """A folder of documents."""
    folder.mkdir()
    for k, text in enumerate(documents):
        (folder / f"{k}.txt").write_text(text)
    return folder


def one_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch, documents: list[str]) -> Path:
    """A folder of documents, each of which is a batch of its own."""
    monkeypatch.setattr(store, "BATCH_CHARACTERS", 1)
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    return numbered(folder / "texts", documents)


def test_a_killed_build_goes_on_after_its_last_batch(
    byte_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = one_at_a_time(tmp_path, monkeypatch, [f"document {k} " * (k + 1) for k in range(6)])
    whole = build(f"folder:{texts}", byte_tokenizer, tmp_path / "whole")
    with pytest.raises(Stop):
        build(f"folder:{texts}", byte_tokenizer, tmp_path / "cut", progress=stop_after(4))
    assert not (tmp_path / "cut").exists()
    # A kill may tear the line that was being written, and leave tokens without a row.
    with (tmp_path / "cut.state/documents.jsonl").open("a") as lines:
        lines.write('["4.txt", 12')
    with (tmp_path / "cut.state/tokens").open("ab") as tokens:
        tokens.write(b"torn")
    tokenised: list[int] = []
    monkeypatch.setattr(store, "_tokenise", spied(store._tokenise, tokenised))
    cut = build(f"folder:{texts}", byte_tokenizer, tmp_path / "cut")
    assert tokenised == [1, 1]
    assert np.array_equal(cut.tokens, whole.tokens)
    pd.testing.assert_frame_equal(cut.documents, whole.documents)
    assert not (tmp_path / "cut.state").exists()


def spied(tokenise: Callable[..., Any], seen: list[int]) -> Callable[..., Any]:
    def call(tokenizer: Any, texts: list[str]) -> Any:
        seen.append(len(texts))
        return tokenise(tokenizer, texts)

    return call


def test_a_text_that_changed_is_tokenised_again_with_all_behind_it(
    byte_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = one_at_a_time(tmp_path, monkeypatch, [f"document {k}" for k in range(4)])
    with pytest.raises(Stop):
        build(f"folder:{texts}", byte_tokenizer, tmp_path / "cut", progress=stop_after(3))
    (texts / "1.txt").write_text("another text altogether")
    tokenised: list[int] = []
    monkeypatch.setattr(store, "_tokenise", spied(store._tokenise, tokenised))
    corpus = build(f"folder:{texts}", byte_tokenizer, tmp_path / "cut")
    assert tokenised == [1, 1, 1]
    assert byte_tokenizer.decode(corpus.document("1.txt")) == "another text altogether"
    assert byte_tokenizer.decode(corpus.document("3.txt")) == "document 3"


def test_a_corpus_that_a_study_needs_more_of_is_refused_before_it_stands(byte_tokenizer: Any, tmp_path: Path) -> None:
    texts = numbered(tmp_path / "texts", [f"document {k} " * 10 for k in range(40)])
    with pytest.raises(UserError, match=r"of the 2 wanted documents of at least 500 tokens in its split test"):
        build(f"folder:{texts}", byte_tokenizer, tmp_path / "c", needs=[Need("test", 500, 2)])
    assert not (tmp_path / "c").exists()
    tokenised: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_tokenise", spied(store._tokenise, tokenised))
        build(f"folder:{texts}", byte_tokenizer, tmp_path / "c", needs=[Need("test", 50, 2), Need("train", 100, 1)])
    assert tokenised == [], "what was tokenised is kept for a study that needs less"


def test_failed_build_leaves_nothing(byte_tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("fine")
    (tmp_path / "texts" / "b.txt").write_text("")
    with pytest.raises(UserError, match="empty document"):
        build(f"folder:{tmp_path / 'texts'}", byte_tokenizer, tmp_path / "corpora" / "c")
    # What it goes on from is no corpus.
    assert not [path for path in (tmp_path / "corpora").iterdir() if not path.name.startswith("c.state")]


# --------------------------------------------------------------------------------------------------------- tokenizer


def test_fingerprint_is_of_what_is_done_to_text(byte_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    before = fingerprint(byte_tokenizer)
    byte_tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert fingerprint(loaded) == before
    loaded(["a long text"], truncation=True, max_length=4)
    assert fingerprint(loaded) == before
    loaded.add_tokens(["long"])
    assert fingerprint(loaded) != before


def test_bos_is_known_where_the_tokenizer_adds_it(
    texts: Path, byte_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    byte_tokenizer.save_pretrained(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", bos)])
    corpus = build(f"folder:{texts}", tokenizer, tmp_path / "c", limit=2)
    assert corpus.bos_id == bos
    assert bos not in corpus.tokens


def test_large_vocabularies_need_four_bytes(texts: Path, byte_tokenizer: Any, tmp_path: Path) -> None:
    byte_tokenizer.save_pretrained(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    tokenizer.add_tokens([f"<{number}>" for number in range(2**16)])
    assert build(f"folder:{texts}", tokenizer, tmp_path / "c", limit=1).tokens.dtype == np.uint32


# --------------------------------------------------------------------------------------------------------- selecting


def test_select(corpus: Corpus) -> None:
    train = corpus.documents[(corpus.documents["split"] == "train") & (corpus.documents["length"] >= 1000)]
    everything = corpus.select("train", 1000, len(train))
    assert sorted(everything) == sorted(train["id"])
    assert everything != sorted(everything)
    assert [text_hash(TEXTS[name]) for name in everything] == sorted(train["sha256"])
    assert corpus.select("train", 1000, 3) == everything[:3]


def test_too_few_to_select(corpus: Corpus) -> None:
    inside = corpus.documents[corpus.documents["split"] == "test"]["length"]
    longest = ", ".join(map(str, sorted(inside, reverse=True)[:3]))
    long = int((inside >= 2000).sum())
    with pytest.raises(UserError) as caught:
        corpus.select("test", 2000, 50)
    assert str(caught.value) == (
        f"The corpus {corpus.folder} ({corpus.info['source']}) has {long} of the 50 wanted documents of at least 2000 "
        f"tokens in its split test; the longest there have {longest} tokens."
    )
    with pytest.raises(UserError, match="'validation' is no split; expected one of train, search, selection, test"):
        corpus.select("validation", 1, 1)


def test_windows_lie_within_train_documents(corpus: Corpus, byte_tokenizer: Any) -> None:
    windows = corpus.sample_windows(np.random.default_rng(0), 64, 200)
    assert windows.shape == (200, 64)
    assert windows.dtype == np.int64
    train = [corpus.document(name).tobytes() for name in TEXTS if split_of(TEXTS[name]) == "train"]
    for window in windows:
        assert any(window.astype(np.uint16).tobytes() in document for document in train)
    assert np.array_equal(windows, corpus.sample_windows(np.random.default_rng(0), 64, 200))


def test_window_positions_are_uniform(byte_tokenizer: Any, tmp_path: Path) -> None:
    # Two train documents in which every window of 5 is told by its content: 6 and 16 positions, and one too short.
    wanted = {"ABCDEFGHIJ": 10, "abcdefghijklmnopqrst": 20, "012": 3}
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(wanted):
        (tmp_path / "texts" / f"{number}.txt").write_text(text)
    build(f"folder:{tmp_path / 'texts'}", byte_tokenizer, tmp_path / "c")
    table = pd.read_parquet(tmp_path / "c" / "documents.parquet").assign(split="train")
    table.to_parquet(tmp_path / "c" / "documents.parquet", index=False)
    draws = 22_000
    windows = Corpus.open(tmp_path / "c").sample_windows(np.random.default_rng(1), 5, draws)
    found = pd.Series([byte_tokenizer.decode(window) for window in windows]).value_counts()
    assert set(found.index) == {text[at : at + 5] for text in wanted for at in range(len(text) - 4) if len(text) >= 5}
    assert found.between(850, 1150).all()  # 1000 expected, standard deviation 31


def test_windows_of_the_whole_document_and_longer(corpus: Corpus) -> None:
    longest = int(corpus.documents[corpus.documents["split"] == "train"]["length"].max())
    assert corpus.sample_windows(np.random.default_rng(0), longest, 2).shape == (2, longest)
    with pytest.raises(
        UserError, match=f"no document of at least {longest + 1} tokens .* longest there have {longest},"
    ):
        corpus.sample_windows(np.random.default_rng(0), longest + 1, 2)


# ------------------------------------------------------------------------------------------------------------ damage


def test_unknown_document(corpus: Corpus) -> None:
    with pytest.raises(UserError, match=r"has no document 'nowhere\.txt'"):
        corpus.document("nowhere.txt")


def test_missing_corpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such corpus"):
        Corpus.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["corpus.json", "documents.parquet", "tokens.npy"])
def test_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: no such file"):
        Corpus.open(copy)


@pytest.mark.parametrize("name", ["corpus.json", "documents.parquet", "tokens.npy"])
@pytest.mark.parametrize("keep", [0, 60, 0.5])
def test_truncated_file_is_named(copy: Path, name: str, keep: float) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    with pytest.raises(UserError, match=rf"{name} is damaged"):
        Corpus.open(copy)


def test_files_that_do_not_belong_together(copy: Path) -> None:
    tokens = np.load(copy / "tokens.npy")
    np.save(copy / "tokens.npy", tokens[:-1])
    with pytest.raises(UserError, match=rf"tokens\.npy has {len(tokens) - 1} tokens, but corpus\.json"):
        Corpus.open(copy)
    table = pd.read_parquet(copy / "documents.parquet")
    table.iloc[1:].to_parquet(copy / "documents.parquet", index=False)
    with pytest.raises(UserError, match=r"documents\.parquet lists 39 documents"):
        Corpus.open(copy)
    table.drop(columns="split").to_parquet(copy / "documents.parquet", index=False)
    with pytest.raises(UserError, match=r"documents\.parquet is damaged: expected the columns id,"):
        Corpus.open(copy)
    (copy / "corpus.json").write_text(json.dumps({"source": "folder:x"}))
    with pytest.raises(UserError, match=r"corpus\.json is damaged"):
        Corpus.open(copy)

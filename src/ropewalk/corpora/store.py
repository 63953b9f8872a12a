"""A corpus on disk: text tokenised once for one tokenizer, and mapped into memory from then on.

A corpus is a folder of three files: ``tokens.npy`` (all documents, one after the other, without special tokens),
``documents.parquet`` (where each begins, how long it is, and its split) and ``corpus.json`` (where all that came from).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from ropewalk.corpora.options import CorpusOptions, Need
from ropewalk.corpora.sources import Document, describe, read_source
from ropewalk.corpora.splits import SPLITS, split_of, text_hash
from ropewalk.errors import UserError
from ropewalk.files import claim_state, only_one, read_json, whole_folder, whole_lines, write_json

BATCH_CHARACTERS = 2_000_000
"""Characters tokenised at a time for each thread of the tokenizer: a few books, of which each takes one."""

Row = tuple[str, int, int, int, str, str]
"""Id, first token, tokens, characters, split, and hash of the text of a document."""
COLUMNS = ("id", "start", "length", "characters", "split", "sha256")


def fingerprint(tokenizer: Any) -> str:
    """The sha256 of what a fast tokenizer does to text, by which a corpus and a model are seen to belong together.

    Truncation and padding, which merely using a tokenizer may change, do not count.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = {key: value for key, value in state.items() if key not in {"truncation", "padding"}}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def build(
    source: str,
    tokenizer: Any,
    folder: str | os.PathLike[str],
    *,
    revision: str | None = None,
    text_key: str = CorpusOptions.text_key,
    limit: int | None = None,
    state: Path | None = None,
    needs: Sequence[Need] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Tokenise ``source`` into ``folder``, which is whole or absent whatever happens, and open it.

    Killed and called again, it goes on after the last batch of documents that was tokenised.

    Args:
        source: see ``ropewalk.corpora.sources.read_source``, also for ``revision``, ``text_key`` and ``limit``.
        tokenizer: a fast tokenizer of transformers. No special tokens are added to the text.
        folder: is replaced where it exists.
        state: folder of what was tokenised so far, removed at the end; beside ``folder`` where None.
        needs: what will be asked of the corpus.
        progress: called now and then with the documents and the tokens done so far.

    Raises:
        UserError: the source cannot be read, holds no text, or less than what is needed.
    """
    provenance = describe(source, revision=revision)
    # Read what was described, even if a branch of the hub moves in between.
    documents = read_source(source, revision=provenance.get("revision"), text_key=text_key, limit=limit)
    vocabulary = len(tokenizer)
    about = {
        "source": source,
        "provenance": provenance,
        "tokenizer": {
            "fingerprint": fingerprint(tokenizer),
            "vocabulary": vocabulary,
            "bos_id": _bos_id(tokenizer),
        },
    }
    dtype = np.dtype(np.uint16 if vocabulary < 2**16 else np.uint32)
    state = state or Path(f"{os.fspath(folder)}.state")
    with only_one(state):
        claim_state(state, {**about, "text_key": text_key})
        rows = _tokenised(documents, tokenizer, state, dtype, progress)
        total = sum(row[2] for row in rows)
        if not total:
            raise UserError(f"{source} holds no text.")
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        by_split = table.groupby("split")["length"].agg(["size", "sum"])
        with whole_folder(folder) as temporary:
            with (temporary / "tokens.npy").open("wb") as file, (state / "tokens").open("rb") as tokens:
                _write_header(file, dtype, total)
                shutil.copyfileobj(tokens, file, 2**24)
            table.to_parquet(temporary / "documents.parquet", index=False)
            write_json(
                temporary / "corpus.json",
                {
                    "source": source,
                    "limit": limit,
                    "provenance": provenance,
                    "tokenizer": about["tokenizer"],
                    "documents": len(rows),
                    "tokens": total,
                    "splits": {
                        split: {"documents": int(documents), "tokens": int(tokens)}
                        for split, documents, tokens in by_split.reindex(list(SPLITS), fill_value=0).itertuples()
                    },
                },
            )
            # Before anything is spent on models; what is tokenised stays for another try with other lengths.
            built = Corpus.open(temporary)
            for need in needs:
                front = built.bos_id is not None and need.split != "train"
                built.select(need.split, need.length - front, need.documents)
        shutil.rmtree(state)
    return Corpus.open(folder)


def _tokenised(
    documents: Iterable[Document],
    tokenizer: Any,
    state: Path,
    dtype: np.dtype[Any],
    progress: Callable[[int, int], None] | None,
) -> list[Row]:
    """Bring the tokens of all documents into ``state/tokens``, and return a row for each document.

    What an earlier call left there is kept as far as the documents are still those that it read.
    """
    rows: list[Row] = []
    documents = iter(documents)
    first: list[Document] = []
    (state / "tokens").touch()
    kept = (state / "tokens").stat().st_size // dtype.itemsize
    for known in whole_lines(state / "documents.jsonl"):
        document = next(documents, None)
        same = document is not None and [document.id, text_hash(document.text)] == [known[0], known[5]]
        if not same or known[1] + known[2] > kept:
            first = [document] if document else []
            break
        rows.append(tuple(known))
    total = sum(row[2] for row in rows)
    (state / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (state / "tokens").open("ab") as file, (state / "documents.jsonl").open("a") as lines:
        file.truncate(total * dtype.itemsize)
        for batch in _batches(chain(first, documents)):
            done = []
            for document, ids in zip(batch, _tokenise(tokenizer, [each.text for each in batch]), strict=True):
                file.write(np.asarray(ids, dtype).tobytes())
                text = document.text
                done.append((document.id, total, len(ids), len(text), split_of(text), text_hash(text)))
                total += len(ids)
            # Tokens first: a row says that they are there.
            file.flush()
            lines.write("".join(json.dumps(row) + "\n" for row in done))
            lines.flush()
            rows += done
            if progress is not None:
                progress(len(rows), total)
    return rows


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus that was built before.

    Attributes:
        folder: where it lies.
        info: ``corpus.json``.
        tokens: the ids of all documents, mapped from disk.
        documents: a row a document: ``id``, ``start`` and ``length`` (tokens), ``characters``, ``split``, ``sha256``.
    """

    folder: Path
    info: dict[str, Any]
    tokens: np.memmap[Any, np.dtype[np.unsignedinteger[Any]]]
    documents: pd.DataFrame

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Corpus:
        """Open the corpus in ``folder`` without reading its tokens.

        Raises:
            UserError: a file is missing or damaged, or the files do not belong together.
        """
        root = Path(folder)
        if not root.is_dir():
            raise UserError(f"{root}: no such corpus; build it first.")
        info = read_json(root / "corpus.json", "the description of a corpus")
        table = _read_file(root / "documents.parquet", pd.read_parquet)
        tokens = _read_file(root / "tokens.npy", lambda path: np.load(path, mmap_mode="r", allow_pickle=False))
        try:
            described = (info["documents"], info["tokens"])
            info["source"], info["tokenizer"]["fingerprint"], info["tokenizer"]["bos_id"]
        except (KeyError, TypeError):
            raise UserError(f"{root / 'corpus.json'} is damaged or not the description of a corpus.") from None
        if set(table.columns) != set(COLUMNS):
            raise UserError(f"{root / 'documents.parquet'} is damaged: expected the columns {', '.join(COLUMNS)}.")
        starts = np.cumsum(table["length"]) - table["length"]
        if (len(table), table["length"].sum()) != described or not (starts == table["start"]).all():
            raise UserError(
                f"{root / 'documents.parquet'} lists {len(table)} documents of {table['length'].sum()} tokens, but "
                f"corpus.json beside it says {described[0]} of {described[1]}; build the corpus again."
            )
        if tokens.shape != (described[1],):
            raise UserError(
                f"{root / 'tokens.npy'} has {tokens.size} tokens, but corpus.json beside it says {described[1]}; "
                "build the corpus again."
            )
        return cls(root, info, tokens, table)

    @property
    def bos_id(self) -> int | None:
        """The token that the corpus' tokenizer puts before a text by itself, or None; it is not in ``tokens``."""
        bos: int | None = self.info["tokenizer"]["bos_id"]
        return bos

    def document(self, id: str) -> np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]:
        """The tokens of one document, as a view of the mapped file.

        Raises:
            UserError: there is no such document.
        """
        if id not in self._spans:
            raise UserError(f"{self._name} has no document {id!r}.")
        start, length = self._spans[id]
        return self.tokens[start : start + length]

    def select(self, split: str, min_length: int, count: int) -> list[str]:
        """The ids of ``count`` documents of a split that have at least ``min_length`` tokens.

        They come in the order of the hash of their text, which is as good as random and never changes: a larger count
        adds to the selection, and a longer length takes from it.

        Raises:
            UserError: the split has too few such documents.
        """
        inside = self._of_split(split)
        long = inside[inside["length"] >= min_length].sort_values("sha256")
        if len(long) < count:
            raise UserError(
                f"{self._name} has {len(long)} of the {count} wanted documents of at least {min_length} tokens in its "
                f"split {split}; {_longest(inside)}."
            )
        return long["id"].head(count).tolist()

    def sample_windows(self, rng: np.random.Generator, length: int, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Draw windows of ``length`` tokens from the documents of the split ``train``.

        Every position at which a window fits into its document is equally likely, so that a document counts in
        proportion to its length; documents shorter than a window are never drawn.

        Returns:
            Token ids of shape (count, length).

        Raises:
            UserError: no document is that long.
        """
        if length not in self._windows:
            self._windows[length] = self._places(length)
        starts, places = self._windows[length]
        draws = rng.integers(places[-1], size=count)
        which = np.searchsorted(places, draws, side="right")
        first = starts[which] + draws - np.concatenate([[0], places])[which]
        return np.asarray(self.tokens[first[:, None] + np.arange(length)], np.int64)

    def _places(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each train document that windows of a length fit into: its first token, and how many places they have up
        to and with it.
        """
        train = self._of_split("train")
        fitting = train[train["length"] >= length]
        if fitting.empty:
            raise UserError(
                f"{self._name} has no document of at least {length} tokens in its split train; {_longest(train)}."
            )
        return fitting["start"].to_numpy(), np.cumsum(fitting["length"].to_numpy() - length + 1)

    def check_tokenizer(self, tokenizer: Any, model: object) -> None:
        """Raise ``UserError`` where the corpus was tokenised by another tokenizer than that of ``model``."""
        if self.info["tokenizer"]["fingerprint"] != fingerprint(tokenizer):
            raise UserError(f"{self._name} was tokenised by another tokenizer than that of model {model}.")

    @cached_property
    def _windows(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """By length, what windows are drawn from: looked up anew, it would take longer than the drawing."""
        return {}

    @property
    def _name(self) -> str:
        return f"The corpus {self.folder} ({self.info['source']})"

    @cached_property
    def _spans(self) -> dict[str, tuple[int, int]]:
        table = self.documents
        return dict(zip(table["id"], zip(table["start"], table["length"], strict=True), strict=True))

    def _of_split(self, split: str) -> pd.DataFrame:
        if split not in SPLITS:
            raise UserError(f"{split!r} is no split; expected one of {', '.join(SPLITS)}.")
        return self.documents[self.documents["split"] == split]


def _longest(table: pd.DataFrame) -> str:
    lengths = table["length"].nlargest(3).tolist()
    return f"the longest there have {', '.join(map(str, lengths))} tokens" if lengths else "that split is empty"


def _read_file(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; build the corpus again.") from None
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise UserError(f"{path} is damaged; build the corpus again ({reason}).") from None


def _write_header(file: BinaryIO, dtype: np.dtype[Any], length: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    together = BATCH_CHARACTERS * int(os.environ.get("RAYON_NUM_THREADS") or len(os.sched_getaffinity(0)))
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters >= together:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _tokenise(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The ids of texts, from all threads of the tokenizer, and without the place of each token in its text."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _bos_id(tokenizer: Any) -> int | None:
    bos: int | None = tokenizer.bos_token_id
    return bos if bos is not None and tokenizer("a")["input_ids"][0] == bos else None

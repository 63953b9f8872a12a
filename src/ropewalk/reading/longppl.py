"""LongPPL: perplexity over the tokens that only a long context tells (arXiv 2410.23771).

A token is a key token where the evaluator model, reading on from the start, predicts it well, and reading no more than
a window before it, much worse. Both readings are in ``nll.parquet`` of an evaluation with a window. Within the first
window the two are one, so only tokens from its length on can be key tokens. In the terms of the published code
(longppl 0.3.0), the window is ``trunc_len + sliding_window`` tokens, 5120, and its stride ``sliding_window``, 1024.

Where it differs: the last window of a text is moved back to end with it, so that it reads no less than the others do;
and the mean is taken within each document first, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerFast

from ropewalk.corpora import Corpus
from ropewalk.corpora.splits import text_hash
from ropewalk.errors import UserError
from ropewalk.intervals import CONFIDENCE
from ropewalk.reading.nll_file import read_table, write_table
from ropewalk.reading.perplexity import check_reference, compare_means, lengths_by_rope, rows_at

ALPHA = 2.0
"""Nats that a key token must cost more with the window alone: the published threshold."""
BETA = -2.0
"""Log-likelihood, in nats, that it must have with the whole text before it: the published threshold."""
COLUMNS = ("corpus", "document", "position")
_METADATA = b"ropewalk_keys"


def key_tokens(rows: pd.DataFrame, alpha: float = ALPHA, beta: float = BETA) -> pd.DataFrame:
    """The key tokens of an evaluator model.

    Args:
        rows: of its ``nll.parquet``, with ``window_nll``.
        alpha: ``window_nll - nll`` must be above it, in nats.
        beta: ``-nll`` must be above it, in nats.

    Returns:
        ``corpus``, ``document`` and ``position``, a row a key token.

    Raises:
        UserError: no window was measured.
    """
    if "window_nll" not in rows:
        raise UserError("key tokens need the NLL with a window; evaluate with --window and --window-stride.")
    key = (rows["window_nll"] - rows["nll"] > alpha) & (rows["nll"] < -beta)
    return rows.loc[key, list(COLUMNS)].reset_index(drop=True)


def keys_metadata(measured: Mapping[str, Any], alpha: float = ALPHA, beta: float = BETA) -> dict[str, Any]:
    """What a file of key tokens says of itself, from the metadata of the ``nll.parquet`` that they were found in."""
    return {
        **{name: measured.get(name) for name in ("model", "rope", "options")},
        "alpha": alpha,
        "beta": beta,
        "tokenizers": _fingerprints(measured),
    }


def write_keys(path: str | Path, keys: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Write a file of key tokens, whole or not at all."""
    write_table(path, keys[list(COLUMNS)], _METADATA, metadata)


def read_keys(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a file of key tokens: its rows and its metadata.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    rows, metadata = read_table(path, _METADATA, "key tokens of `ropewalk longppl keys`")
    if metadata is None or set(COLUMNS) - set(rows):
        raise UserError(f"{path} holds no key tokens; expected a file of `ropewalk longppl keys`.")
    return rows, metadata


def check_same_tokens(keys: Mapping[str, Any], measured: Mapping[str, Any], name: str) -> None:
    """Raise ``UserError`` where a measurement was tokenised in another way than key tokens were.

    Args:
        keys: metadata of the key tokens.
        measured: metadata of an ``nll.parquet``.
        name: of the measurement, for the error.
    """
    own = _fingerprints(measured)
    for corpus, fingerprint in keys["tokenizers"].items():
        if own.get(corpus) != fingerprint:
            what = "did not read" if corpus not in own else "has another tokenizer than the key tokens of"
            raise UserError(
                f"measurement {name!r} {what} corpus {corpus!r}; expected the same corpora and tokenizer, or keys that "
                "`ropewalk longppl transfer` has carried over."
            )


def _fingerprints(measured: Mapping[str, Any]) -> dict[str, str]:
    return {name: info["tokenizer"]["fingerprint"] for name, info in measured.get("corpora", {}).items()}


def key_nll(rows: pd.DataFrame, keys: pd.DataFrame, length: int) -> pd.Series:
    """Mean NLL (nats) of the key tokens in the first ``length`` tokens of each document that has any.

    Returns:
        Indexed by corpus and document.

    Raises:
        UserError: a key token was not measured, or there is none.
    """
    wanted = keys[keys["position"] < length].astype({"corpus": object, "document": object})
    if wanted.empty:
        raise UserError(f"length {length}: there is no key token; expected longer texts, or lower thresholds.")
    known = rows_at(rows, length)[[*COLUMNS, "nll"]].astype({"corpus": object, "document": object})
    found = wanted.merge(known, on=list(COLUMNS), how="left", validate="one_to_one")
    lacking = found[found["nll"].isna()]
    if len(lacking):
        first = lacking.iloc[0]
        raise UserError(
            f"{len(lacking)} key tokens were not measured, the first at position {first['position']} of document "
            f"{first['document']!r} of {first['corpus']}; measure the documents that the keys were found in."
        )
    return found.groupby(["corpus", "document"])["nll"].mean().astype("float64").sort_index()


def longppl_table(
    subjects: Mapping[str, pd.DataFrame],
    keys: pd.DataFrame,
    lengths: Sequence[int],
    *,
    reference: str | None = None,
    dynamic: Collection[str] = (),
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> pd.DataFrame:
    """LongPPL by rope, corpus and length, and the paired difference from a reference, over documents with key tokens.

    Args:
        subjects: rows of ``nll.parquet`` by name; all on the documents of the keys.
        keys: key tokens.
        lengths: in tokens.
        reference: the subject that others are compared with.
        dynamic: names of subjects whose rope changes with the length.
        confidence: of the bootstrap intervals over documents.
        seed: of the bootstrap.

    Returns:
        As :func:`ropewalk.reading.perplexity.perplexity_table`, with ``longppl`` in the place of ``perplexity``,
        and ``keys``, the number of key tokens.

    Raises:
        UserError: the reference is unknown, a key token was not measured, a length holds none, or none was read.
    """
    check_reference(reference, subjects)
    known = lengths_by_rope(subjects, lengths, dynamic)
    table: list[dict[str, Any]] = []
    for length in lengths:
        means = {name: key_nll(rows, keys, length) for name, rows in subjects.items() if length in known[name]}
        counts = keys.loc[keys["position"] < length, "corpus"].astype(str).value_counts()
        for row in compare_means(means, length, "longppl", reference=reference, confidence=confidence, seed=seed):
            table.append({**row, "keys": int(counts.get(row["corpus"], counts.sum()))})
    return pd.DataFrame(table)


def transfer(
    keys: pd.DataFrame,
    source: Mapping[str, Corpus],
    source_tokenizer: PreTrainedTokenizerFast,
    target: Mapping[str, Corpus],
    target_tokenizer: PreTrainedTokenizerFast,
) -> pd.DataFrame:
    """Key tokens in the tokens of another tokenizer: those that lie whole within the text of key tokens.

    Args:
        keys: as found with the source tokenizer.
        source: corpora by name, as read there.
        source_tokenizer: that of ``source``.
        target: the same documents under the same names, tokenised by the other tokenizer.
        target_tokenizer: that of ``target``.

    Raises:
        UserError: a corpus or document is missing in ``target``, or its tokens do not give the text back.
    """
    found = []
    for (corpus, document), group in keys.groupby(["corpus", "document"], observed=True, sort=False):
        name, id = str(corpus), str(document)
        for side, corpora in (("source", source), ("target", target)):
            if name not in corpora:
                raise UserError(f"corpus {name!r} of the key tokens is not among the {side} corpora.")
        text = _text(source[name], id, source_tokenizer)
        spans = _spans(source[name], id, source_tokenizer, text)
        front = source[name].bos_id is not None
        merged = merge_spans(spans[group["position"].to_numpy() - front])
        places = inside(_spans(target[name], id, target_tokenizer, text), merged) + (target[name].bos_id is not None)
        places = places[places > 0]  # nothing predicts the first token
        found.append(pd.DataFrame({"corpus": name, "document": id, "position": places.astype(np.int32)}))
    return pd.concat(found, ignore_index=True) if found else keys.iloc[:0]


def merge_spans(spans: np.ndarray) -> np.ndarray:
    """Spans of characters, shape (count, 2), in order, with those that touch or overlap made one."""
    merged: list[list[int]] = []
    for start, stop in spans[np.argsort(spans[:, 0], kind="stable")].tolist():
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return np.array(merged, dtype=np.int64).reshape(-1, 2)


def inside(spans: np.ndarray, merged: np.ndarray) -> np.ndarray:
    """Which spans, shape (count, 2), are not empty and lie whole within one of the merged ones; their indexes."""
    if not len(merged):
        return np.empty(0, dtype=np.int64)
    which = np.searchsorted(merged[:, 0], spans[:, 0], side="right") - 1
    within = (which >= 0) & (spans[:, 1] <= merged[which.clip(min=0), 1]) & (spans[:, 1] > spans[:, 0])
    return np.flatnonzero(within)


def _text(corpus: Corpus, document: str, tokenizer: PreTrainedTokenizerFast) -> str:
    """The text of a document, which a corpus does not keep; its hash tells whether the tokens give it back."""
    ids = corpus.document(document).tolist()
    text = str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    _check_text(corpus, document, text)
    return text


def _spans(corpus: Corpus, document: str, tokenizer: PreTrainedTokenizerFast, text: str) -> np.ndarray:
    """The characters of each token of a document, shape (tokens, 2)."""
    _check_text(corpus, document, text)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    if not np.array_equal(encoded["input_ids"], corpus.document(document)):
        raise UserError(f"document {document!r} of {corpus.folder}: its tokens are not those of the tokenizer given.")
    return np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)


def _check_text(corpus: Corpus, document: str, text: str) -> None:
    known = corpus.documents.loc[corpus.documents["id"] == document, "sha256"]
    if known.tolist() != [text_hash(text)]:
        raise UserError(
            f"document {document!r} of {corpus.folder} is not the text that the source tokens give back; expected "
            "corpora of one source, and a tokenizer that loses nothing."
        )

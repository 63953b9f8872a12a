"""Greedy answers to many endings of one text, which is read once."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast

from ropewalk.errors import UserError
from ropewalk.reading.nll import DEFAULT_CHUNK, check_memory, memory_errors, prefill

DEFAULT_ROWS = 8
"""Endings that are continued together."""


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prefix: np.ndarray,
    endings: Sequence[np.ndarray],
    *,
    max_new_tokens: int,
    stop: Collection[int],
    chunk: int = DEFAULT_CHUNK,
    rows: int = DEFAULT_ROWS,
) -> list[np.ndarray]:
    """The greedy continuation of a prefix with each of some endings.

    The prefix goes through the model once, in chunks, and its key/value cache serves all endings. These are continued
    in batches, padded between prefix and ending; positions are those of the text without padding.

    Args:
        model: a causal language model with a static rope.
        prefix: token ids, shape (length,).
        endings: token ids, shape (any,) each; with the prefix at least one token.
        max_new_tokens: most tokens of a continuation.
        stop: token ids that end a continuation.
        chunk: tokens of the prefix that go through the model at a time.
        rows: endings that are continued together; fewer where memory is short.

    Returns:
        Token ids without the stop token, shape (at most ``max_new_tokens``,) each, in the order of the endings.

    Raises:
        UserError: there is nothing to continue, or too little memory.
    """
    if any(len(prefix) + len(ending) == 0 for ending in endings):
        raise UserError("a text of 0 tokens cannot be continued; expected at least 1.")
    if not endings or max_new_tokens < 1:
        return [np.empty(0, dtype=np.int64) for _ in endings]
    if any(len(ending) == 0 for ending in endings):
        # The logits that an ending starts from are computed in its own pass.
        prefix, endings = prefix[:-1], [np.concatenate([prefix[-1:], ending]) for ending in endings]
    length = len(prefix) + max(map(len, endings)) + max_new_tokens
    rows = _rows_that_fit(model, length, min(rows, len(endings)))
    found: dict[int, np.ndarray] = {}
    with memory_errors(length):
        read = prefill(model, torch.from_numpy(np.asarray(prefix, dtype=np.int64)).to(model.device)[None], chunk)
        for batch in _batches(model, len(prefix), endings, rows):
            texts = _continue(model, read, len(prefix), [endings[i] for i in batch], max_new_tokens, frozenset(stop))
            found.update(zip(batch, texts, strict=True))
    return [found[i] for i in range(len(endings))]


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """The tokens that end an answer: those of the generation configuration and that of the tokenizer."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None)


def _rows_that_fit(model: PreTrainedModel, length: int, rows: int) -> int:
    """As many rows as memory has room for beside the prefix itself; the error is that of a single row."""
    for count in range(rows, 1, -1):
        with suppress(UserError):
            check_memory(model, (count + 1) * length, 1)
            return count
    check_memory(model, length, 1)
    return 1


def _batches(model: PreTrainedModel, prefix: int, endings: Sequence[np.ndarray], rows: int) -> Iterator[list[int]]:
    """Places of endings that are continued together, of similar length; of the same where padding would do harm.

    Padding takes places in a sliding window, and alone at the start of a text it attends to nothing.
    """
    kinds = getattr(model.config, "layer_types", None) or ()
    even = prefix == 0 or "sliding_attention" in kinds or bool(getattr(model.config, "sliding_window", None))
    batch: list[int] = []
    for i in sorted(range(len(endings)), key=lambda i: len(endings[i])):
        if batch and (len(batch) == rows or (even and len(endings[i]) > len(endings[batch[0]]))):
            yield batch
            batch = []
        batch.append(i)
    yield batch


def _shared(cache: DynamicCache, rows: int) -> DynamicCache:
    """A cache of so many rows that all start as the one row of another, which stays as it is."""
    new = copy.copy(cache)
    layers: list[Any] = [copy.copy(layer) for layer in cache.layers]
    for layer in layers:
        if getattr(layer, "is_initialized", False):
            # Views: appending to a layer copies it anyway.
            layer.keys, layer.values = (kept.expand(rows, -1, -1, -1) for kept in (layer.keys, layer.values))
    new.layers = layers
    return new


def _continue(
    model: PreTrainedModel,
    read: DynamicCache,
    prefix: int,
    endings: Sequence[np.ndarray],
    max_new_tokens: int,
    stop: frozenset[int],
) -> list[np.ndarray]:
    """Continue one batch of endings until each row has met a stop token."""
    count, width, device = len(endings), max(map(len, endings)), model.device
    ids = torch.full((count, width), int(endings[0][0]), dtype=torch.int64)
    mask = torch.ones((count, prefix + width + max_new_tokens), dtype=torch.int64)
    for row, ending in enumerate(endings):
        padding = width - len(ending)
        ids[row, padding:] = torch.from_numpy(np.asarray(ending, dtype=np.int64))
        mask[row, prefix : prefix + padding] = 0
    ids, mask = ids.to(device), mask.to(device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = _shared(read, count)
    texts: list[list[int]] = [[] for _ in endings]
    open_rows = set(range(count))
    start = prefix
    for _ in range(max_new_tokens):
        end = start + ids.shape[1]
        logits = model(
            input_ids=ids,
            attention_mask=mask[:, :end],
            position_ids=positions[:, start:end],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        ids, start = logits.float().argmax(-1, keepdim=True), end
        for row, token in enumerate(ids[:, 0].tolist()):
            if row in open_rows and token in stop:
                open_rows.remove(row)
            elif row in open_rows:
                texts[row].append(token)
        if not open_rows:
            break
    return [np.array(text, dtype=np.int64) for text in texts]

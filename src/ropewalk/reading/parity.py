"""Perplexity as the YaRN repository's script computes it, so that published tables can be compared.

Its sliding window weighs every window's mean equally, the first and longest one included, which is another number
than the mean over tokens. Its truncated mode scores one window a document. Use these numbers only beside published
ones; everywhere else use ``ropewalk.reading.perplexity``.

Source: Peng et al., YaRN (arXiv 2309.00071), the released ``eval/perplexity.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from ropewalk.errors import UserError
from ropewalk.progress import Progress


@torch.inference_mode()
def window_means(
    model: PreTrainedModel,
    document: np.ndarray,
    *,
    max_length: int,
    bos: int | None,
    stride: int = 256,
    truncate: bool = False,
) -> list[float]:
    """Mean NLL (nats) of each window of one document.

    Args:
        model: a causal language model.
        document: token ids, shape (length,).
        max_length: tokens in a window, the beginning-of-text token included.
        bos: put in front of every window where given; it is never scored.
        stride: tokens that each window but the first scores.
        truncate: score only the first window.
    """
    width = max_length - (bos is not None)
    if width < 2 or len(document) < 2:
        raise UserError(f"parity: a window of {width} tokens over {len(document)} tokens has nothing to predict.")
    if truncate:
        document, stride = document[:width], width
    means, scored = [], 0
    for start in range(0, len(document), stride):
        stop = min(start + width, len(document))
        window = np.asarray(document[start:stop], dtype=np.int64)
        if bos is not None:
            window = np.concatenate([[bos], window])
        ids = torch.from_numpy(window).to(model.device)
        # Nothing predicts the first token of a window.
        fresh = min(stop - scored, len(ids) - 1)
        logits = model(input_ids=ids[None], use_cache=False, logits_to_keep=fresh + 1).logits[0, :-1].float()
        means.append(float(torch.nn.functional.cross_entropy(logits, ids[-fresh:])))
        scored = stop
        if stop == len(document):
            break
    return means


def perplexity(
    model: PreTrainedModel,
    documents: Sequence[np.ndarray],
    *,
    max_length: int,
    bos: int | None,
    stride: int = 256,
    truncate: bool = False,
) -> float:
    """The exponential of the unweighted mean over the windows of all documents."""
    means: list[float] = []
    with Progress("parity", len(documents), unit="text") as progress:
        for document in documents:
            means += window_means(model, document, max_length=max_length, bos=bos, stride=stride, truncate=truncate)
            progress.advance()
    return float(np.exp(np.mean(means)))

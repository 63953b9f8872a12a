"""A text read in pieces, with a cache between them; and whether a model reads it so as it reads the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from ropewalk.models.heads import few_tokens

_TOKENS, _PIECE = 24, 7
# Of the largest logit: what kernels in 16 bits differ by is a tenth of this, what a lost state costs is ten times it.
_TOLERANCE = 0.03
_KNOWN: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def in_pieces(model: PreTrainedModel, ids: torch.Tensor, size: int, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Read texts piece by piece, with the cache that the model makes itself: some families want one of their own.

    Args:
        model: a causal language model with a static rope.
        ids: token ids, shape (rows, tokens).
        size: tokens of each row in a piece.
        options: further arguments of every pass.

    Yields:
        Logits of a piece, and the cache after it.
    """
    cache = None
    for part in ids.split(size, dim=1):
        passed = model(input_ids=part, past_key_values=cache, use_cache=True, **options)
        cache, logits = passed.past_key_values, passed.logits
        del passed
        yield logits, cache
        del logits  # before the next piece has its own


@torch.inference_mode()
def reads_in_pieces(model: PreTrainedModel) -> bool:
    """Whether pieces of several tokens give the logits of the whole text.

    Families with layers that keep a state in the place of keys may lose it at a piece of more than one token, without a
    word; a few tokens show it.
    """
    if model not in _KNOWN:
        ids = few_tokens(model, _TOKENS)
        whole = model(input_ids=ids, use_cache=False).logits.float()
        parts = torch.cat([logits for logits, _ in in_pieces(model, ids, _PIECE)], dim=1).float()
        _KNOWN[model] = bool((parts - whole).abs().max() <= _TOLERANCE * whole.abs().max())
    return _KNOWN[model]

"""Whether a model reads a text in pieces, with a cache between them, as it reads the whole."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from transformers import DynamicCache, PreTrainedModel

from ropewalk.models.rope_reading import text_config

_TOKENS, _PIECE = 24, 7
# Of the largest logit: what kernels in 16 bits differ by is a tenth of this, what a lost state costs is ten times it.
_TOLERANCE = 0.03
_KNOWN: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@torch.inference_mode()
def reads_in_pieces(model: PreTrainedModel) -> bool:
    """Whether pieces of several tokens give the logits of the whole text.

    Families with layers that keep a state in the place of keys may lose it at a piece of more than one token, without a
    word; a few tokens show it.
    """
    if model not in _KNOWN:
        ids = torch.arange(3, 3 + _TOKENS, device=model.device)[None] % text_config(model.config).vocab_size
        whole = model(input_ids=ids, use_cache=False).logits.float()
        try:
            cache = DynamicCache(config=model.config)
            parts = [
                model(input_ids=part, past_key_values=cache, use_cache=True).logits for part in ids.split(_PIECE, 1)
            ]
        except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError):
            _KNOWN[model] = False  # it wants a cache of its own
        else:
            difference = (torch.cat(parts, dim=1).float() - whole).abs().max()
            _KNOWN[model] = bool(difference <= _TOLERANCE * whole.abs().max())
    return _KNOWN[model]

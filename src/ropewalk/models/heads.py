"""The two parts of a model, its text model and the head behind it: one product, or more."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from transformers import PretrainedConfig, PreTrainedModel

from ropewalk.models.rope_reading import text_config

_SCALES = ("final_logit_softcapping", "logit_scale", "logits_scaling")
_PLAIN: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def scales_logits(config: PretrainedConfig) -> bool:
    """Whether a family's configuration says that logits are scaled or capped after the product."""
    return any(getattr(text_config(config), name, None) for name in _SCALES)


def decoder(model: torch.nn.Module) -> torch.nn.Module:
    """The text model without its head."""
    found = model.get_decoder() if isinstance(model, PreTrainedModel) else model
    # Some families call the projection to the vocabulary by that name.
    return found if isinstance(found, PreTrainedModel) else getattr(model, "base_model", model)


def few_tokens(model: PreTrainedModel, count: int) -> torch.Tensor:
    """Token ids to look at a model with, all different where its vocabulary allows it, shape (1, count)."""
    return torch.arange(count, device=model.device)[None] % text_config(model.config).vocab_size


@torch.inference_mode()
def has_plain_head(model: PreTrainedModel) -> bool:
    """Whether logits are the output embedding times the last hidden states, and nothing else.

    Where the configuration names nothing, a few tokens show it: families are not believed.
    """
    if model not in _PLAIN:
        head = model.get_output_embeddings()
        _PLAIN[model] = head is not None and not scales_logits(model.config) and _equal(model, head)
    return _PLAIN[model]


def _equal(model: PreTrainedModel, head: torch.nn.Module) -> bool:
    ids = few_tokens(model, 8)
    whole = model(input_ids=ids, use_cache=False).logits
    parts = head(decoder(model)(input_ids=ids, use_cache=False).last_hidden_state)
    return parts.shape == whole.shape and torch.allclose(parts.float(), whole.float())

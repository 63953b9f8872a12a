"""Fold the attention factor of a rope into the weights, for engines that have no place for it.

A rope with attention factor A multiplies cos and sin by A, for queries and keys alike, so it multiplies what the
rotated dimensions add to the attention logits by A^2. The same comes of A^2 in whatever makes those dimensions of the
query, and leaves a rope with factor 1: a pure rotation.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ropewalk.errors import UserError
from ropewalk.models.families import GLOBAL_LAYERS
from ropewalk.models.rope_reading import head_dim, is_nested
from ropewalk.models.rope_writing import check_fits
from ropewalk.rope import Rope

# A linear projection makes the query, and nothing normalises it afterwards.
_PROJECTED = {
    *("llama", "mistral", "ministral", "mixtral", "qwen2", "gemma", "gemma2", "granite", "olmo", "starcoder2"),
    *("gpt_oss", "smollm3", "phi", "stablelm"),
}
# A norm stands between the projection and the rotation and would undo a larger projection; its weight comes after it.
_NORMED = {"qwen3", "gemma3_text", "olmo2", "olmo3"}
_NORM_ADDS_ONE = {"gemma3_text"}


def check_foldable(config: PreTrainedConfig) -> None:
    """Raise ``UserError`` where a family has no place in its weights for an attention factor."""
    family = config.model_type
    if family not in _PROJECTED | _NORMED:
        raise UserError(
            f"the attention factor cannot be folded into model type {family!r}: its queries are made in a fused or "
            f"interleaved layout that is not known here; known are {', '.join(sorted(_PROJECTED | _NORMED))}."
        )
    if getattr(config, "qk_layernorm", False) or getattr(config, "clip_qkv", None) is not None:
        raise UserError(
            f"the attention factor cannot be folded into this {family!r} model: it normalises or clips its queries "
            "after their projection."
        )


@torch.no_grad()
def fold(model: PreTrainedModel, rope: Rope) -> Rope:
    """Multiply what makes the rotated dimensions of the queries by A^2, in place, and return the rope with factor 1.

    That is the rows of the query projection's weight (heads * head_dim, hidden) and bias, or the weight of the query
    norm, of shape (head_dim,) or, in OLMo 2 and 3, (heads * head_dim,).

    Raises:
        UserError: the rope was made for another model, or this family's queries are made in another way.
    """
    config = model.config
    check_fits(config, rope)
    check_foldable(config)
    # Where layer types have ropes of their own, this one is bound to the global layers alone.
    nested = is_nested(config)
    width, square = head_dim(config), rope.attention_factor**2
    for attention in (module for name, module in model.named_modules() if name.endswith(".self_attn")):
        if nested and config.layer_types[attention.layer_idx] != GLOBAL_LAYERS:
            continue
        if not getattr(attention, "use_rope", True):
            continue
        source = attention.q_norm if config.model_type in _NORMED else attention.q_proj
        offset = 1.0 if config.model_type in _NORM_ADDS_ONE else 0.0
        for parameter in source.parameters():
            rotated = parameter.view(-1, width, *parameter.shape[1:])[:, : rope.rotary_dim]
            # In float32, so that a weight of fewer bits is rounded once.
            rotated.copy_((rotated.float() + offset) * square - offset)
    return replace(rope, attention_factor=1.0)

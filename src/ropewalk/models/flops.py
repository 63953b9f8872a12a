"""What a pass through a model computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.models.rope_reading import head_dim, text_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def forward_flops(config: PreTrainedConfig, weights: int, length: int) -> float:
    """FLOPs of one forward pass over a sequence.

    Args:
        config: of the model.
        weights: in matrix products.
        length: tokens.
    """
    config = text_config(config)
    dims = config.num_attention_heads * head_dim(config)
    return 2.0 * weights * length + 2.0 * config.num_hidden_layers * dims * float(length) ** 2

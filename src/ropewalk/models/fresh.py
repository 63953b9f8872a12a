"""Small models made from nothing."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Olmo3Config, Olmo3ForCausalLM, PreTrainedModel

from ropewalk.models.families import GLOBAL_LAYERS, LOCAL_LAYERS
from ropewalk.models.shape import GLOBAL_EVERY, ModelShape

__all__ = ["ModelShape", "fresh_llama", "fresh_model", "fresh_windowed"]


def fresh_model(shape: ModelShape, vocab_size: int, seed: int) -> PreTrainedModel:
    """A model with random weights, the same for the same seed."""
    return (fresh_llama if shape.window is None else fresh_windowed)(shape, vocab_size, seed)


def fresh_llama(shape: ModelShape, vocab_size: int, seed: int) -> LlamaForCausalLM:
    """A Llama model with random weights, the same for the same seed."""
    config = LlamaConfig(**_sizes(shape, vocab_size), rope_parameters=_table(shape))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def fresh_windowed(shape: ModelShape, vocab_size: int, seed: int) -> Olmo3ForCausalLM:
    """An OLMo 3 model with random weights: layers with windows have one rope, every third layer has another."""
    kinds = [GLOBAL_LAYERS if (k + 1) % GLOBAL_EVERY == 0 else LOCAL_LAYERS for k in range(shape.layers)]
    config = Olmo3Config(
        **_sizes(shape, vocab_size),
        rope_parameters={kind: _table(shape) for kind in (GLOBAL_LAYERS, LOCAL_LAYERS)},
        layer_types=kinds,
        sliding_window=shape.window,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Olmo3ForCausalLM(config)


def _sizes(shape: ModelShape, vocab_size: int) -> dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.length,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": vocab_size - 1,
        "pad_token_id": vocab_size - 1,
    }


def _table(shape: ModelShape) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": float(shape.base)}

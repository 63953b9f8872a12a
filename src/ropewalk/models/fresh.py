"""Small Llama models made from nothing."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ropewalk.models.shape import ModelShape

__all__ = ["ModelShape", "fresh_llama"]


def fresh_llama(shape: ModelShape, vocab_size: int, seed: int) -> LlamaForCausalLM:
    """A Llama model with random weights, the same for the same seed."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.length,
        rope_parameters={"rope_type": "default", "rope_theta": float(shape.base)},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=vocab_size - 1,
        pad_token_id=vocab_size - 1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)

"""Small Llama models made from nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ropewalk.errors import UserError


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a Llama model.

    Attributes:
        hidden_size: width of the residual stream.
        layers: number of decoder layers.
        heads: query heads a layer; the head dimension is ``hidden_size / heads``.
        kv_heads: key/value heads a layer.
        intermediate_size: width of the feed-forward layers.
        base: base of the rotary embedding.
        length: training length in tokens, written as ``max_position_embeddings``.
    """

    hidden_size: int = 128
    layers: int = 3
    heads: int = 2
    kv_heads: int = 2
    intermediate_size: int = 256
    base: float = 10_000.0
    length: int = 128

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise UserError(
                f"model shape: hidden_size {self.hidden_size} over {self.heads} heads gives no even head dimension."
            )
        if self.heads % self.kv_heads:
            raise UserError(f"model shape: {self.heads} heads cannot share {self.kv_heads} key/value heads evenly.")


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

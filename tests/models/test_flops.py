from __future__ import annotations

import pytest
from transformers import LlamaConfig

from ropewalk.models.flops import forward_flops

LLAMA_7B = LlamaConfig(
    hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
)


def test_flops_count_each_product_twice():
    # Worked out for the 7B shape: 2 × 6.74e9 × S + 2 × 32 × 4096 × S².
    assert forward_flops(LLAMA_7B, 6_738_415_616, 32_768) == pytest.approx(7.23e14, rel=0.002)

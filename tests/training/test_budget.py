from __future__ import annotations

import pytest
from transformers import LlamaConfig

from ropewalk.errors import UserError
from ropewalk.training.budget import GIB, budget, forward_flops
from ropewalk.training.loop import Devices
from ropewalk.training.lora import Lora

LLAMA_7B = LlamaConfig(
    hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
)
EIGHT = Devices(shard=True, activation_checkpointing=True)


@pytest.mark.parametrize(
    ("length", "inputs", "layer", "rate"),
    # Worked out by hand for eight H100 at 40 % of their peak.
    [(32_768, 8.0, 4.7, 36e3), (65_536, 16.0, 9.4, 26e3), (131_072, 32.0, 18.8, 16.6e3)],
)
def test_the_budget_of_llama_2(length, inputs, layer, rate):
    cost = budget(LLAMA_7B, length=length, batch_tokens=8 * length, steps=50, gpus=8, devices=EIGHT)
    assert cost.parameters == 6_738_415_616
    assert cost.memory["weights, gradients, moments"] / GIB == pytest.approx(12.55, abs=0.01)
    assert cost.memory["layer inputs"] / GIB == pytest.approx(inputs)
    assert cost.memory["activations of one layer"] / GIB == pytest.approx(layer, abs=0.06)
    assert cost.tokens_per_second == pytest.approx(rate, rel=0.02)
    assert cost.hours == pytest.approx(50 * 8 * length / cost.tokens_per_second / 3600)


def test_flops_count_each_product_twice():
    # Worked out for the 7B shape: 2 × 6.74e9 × S + 2 × 32 × 4096 × S².
    assert forward_flops(LLAMA_7B, 6_738_415_616, 32_768) == pytest.approx(7.23e14, rel=0.002)


def test_adapters_have_no_moments_for_the_rest():
    whole = budget(LLAMA_7B, length=4096, batch_tokens=4096, steps=1, gpus=1)
    adapted = budget(LLAMA_7B, length=4096, batch_tokens=4096, steps=1, gpus=1, lora=Lora(8, 16.0))
    assert adapted.trainable == 32 * 4 * 8 * 2 * 4096
    assert whole.memory["weights, gradients, moments"] > 3.9 * adapted.memory["weights, gradients, moments"]
    # No gradient of the frozen weights: two thirds of their products.
    assert adapted.sequence_flops / whole.sequence_flops == pytest.approx(2 / 3, abs=0.03)


def test_a_sequence_that_is_cut_takes_its_share_of_the_memory():
    cut = Devices(shard=True, activation_checkpointing=True, context_parallel=8)
    one = budget(LLAMA_7B, length=131_072, batch_tokens=131_072, steps=1, gpus=8, devices=cut)
    assert one.memory["layer inputs"] / GIB == pytest.approx(4.0)
    assert sum(one.memory.values()) / GIB == pytest.approx(20, abs=1)


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(UserError, match="a batch of 4096 tokens in sequences of 4096 cannot be cut into 8 GPUs"):
        budget(LLAMA_7B, length=4096, batch_tokens=4096, steps=1, gpus=8)
    with pytest.raises(UserError, match="context_parallel cuts sequences among processes that share the weights"):
        Devices(context_parallel=2)

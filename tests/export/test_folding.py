from __future__ import annotations

import pytest
import torch

from ropewalk.errors import UserError
from ropewalk.export import folding
from ropewalk.models import binding
from ropewalk.rope import methods


@pytest.mark.parametrize("family", sorted(folding._PROJECTED | folding._NORMED))
def test_folded_weights_give_the_logits_of_the_attention_factor(family, tiny_model, yarn_for, logits):
    model = tiny_model(family)
    rope = yarn_for(model)
    binding.patch(model, rope)
    wanted = logits(model)
    folded = folding.fold(model, rope)
    assert folded.attention_factor == 1
    binding.patch(model, folded)
    spread = wanted.std()
    assert (logits(model) - wanted).abs().max() < 1e-4 * spread
    unfolded = tiny_model(family)
    binding.patch(unfolded, folded)
    assert (logits(unfolded) - wanted).abs().max() > 1e-3 * spread, "the attention factor shows nowhere"


def test_biases_are_folded_too(tiny_model, yarn_for, logits):
    model = tiny_model("stablelm", use_qkv_bias=True)
    rope = yarn_for(model)
    binding.patch(model, rope)
    wanted = logits(model)
    binding.patch(model, folding.fold(model, rope))
    assert (logits(model) - wanted).abs().max() < 1e-4 * wanted.std()


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("gpt_neox", {}, "'gpt_neox': its queries are made in a fused or interleaved layout"),
        ("phi3", {}, "'phi3': its queries"),
        ("cohere", {}, "'cohere': its queries"),
        ("olmo", {"clip_qkv": 8.0}, "normalises or clips its queries"),
        ("stablelm", {"qk_layernorm": True}, "normalises or clips its queries"),
    ],
)
def test_other_ways_of_making_queries_are_refused(family, changes, message, tiny_model, yarn_for):
    model = tiny_model(family, **changes)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        folding.fold(model, yarn_for(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_rope_for_another_model_is_refused(tiny_model):
    with pytest.raises(UserError, match="rotates 32 dimensions of a head; this model rotates 16"):
        folding.fold(tiny_model("llama"), methods.default_rope(32, 10_000.0, 64))

"""Ropes for one type of layers, on models whose types have ropes of their own."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ropewalk.errors import OptionError, UserError
from ropewalk.models import binding
from ropewalk.models.fresh import ModelShape, fresh_model
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.rope_writing import write_rope
from ropewalk.rope import methods

SHAPE = ModelShape(hidden_size=64, layers=3, heads=2, kv_heads=2, intermediate_size=64, length=64, window=16)
LENGTH = 160


def windowed():
    return fresh_model(SHAPE, 97, seed=0).eval()


def rope_for(model, which):
    return methods.layers(methods.yarn(read_rope(model.config), factor=4.0), which=which)


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(torch.randint(3, 97, (1, LENGTH), generator=torch.Generator().manual_seed(1))).logits


def test_every_third_layer_sees_all_and_the_others_a_window():
    model = windowed()
    assert model.config.layer_types == ["sliding_attention", "sliding_attention", "full_attention"]
    assert model.config.sliding_window == 16
    with torch.no_grad():
        ids = torch.randint(3, 97, (1, 64), generator=torch.Generator().manual_seed(0))
        other = ids.clone()
        other[0, 0] += 1
        hidden, changed = (model(x, output_hidden_states=True).hidden_states for x in (ids, other))
    # Two layers of windows carry the first token 30 places on; the third layer carries it to the end.
    reach = [int((a != b).any(-1).nonzero()[:, 1].max()) for a, b in zip(hidden[1:3], changed[1:3], strict=True)]
    assert reach == [15, 30]
    assert (hidden[3] != changed[3]).any(-1)[0, -1]


def test_a_rope_without_a_window_is_that_of_llama():
    assert fresh_model(ModelShape(), 97, seed=0).config.model_type == "llama"


def test_a_window_needs_three_layers():
    with pytest.raises(OptionError, match="layers is 2; expected 3 or more with a window"):
        ModelShape(layers=2, window=16)


@pytest.mark.parametrize("which", ["global", "local", "all"])
def test_a_rope_is_bound_to_its_layers_alone(which, tmp_path):
    model = windowed()
    binding.patch(model, rope_for(model, which))
    module = model.model.rotary_emb
    table = torch.tensor(rope_for(model, which).inv_freq, dtype=torch.float32)
    bound = {kind for kind in module.rope_type if torch.equal(getattr(module, f"{kind}_inv_freq"), table)}
    expected = {"global": {"full_attention"}, "local": {"sliding_attention"}}
    assert bound == expected.get(which, {"full_attention", "sliding_attention"})

    config = windowed().config
    write_rope(config, rope_for(model, which), LENGTH)
    written = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    written.load_state_dict(model.state_dict())
    assert (logits(written) - logits(model)).abs().max() < 2e-5
    written.save_pretrained(tmp_path)
    restored = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert (logits(restored) - logits(model)).abs().max() < 2e-5


def test_another_rope_takes_the_place_of_all_of_the_first():
    model, other = windowed(), windowed()
    before = logits(model)
    binding.patch(model, rope_for(model, "local"))
    assert (logits(model) - before).abs().max() > 1e-4
    binding.patch(model, rope_for(model, "global"))
    binding.patch(other, rope_for(other, "global"))
    assert torch.equal(logits(model), logits(other))
    binding.patch(model, read_rope(model.config))
    # The table in double precision rounds otherwise than that of transformers.
    assert (logits(model) - before).abs().max() < 1e-5


def test_local_layers_of_another_base_take_a_rope_of_that_base():
    """Gemma 3: base 10,000 in local layers, 1,000,000 in global ones."""
    config = AutoConfig.for_model(
        "gemma3_text",
        layer_types=["sliding_attention", "full_attention"],
        vocab_size=97,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        sliding_window=16,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    local = methods.layers(methods.pi(methods.default_rope(16, 1e4, 64), factor=2.0), which="local")
    binding.patch(model, local)
    module = model.model.rotary_emb
    assert module.sliding_attention_inv_freq[0] == pytest.approx(0.5)
    assert module.full_attention_inv_freq[0] == pytest.approx(1.0)
    with pytest.raises(UserError, match="from base 1e.06; the local layers of this model have base 10000"):
        binding.patch(model, methods.layers(read_rope(config), which="all"))


def test_a_model_of_one_rope_has_no_local_layers():
    model = fresh_model(ModelShape(hidden_size=64, length=64), 97, seed=0).eval()
    with pytest.raises(UserError, match="for local layers; model type 'llama' has one rope for all layers"):
        binding.patch(model, rope_for(model, "local"))
    before = logits(model)
    binding.patch(model, rope_for(model, "all"))
    everywhere = logits(model)
    assert (everywhere - before).abs().max() > 1e-4
    binding.patch(model, rope_for(model, "global"))
    assert torch.equal(logits(model), everywhere)

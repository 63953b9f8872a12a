from __future__ import annotations

import math

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ropewalk.errors import UserError
from ropewalk.models import binding
from ropewalk.models.rope_reading import read_rope, site
from ropewalk.models.rope_writing import write_rope
from ropewalk.rope import methods

FAMILIES = [
    *("llama", "mistral", "ministral", "qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2"),
    *("olmo3", "gpt_neox", "stablelm", "phi", "persimmon", "smollm3", "granite", "cohere", "cohere2", "falcon"),
    *("starcoder2", "mixtral", "gpt_oss"),
]
LENGTH, ORIGINAL = 160, 64


def tiny_config(family: str):
    layer_types = {"layer_types": ["sliding_attention", "full_attention"]} if family in ("gemma3_text", "olmo3") else {}
    config = AutoConfig.for_model(
        family,
        **layer_types,
        vocab_size=97,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2 if family not in ("falcon", "gpt_neox", "persimmon", "phi", "stablelm") else 4,
        **({} if family == "falcon" else {"head_dim": 16}),
        max_position_embeddings=ORIGINAL,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    for name, value in {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4096}.items():
        if hasattr(config, name):
            setattr(config, name, value)
    if family == "phi3":  # carries the training length outside its rope parameters
        config.original_max_position_embeddings = ORIGINAL
    parameters = config.rope_parameters
    for one in parameters.values() if "full_attention" in parameters else [parameters]:
        if "original_max_position_embeddings" in one:
            one["original_max_position_embeddings"] = ORIGINAL
    return config


def tiny_model(config, seed: int = 0):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@torch.no_grad()
def logits(model) -> torch.Tensor:
    tokens = torch.randint(3, 97, (1, LENGTH), generator=torch.Generator().manual_seed(1))
    return model(tokens).logits


def some_rope(config):
    original = methods.default_rope(site(config).rotary_dim, site(config).base, ORIGINAL)
    return methods.resonance(methods.yarn(original, factor=4.0))


@pytest.mark.parametrize("family", FAMILIES)
def test_patch_and_config_agree_and_survive_saving(family, tmp_path):
    config = tiny_config(family)
    model = tiny_model(config)
    before = logits(model)
    rope = some_rope(config)
    binding.patch(model, rope)
    patched = logits(model)
    assert (patched - before).abs().max() > 1e-4, "the rope changed nothing"
    assert torch.equal(logits(model), patched), "a second forward pass undid the patch"

    bound = tiny_config(family)
    write_rope(bound, rope, LENGTH)
    fresh = tiny_model(bound)
    fresh.load_state_dict(model.state_dict())
    assert (logits(fresh) - patched).abs().max() < 2e-5

    fresh.save_pretrained(tmp_path)
    restored = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert (logits(restored) - patched).abs().max() < 2e-5
    read = read_rope(restored.config)
    torch.testing.assert_close(torch.tensor(read.inv_freq), torch.tensor(rope.inv_freq), rtol=1e-12, atol=0)
    assert read.attention_factor == rope.attention_factor
    assert read.original_length == rope.original_length


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "beta_fast": 16.0},
        {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "truncate": False},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
)
def test_read_rope_matches_transformers(parameters):
    config = transformers.LlamaConfig(
        hidden_size=64,
        num_attention_heads=2,
        max_position_embeddings=512,
        rope_parameters={"rope_theta": 10000.0, **parameters},
    )
    rope = read_rope(config)
    kind = parameters["rope_type"]
    if kind == "default":
        expected, factor = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config).inv_freq, 1.0
    else:
        expected, factor = ROPE_INIT_FUNCTIONS[kind](config)
    torch.testing.assert_close(torch.tensor(rope.inv_freq).float(), expected, rtol=2e-6, atol=0)
    assert rope.attention_factor == pytest.approx(factor)


def test_unrotated_pairs_agree_in_both_modes():
    config = tiny_config("llama")
    model = tiny_model(config)
    rope = methods.p_rope(read_rope(config), p=0.5)
    binding.patch(model, rope)
    patched = logits(model)
    write_rope(config := tiny_config("llama"), rope, LENGTH)
    fresh = tiny_model(config)
    fresh.load_state_dict(model.state_dict())
    assert (logits(fresh) - patched).abs().max() < 2e-5


def test_log_scaling_multiplies_the_logits_of_late_queries():
    config = tiny_config("llama")
    model = tiny_model(config)
    plain = read_rope(config)
    binding.patch(model, plain)
    before = logits(model)
    binding.patch(model, methods.log_scaling(plain))
    after = logits(model)
    assert (after[:, : ORIGINAL - 1] - before[:, : ORIGINAL - 1]).abs().max() < 1e-6
    assert (after[:, ORIGINAL + 8 :] - before[:, ORIGINAL + 8 :]).abs().max() > 1e-4
    binding.patch(model, plain)
    assert torch.equal(logits(model), before), "binding a plain rope must remove the scaling"


def test_log_scaling_equals_a_larger_attention_scale_for_the_last_query():
    config = tiny_config("llama")
    config.num_hidden_layers = 1
    model = tiny_model(config)
    binding.patch(model, methods.log_scaling(read_rope(config)))
    scaled = logits(model)[:, -1]
    binding.patch(model, read_rope(config))
    model.model.layers[0].self_attn.scaling *= math.log(LENGTH) / math.log(ORIGINAL)
    assert (logits(model)[:, -1] - scaled).abs().max() < 1e-6


def test_log_scaling_refuses_normalised_queries():
    config = tiny_config("qwen3")
    with pytest.raises(UserError, match="log-scaled attention needs"):
        binding.patch(tiny_model(config), methods.log_scaling(read_rope(config)))


def test_guard_sees_buffers_cast_to_bfloat16_and_patch_mends_them():
    config = tiny_config("llama")
    model = tiny_model(config).to(torch.bfloat16)
    with pytest.raises(UserError, match=r"expected torch\.float32"):
        binding.check_float32(model)
    binding.patch(model, read_rope(config))
    binding.check_float32(model)


def test_a_rope_for_another_model_is_refused():
    config = tiny_config("llama")
    with pytest.raises(UserError, match="rotates 128 dimensions of a head; this model rotates 16"):
        binding.patch(tiny_model(config), methods.default_rope(128, 10000.0, 64))
    with pytest.raises(UserError, match="made from base 500000; this model has base 10000"):
        write_rope(config, methods.default_rope(16, 500000.0, 64), 128)


def test_a_dynamic_rope_is_refused_until_fixed_at_a_length():
    config = tiny_config("llama")
    model = tiny_model(config)
    rope = methods.dynamic_ntk(read_rope(config), factor=2.0)
    with pytest.raises(UserError, match="fixed at one length"):
        binding.patch(model, rope)
    binding.patch(model, rope.at(LENGTH))
    native = tiny_config("llama")
    native.rope_parameters = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    reference = tiny_model(native)
    reference.load_state_dict(model.state_dict())
    assert (logits(reference) - logits(model)).abs().max() < 2e-5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (transformers.GPT2Config(), "'gpt2' has no rotary position embedding"),
        (transformers.RecurrentGemmaConfig(), "'recurrent_gemma' has no max_position_embeddings; give the training"),
    ],
)
def test_unsupported_families_are_named(config, message):
    with pytest.raises(UserError, match=message):
        read_rope(config)

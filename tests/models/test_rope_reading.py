"""Ropes of published configurations and of those in bug reports, with the values that are right for them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.models.configurations import load_config, own_rope
from ropewalk.models.rope_reading import head_dim, read_rope, site
from ropewalk.models.sources import ModelSource
from ropewalk.rope import methods


def config_of(tmp_path, **keys):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(keys))
    return ModelSource("folder", str(file))


GEMMA3 = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    },
}
GEMMA4 = {
    "model_type": "gemma4_text",
    "hidden_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "global_head_dim": 512,
}
LLAMA = {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 4096}
QWEN2_YARN = {
    "model_type": "qwen2",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "max_position_embeddings": 131072,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "yarn", "factor": None, "original_max_position_embeddings": 32768},
}
MINISTRAL3 = {
    "model_type": "ministral3",
    "max_position_embeddings": 262144,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 1e6,
        "factor": 16,
        "original_max_position_embeddings": 16384,
        "mscale": 1,
        "mscale_all_dim": 1,
        "llama_4_scaling_beta": 0.1,
    },
}
DEEPSEEK_V2 = {
    "model_type": "deepseek_v2",
    "max_position_embeddings": 163840,
    "rope_scaling": {
        "type": "yarn",
        "factor": 40,
        "mscale": 0.707,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
    },
}
PHI35_MOE = {
    "model_type": "phimoe",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": [1.0] * 64,
        "long_factor": [1 + i / 8 for i in range(64)],
        "short_mscale": 1.243163121016122,
        "long_mscale": 1.243163121016122,
        "original_max_position_embeddings": 4096,
    },
}


def test_a_wrapper_has_the_rope_of_its_text_model(tmp_path):
    rope, _ = own_rope(config_of(tmp_path, **GEMMA3))
    assert (rope.rotary_dim, rope.base, rope.recipe) == (256, 1e6, "pi")
    assert np.allclose(rope.factors, 8)
    local, _ = own_rope(config_of(tmp_path, **GEMMA3), layers="local")
    assert (local.base, local.recipe, local.layers) == (1e4, "default", "local")


def test_proportional_ropes_keep_their_first_pairs(tmp_path):
    rope, _ = own_rope(config_of(tmp_path, **GEMMA4))
    assert (rope.rotary_dim, rope.base) == (512, 1e6)
    assert (rope.inv_freq > 0).sum() == 64, "a quarter of 256 pairs"
    assert np.allclose(rope.inv_freq[:64], 1e6 ** (-np.arange(64) / 256))
    local, _ = own_rope(config_of(tmp_path, **GEMMA4), layers="local")
    assert (local.rotary_dim, local.base, (local.inv_freq > 0).all()) == (256, 1e4, True)


def test_heads_of_layers_may_differ(tmp_path):
    config = load_config(config_of(tmp_path, **GEMMA4))
    assert (head_dim(config), head_dim(config, "sliding_attention"), site(config).rotary_dim) == (512, 256, 512)


def test_a_factor_that_is_null_is_that_of_the_lengths(tmp_path):
    rope, said = own_rope(config_of(tmp_path, **QWEN2_YARN))
    assert rope.attention_factor == pytest.approx(1.138629, abs=1e-6)
    assert rope == methods.yarn(methods.default_rope(128, 1e6, 32768), factor=4.0)
    assert said == ["training length 32,768 tokens, from rope_parameters.original_max_position_embeddings"]


def test_two_weights_of_yarns_temperature(tmp_path):
    assert own_rope(config_of(tmp_path, **MINISTRAL3))[0].attention_factor == 1.0
    wanted = (0.1 * 0.707 * math.log(40) + 1) / (0.1 * math.log(40) + 1)
    rope, said = own_rope(config_of(tmp_path, **DEEPSEEK_V2))
    assert rope.attention_factor == pytest.approx(wanted, rel=1e-12)
    assert (rope.rotary_dim, rope.original_length) == (64, 4096)
    assert "mscale_all_dim scales attention beside the rope, and is kept as it is" in said


def test_the_temperature_of_a_rebuilt_rope(tmp_path):
    assert own_rope(config_of(tmp_path, **PHI35_MOE))[0].attention_factor == pytest.approx(1.243163, abs=1e-6)


def test_an_alpha_that_is_called_dynamic_is_a_fixed_change_of_base(tmp_path):
    keys = {"model_type": "hunyuan_v1_dense", "head_dim": 128, "max_position_embeddings": 32768}
    rope, _ = own_rope(config_of(tmp_path, **keys, rope_scaling={"type": "dynamic", "alpha": 1000.0, "factor": 1.0}))
    assert rope.static
    assert np.allclose(rope.inv_freq, (1e4 * 1000 ** (128 / 126)) ** (-np.arange(64) / 64), rtol=1e-12)


def test_gpt_j_keeps_its_table_beside_the_rope_parameters(tmp_path):
    rope, _ = own_rope(config_of(tmp_path, model_type="gptj", rotary_dim=64))
    assert (rope.rotary_dim, rope.base, rope.original_length) == (64, 1e4, 2048)


def test_axes_that_are_equal_for_text_are_one_rope(tmp_path):
    parameters = {
        "rope_type": "default",
        "rope_theta": 1e7,
        "partial_rotary_factor": 0.25,
        "mrope_section": [11, 11, 10],
    }
    keys = {"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text", "rope_parameters": parameters}}
    rope, said = own_rope(config_of(tmp_path, **keys))
    assert (rope.rotary_dim, rope.base) == (64, 1e7)
    assert any("several axes" in note for note in said)


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ({"model_type": "cohere2", "sliding_window": 4096}, "no rotated layer looks further than 4,096 tokens"),
        ({"model_type": "mistral", "sliding_window": 4096}, "no rotated layer looks further than 4,096 tokens"),
        (
            LLAMA | {"max_position_embeddings": 32768, "rope_scaling": {"type": "linear", "factor": 8.0}},
            "the training length may be 4,096",
        ),
        (MINISTRAL3, "llama_4_scaling_beta scales attention beside the rope"),
        (
            LLAMA | {"rope_scaling": {"rope_type": "default", "spin": 3}},
            "unknown in rope_parameters, kept and not used: spin",
        ),
        (LLAMA, "training length 4,096 tokens, from max_position_embeddings"),
    ],
)
def test_what_a_person_should_know_is_said(keys, note, tmp_path):
    assert any(note in said for said in own_rope(config_of(tmp_path, **keys))[1])


@pytest.mark.parametrize("keys", [{"sliding_window": None}, {"sliding_window": 4096, "model_type": "gemma2"}])
def test_layers_that_see_everything_are_not_called_short_sighted(keys, tmp_path):
    assert not any("looks further" in said for said in own_rope(config_of(tmp_path, **LLAMA | keys))[1])


def test_the_training_length_can_be_given(tmp_path):
    qwen3 = LLAMA | {"model_type": "qwen3", "head_dim": 128, "max_position_embeddings": 40960}
    rope, said = own_rope(config_of(tmp_path, **qwen3), length=32768)
    assert (rope.original_length, said) == (32768, [])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model_type": "falcon", "alibi": True, "hidden_size": 2048}, "'falcon' model rotates nothing: alibi is True"),
        ({"model_type": "bert"}, "'bert' has no rotary position embedding"),
        ({"model_type": "granitemoehybrid"}, "rotates nothing: position_embedding_type is None"),
        ({"model_type": "zamba2"}, "rotates nothing: use_mem_rope is False"),
        ({"model_type": "beam"}, "the full_attention layers of model type 'beam' do not rotate"),
        ({"model_type": "blt"}, "does not say how many dimensions a head has"),
        (
            LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}},
            "is 8192 and max_position_embeddings is 4096",
        ),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.Mine"}}, "needs code of its own"),
        ({"hidden_size": 64}, "cannot be loaded"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(keys, message, tmp_path):
    with pytest.raises(UserError, match=message):
        own_rope(config_of(tmp_path, **keys))


def test_code_of_a_checkpoint_is_never_run(tmp_path, monkeypatch):
    (tmp_path / "configuration_mine.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    keys = {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.Mine"}}
    (tmp_path / "config.json").write_text(json.dumps(keys))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(UserError, match="needs code of its own"):
        load_config(ModelSource("folder", str(tmp_path)))
    assert not (tmp_path / "ran").exists()


def test_local_layers_without_a_rope_of_their_own_are_refused(tmp_path):
    with pytest.raises(UserError, match="'llama' has one rope for all layers"):
        read_rope(load_config(config_of(tmp_path, **LLAMA)), layers="local")


KIMI_K2 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
    "model_type": "kimi_k2",
    "qk_rope_head_dim": 64,
    "max_position_embeddings": 131072,
    "rope_theta": 50000.0,
    "rope_scaling": {
        "type": "yarn",
        "factor": 32.0,
        "beta_fast": 1.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
    },
}


def test_a_family_by_another_name_is_known_by_its_class(tmp_path):
    """Kimi K2 is DeepSeek V3: pairs up to 19 stay, all others are divided by 32."""
    rope, _ = own_rope(config_of(tmp_path, **KIMI_K2))
    np.testing.assert_allclose(rope.factors, [1.0] * 20 + [32.0] * 12, rtol=1e-12)
    assert (rope.original_length, rope.attention_factor) == (4096, 1.0)
    with pytest.raises(UserError, match="needs code of its own"):
        own_rope(config_of(tmp_path, **KIMI_K2 | {"architectures": ["KimiForCausalLM"]}))


def test_a_rope_that_follows_the_length_stays_that_of_its_layers(tmp_path):
    keys = {"model_type": "gemma3_text", "rope_parameters": {}}
    for kind in ("full_attention", "sliding_attention"):
        keys["rope_parameters"][kind] = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    for layers in ("local", "all"):
        rope, _ = own_rope(config_of(tmp_path, **keys), layers=layers)
        assert (rope.static, rope.layers, rope.at(10 * rope.original_length).layers) == (False, layers, layers)

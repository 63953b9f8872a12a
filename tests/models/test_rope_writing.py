from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from tiny import tiny_config, tiny_model
from transformers import LlamaConfig

from ropewalk.errors import UserError
from ropewalk.models import binding
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.rope_writing import common_base, write_rope
from ropewalk.rope import methods

TABLE = methods.default_rope(16, 10_000.0, 64)
LONG, SHORT = [1.0 + i for i in range(8)], [1.0] * 7 + [1.25]


def llama(**keys):
    return LlamaConfig(hidden_size=64, num_attention_heads=4, head_dim=16, max_position_embeddings=64, **keys)


@pytest.mark.parametrize(
    ("rope", "kind", "wanted"),
    [
        (methods.pi(TABLE, factor=2.0), "linear", {"factor": 2.0}),
        (
            methods.yarn(TABLE, factor=4.0),
            "yarn",
            {"factor": 4.0, "beta_fast": 32.0, "attention_factor": 1.138629},
        ),
        (methods.yarn(TABLE, factor=4.0, truncate=False), "yarn", {"truncate": False}),
        (methods.llama3(TABLE, factor=8.0), "llama3", {"factor": 8.0, "original_max_position_embeddings": 64}),
        (methods.abf(TABLE, new_base=5e5), "default", {"rope_theta": 5e5}),
        (methods.ntk(TABLE, factor=4.0), "default", {"rope_theta": 1e4 * 4 ** (16 / 14)}),
        (methods.ntk_critical(TABLE, factor=4.0), "default", {}),
        (
            methods.longrope(TABLE, long_factor=LONG, factor=4.0),
            "longrope",
            {"long_factor": LONG, "short_factor": LONG},
        ),
        (methods.longrope(TABLE, long_factor=LONG, short_factor=SHORT), "longrope", {"short_factor": SHORT}),
        (methods.resonance(methods.yarn(TABLE, factor=4.0)), "longrope", {}),
        (methods.p_rope(methods.pi(TABLE, factor=4.0), p=0.5), "longrope", {}),
    ],
)
def test_a_rope_is_written_by_its_own_name_where_it_has_one(rope, kind, wanted):
    config = llama()
    assert write_rope(config, rope, 256) == kind
    assert config.rope_parameters["rope_type"] == kind
    for key, value in wanted.items():
        assert config.rope_parameters[key] == pytest.approx(value), key
    assert config.max_position_embeddings == 256
    found = read_rope(config)
    for length in (64, 65):
        np.testing.assert_allclose(found.at(length).inv_freq, rope.at(length).inv_freq, rtol=1e-9, atol=2e-12)
    assert found.attention_factor == pytest.approx(rope.attention_factor)


def test_a_dynamic_rope_starts_where_the_configuration_says_it_does():
    config = llama()
    assert write_rope(config, methods.dynamic_ntk(TABLE, factor=2.0), 256) == "dynamic"
    assert config.max_position_embeddings == 64


def test_divisors_are_written_where_names_are_not_wanted():
    config = llama()
    assert write_rope(config, methods.yarn(TABLE, factor=4.0), 256, native=False) == "longrope"
    with pytest.raises(UserError, match="changes with the length cannot be written"):
        write_rope(llama(), methods.dynamic_ntk(TABLE, factor=2.0), 256, native=False)


def test_what_is_refused_leaves_the_configuration_as_it_was():
    config = llama()
    before = deepcopy(config.to_dict())
    for rope, message in [
        (methods.log_scaling(TABLE), "log-scaled attention"),
        (methods.default_rope(32, 1e4, 64), "rotates 32 dimensions"),
        (methods.default_rope(16, 5e5, 64), "made from base 500000"),
        (methods.resonance(methods.dynamic_ntk(TABLE, factor=2.0)), "changes with the length"),
    ]:
        with pytest.raises(UserError, match=message):
            write_rope(config, rope, 256)
        assert config.to_dict() == before


def test_a_common_base_is_one_of_all_pairs():
    assert common_base(methods.abf(TABLE, new_base=777.0)) == pytest.approx(777.0)
    assert common_base(methods.yarn(TABLE, factor=2.0)) is None
    assert common_base(methods.p_rope(TABLE, p=0.5)) is None


def test_keys_of_a_familys_own_survive_and_mean_the_same():
    """Ministral 3 scales late queries beside its rope; DeepSeek scales attention by a factor that must stay."""
    config = tiny_config("ministral3")
    rope = methods.resonance(methods.yarn(methods.default_rope(16, 1e6, 16), factor=8.0))
    write_rope(config, rope, 128)
    assert config.rope_parameters["llama_4_scaling_beta"] == 0.1
    deepseek = tiny_config(
        "deepseek_v3",
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 16,
        },
    )
    model = tiny_model(deepseek)
    rope = methods.yarn(methods.default_rope(8, 1e4, 16), factor=16.0, beta_fast=2.0)
    binding.patch(model, rope)
    written = deepcopy(deepseek)
    write_rope(written, rope, 256)
    other = tiny_model(written)
    other.load_state_dict(model.state_dict())
    tokens = np.arange(1, 61)[None]
    import torch

    with torch.no_grad():
        patched, loaded = (one(torch.from_numpy(tokens)).logits for one in (model, other))
    assert (patched - loaded).abs().max() < 1e-4 * patched.abs().max()

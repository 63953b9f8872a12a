from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig

from ropewalk.export.engines import ENGINES, engines_page, engines_text
from ropewalk.export.printing import printed
from ropewalk.models.rope_reading import site
from ropewalk.models.rope_writing import write_rope
from ropewalk.models.sources import ModelSource
from ropewalk.rope import methods
from ropewalk.rope.tables import cos_sin

PAGE = Path(__file__).parents[2] / "docs/engines.md"


def test_the_page_is_made_from_the_table():
    assert PAGE.read_text() == engines_page()
    assert all(engine.name in engines_text() for engine in ENGINES)


@pytest.mark.parametrize("partial", [1.0, 0.5])
def test_vllm_rotates_as_transformers_does(partial, tiny_model, yarn_for, monkeypatch):
    name = "vllm.model_executor.layers.rotary_embedding.phi3_long_rope_scaled_rope"
    vllm = pytest.importorskip(name, reason="vLLM is not installed", exc_type=ImportError)
    from transformers.models.stablelm.modeling_stablelm import StableLmRotaryEmbedding, apply_rotary_pos_emb

    model = tiny_model("stablelm", rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": partial})
    config, rope = model.config, yarn_for(model)
    write_rope(config, rope, 256, native=False)
    serving = SimpleNamespace(model_config=SimpleNamespace(max_model_len=256))
    monkeypatch.setattr(vllm, "get_current_vllm_config", lambda: serving)
    # As get_rope and a model's attention layer pass the configuration on.
    given, dim = config.rope_parameters, site(config).rotary_dim
    vectors = [given[key] for key in ("short_factor", "long_factor")]
    mscales = {key: given[key] for key in ("short_mscale", "long_mscale")}
    original = given["original_max_position_embeddings"]

    def build(**options):
        length, base = config.max_position_embeddings, given["rope_theta"]
        made = vllm.Phi3LongRoPEScaledRotaryEmbedding
        return made(16, dim, length, original, base, True, torch.float32, *vectors, **options)

    positions = torch.arange(200)
    q, k = torch.randn(2, 200, 4, 16, generator=torch.Generator().manual_seed(0))
    cos, sin = StableLmRotaryEmbedding(config)(q, positions[None])
    turned = apply_rotary_pos_emb(*(x[None, ..., :dim].transpose(1, 2) for x in (q, k)), cos, sin)
    wanted = [
        torch.cat([t[0].transpose(0, 1), x[..., dim:]], dim=-1).flatten(1) for t, x in zip(turned, (q, k), strict=True)
    ]
    found = build(**mscales)(positions, q.flatten(1), k.flatten(1))
    assert max((a - b).abs().max() for a, b in zip(found, wanted, strict=True)) < 1e-5
    without = build()(positions, q.flatten(1), k.flatten(1))
    assert (without[0] - wanted[0]).abs().max() > 1e-2, "vLLM reads attention_factor now; the table is out of date"


TABLE = methods.default_rope(16, 1e4, 64)


PRINTED = [
    methods.pi(TABLE, factor=4.0),
    methods.yarn(TABLE, factor=4.0),
    methods.yarn(TABLE, factor=4.0, attention_factor=1.0, beta_fast=4.0),
    methods.yarn(TABLE, factor=4.0, truncate=False),
    methods.llama3(TABLE, factor=4.0),
    methods.ntk(TABLE, factor=4.0),
    methods.dynamic_ntk(TABLE, factor=4.0),
]


def overrides(rope, engine, option, folder):
    """What is printed for an engine, as it gets it."""
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16, "max_position_embeddings": 64}
    LlamaConfig(**sizes).save_pretrained(folder)
    words = shlex.split(printed(ModelSource("folder", str(folder)), rope, engine, length=256).text)
    return json.loads(words[words.index(option) + 1])


def table(rope):
    """Cosines and sines at 256 positions, side by side."""
    return np.concatenate(cos_sin(rope.at(256), np.arange(256)), axis=1)


@pytest.mark.parametrize("rope", PRINTED, ids=lambda rope: rope.recipe)
def test_vllm_makes_the_rope_of_what_is_printed_for_it(rope, tmp_path):
    vllm = pytest.importorskip("vllm.model_executor.layers.rotary_embedding", exc_type=ImportError)
    from vllm.config import DeviceConfig, VllmConfig, set_current_vllm_config

    given = overrides(rope, "vllm", "--hf-overrides", tmp_path)
    with set_current_vllm_config(VllmConfig(device_config=DeviceConfig(device="cpu"))):
        made = vllm.get_rope(
            16, given["max_position_embeddings"], rope_parameters=given["rope_parameters"], dtype=torch.float32
        )
    np.testing.assert_allclose(made.cos_sin_cache[:256].numpy(), table(rope), atol=1e-5)


@pytest.mark.parametrize("rope", [*PRINTED, methods.resonance(methods.yarn(TABLE, factor=4.0))], ids=lambda r: r.recipe)
def test_sglang_makes_the_rope_of_what_is_printed_for_it(rope, tmp_path):
    sglang = pytest.importorskip("sglang.srt.layers.rotary_embedding.factory", exc_type=ImportError)
    given = overrides(rope, "sglang", "--json-model-override-args", tmp_path)
    parameters, length = given["rope_parameters"], given["max_position_embeddings"]
    made = sglang.get_rope(16, 16, length, parameters["rope_theta"], True, parameters, torch.float32)
    if hasattr(made, "long_short_cos_sin_cache"):  # both tables one after the other, and equal here
        found = made.long_short_cos_sin_cache[-256:]
    else:
        found = made.cos_sin_cache[:256]
    np.testing.assert_allclose(found.numpy(), table(rope), atol=3e-5)

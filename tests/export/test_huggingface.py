from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ropewalk.errors import UserError
from ropewalk.export.huggingface import export
from ropewalk.models import binding
from ropewalk.models.rope_reading import site
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.rope import methods


def source(folder: Path) -> ModelSource:
    return ModelSource("folder", str(folder))


# With plain projections, a norm of the query, partial rotation, a rope for each layer type, and a length of its own.
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox", "stablelm", "gemma3_text", "olmo3", "phi3"])
def test_plain_from_pretrained_gives_the_logits_of_the_patched_model(family, make, logits, tmp_path):
    made = make(family)
    plain = logits(made.model)
    written = export(source(made.folder), made.rope, tmp_path / "out")
    assert written.length == 256
    binding.patch(made.model, made.rope)
    wanted = logits(made.model)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    assert (logits(loaded) - wanted).abs().max() < 1e-4
    assert (plain - wanted).abs().max() > 1e-2, "the rope shows nowhere"
    # The model and the printed overrides are the same as the export.
    bare = AutoConfig.from_pretrained(made.folder, **written.overrides)
    assert bare.rope_parameters == loaded.config.rope_parameters
    assert bare.max_position_embeddings == loaded.config.max_position_embeddings == 256


@pytest.mark.parametrize("family", ["llama", "qwen3", "stablelm", "gemma3_text"])
def test_folded_exports_rotate_without_a_factor_and_leave_the_model_alone(family, make, logits, tmp_path):
    made = make(family)
    before = (made.folder / "model.safetensors").read_bytes()
    export(source(made.folder), made.rope, tmp_path / "out", fold_temperature=True)
    assert (made.folder / "model.safetensors").read_bytes() == before
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    assert site(loaded.config).parameters["attention_factor"] == 1
    binding.patch(made.model, made.rope)
    assert (logits(loaded) - logits(made.model)).abs().max() < 1e-4


def test_both_versions_of_transformers_find_their_keys(make, tmp_path):
    made = make()
    config = json.loads((made.folder / "config.json").read_text())
    (made.folder / "config.json").write_text(json.dumps(config | {"original_max_position_embeddings": 32}))
    export(source(made.folder), made.rope, tmp_path / "out", length=512)
    raw = json.loads((tmp_path / "out/config.json").read_text())
    assert raw["rope_parameters"] == raw["rope_scaling"]
    assert raw["rope_theta"] == 10_000
    assert raw["max_position_embeddings"] == 512
    assert "original_max_position_embeddings" not in raw, "vLLM would shorten its context to it"
    found = raw["rope_parameters"]
    assert found["rope_type"] == "longrope"
    assert found["short_factor"] == found["long_factor"] == made.rope.factors.tolist()
    factor = made.rope.attention_factor
    assert (found["attention_factor"], found["short_mscale"], found["long_mscale"]) == (factor, factor, factor)
    assert (found["factor"], found["original_max_position_embeddings"]) == (8, 64)
    for key in ("rope_parameters", "rope_scaling"):
        alone = {k: v for k, v in raw.items() if k not in ("rope_parameters", "rope_scaling")} | {key: raw[key]}
        inv_freq, scaling = ROPE_INIT_FUNCTIONS["longrope"](AutoConfig.for_model(**alone))
        torch.testing.assert_close(inv_freq, torch.tensor(made.rope.inv_freq, dtype=torch.float32))
        assert scaling == factor


def test_pairs_that_do_not_rotate_have_finite_factors(make, logits, tmp_path):
    made = make()
    rope = methods.p_rope(made.rope, p=0.5)
    export(source(made.folder), rope, tmp_path / "out")
    assert "Infinity" not in (tmp_path / "out/config.json").read_text()
    binding.patch(made.model, rope)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    assert (logits(loaded) - logits(made.model)).abs().max() < 1e-4


def test_a_family_that_needs_its_training_length_at_the_top_keeps_it_and_says_so(make, tmp_path):
    made = make("phi3")
    written = export(source(made.folder), made.rope, tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["original_max_position_embeddings"] == 64
    assert "start vLLM with --max-model-len 256" in written.notes[0]


def test_weights_are_linked_and_the_tokenizer_comes_along(make, tmp_path):
    made = make()
    tokenizer = byte_tokenizer()
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(made.folder)
    export(source(made.folder), made.rope, tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").samefile(made.folder / "model.safetensors")
    assert (tmp_path / "out/generation_config.json").is_file()
    assert (tmp_path / "out/tokenizer.json").is_file()
    assert json.loads((tmp_path / "out/tokenizer_config.json").read_text())["model_max_length"] == 256
    assert json.loads((made.folder / "tokenizer_config.json").read_text())["model_max_length"] == 64


def test_weights_of_16_bits_stay_so_and_the_rounding_is_said(make, tmp_path):
    made = make()
    made.model.to(torch.bfloat16).save_pretrained(made.folder)
    written = export(source(made.folder), made.rope, tmp_path / "out", fold_temperature=True)
    assert "The folded weights are bfloat16" in written.notes[0]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16


def test_what_cannot_be_exported_leaves_nothing_behind(make, tmp_path):
    made = make()
    other = methods.yarn(methods.default_rope(32, 10_000.0, 64), factor=2.0)
    for rope, options, message in [
        (other, {}, "rotates 32 dimensions of a head; this model rotates 16"),
        (methods.dynamic_ntk(made.rope, factor=2.0), {}, "changes with the length"),
        (methods.log_scaling(made.rope), {}, "log-scaled attention"),
    ]:
        with pytest.raises(UserError, match=message):
            export(source(made.folder), rope, tmp_path / "out", **options)
    with pytest.raises(UserError, match="is the model itself; expected another place"):
        export(source(made.folder), made.rope, made.folder)
    (made.folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be loaded"):
        export(source(made.folder), made.rope, tmp_path / "out", fold_temperature=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama"]

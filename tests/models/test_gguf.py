from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.models.configurations import load_config, own_rope
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.rope import methods

gguf = pytest.importorskip("gguf", reason="needs the package gguf")

TABLE = methods.default_rope(16, 10_000.0, 64)
DIVISORS = [1, 1, 1, 1, 2.5, 8, 8, 8]


def written(path: Path, arch: str = "llama", tensors: dict[str, list[float]] | None = None, **keys) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    sizes = {"embedding_length": 64, "attention.head_count": 4, "context_length": 256, "block_count": 2}
    sizes |= {"feed_forward_length": 96, "attention.head_count_kv": 2, "vocab_size": 97}
    for key, number in sizes.items():
        writer.add_uint32(f"{arch}.{key}", number)
    writer.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in keys.items():
        name = f"{arch}.rope.{key.replace('__', '.')}"
        {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}[type(value)](name, value)
    writer.add_tensor("token_embd.weight", np.ones((97, 64), np.float32))
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, np.array(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


YARN = {"scaling__type": "yarn", "scaling__factor": 4.0, "scaling__original_context_length": 64}
LONG, SHORT = [2.0] * 8, [1.0] * 7 + [1.5]


@pytest.mark.parametrize(
    ("arch", "tensors", "keys", "wanted"),
    [
        ("llama", {}, {}, methods.default_rope(16, 10_000.0, 256)),
        ("llama", {}, YARN, methods.yarn(TABLE, factor=4.0)),
        ("qwen2", {}, YARN, methods.yarn(TABLE, factor=4.0)),
        (
            "qwen2",
            {},
            YARN | {"scaling__attn_factor": 0.5},
            methods.yarn(TABLE, factor=4.0, attention_factor=0.5693147),
        ),
        ("qwen2", {}, YARN | {"scaling__yarn_beta_fast": 16.0}, methods.yarn(TABLE, factor=4.0, beta_fast=16.0)),
        ("llama", {}, {"scaling__factor": 2.0}, methods.pi(methods.default_rope(16, 1e4, 256), factor=2.0)),
        ("llama", {}, {"scale_linear": 2.0}, methods.pi(methods.default_rope(16, 1e4, 256), factor=2.0)),
        ("llama", {}, {"scaling__type": "none", "scaling__factor": 2.0}, methods.default_rope(16, 1e4, 256)),
        ("llama", {"rope_freqs.weight": DIVISORS}, {}, methods.longrope(TABLE, long_factor=DIVISORS)),
        (
            "llama",
            {"rope_freqs.weight": DIVISORS},
            YARN,
            methods.longrope(methods.yarn(TABLE, factor=4.0), long_factor=DIVISORS),
        ),
        (
            "phi3",
            {"rope_factors_long.weight": LONG, "rope_factors_short.weight": SHORT},
            {"scaling__original_context_length": 64, "scaling__attn_factor": 1.25},
            methods.longrope(TABLE, long_factor=LONG, short_factor=SHORT, attention_factor=1.25),
        ),
    ],
)
def test_the_rope_that_llama_cpp_makes_of_a_file(arch, tensors, keys, wanted, tmp_path):
    found, said = own_rope(ModelSource("gguf", str(written(tmp_path / "m.gguf", arch, tensors, **keys))))
    for length in (64, 65):
        np.testing.assert_allclose(found.at(length).inv_freq, wanted.at(length).inv_freq, rtol=1e-6)
    assert found.attention_factor == pytest.approx(wanted.attention_factor, rel=1e-6)
    assert found.static == wanted.static
    original = keys.get("scaling__original_context_length", 256)
    assert found.original_length == original
    key = "rope.scaling.original_context_length" if original == 64 else "context_length"
    assert said == [f"training length {original} tokens, from {arch}.{key}"]


def test_the_values_of_the_fields_own_files(tmp_path):
    """YaRN by 4 on 64 tokens has attention factor 1.138629; the tensor divides the frequencies."""
    yarn, _ = own_rope(ModelSource("gguf", str(written(tmp_path / "a.gguf", **YARN))))
    assert yarn.attention_factor == pytest.approx(1.138629, abs=1e-6)
    divided, _ = own_rope(
        ModelSource("gguf", str(written(tmp_path / "b.gguf", tensors={"rope_freqs.weight": DIVISORS})))
    )
    np.testing.assert_allclose(divided.inv_freq * DIVISORS, TABLE.inv_freq, rtol=1e-6)


def test_its_configuration_carries_the_rope(tmp_path):
    source = ModelSource("gguf", str(written(tmp_path / "m.gguf", **YARN)))
    config = load_config(source)
    assert config.rope_parameters["rope_type"] == "yarn"
    assert config.max_position_embeddings == 256
    np.testing.assert_allclose(read_rope(config).inv_freq, methods.yarn(TABLE, factor=4.0).inv_freq, rtol=1e-6)


@pytest.mark.parametrize(
    ("tensors", "keys", "message"),
    [
        ({}, {"scaling__type": "longrope"}, "two tables, without the tensor rope_factors_long.weight"),
        ({}, {"scaling__type": "spiral"}, "rope scaling type 'spiral' is not supported"),
        ({"rope_freqs.weight": [1.0] * 7}, {}, "expected .8,., one divisor per pair"),
    ],
)
def test_files_whose_rope_cannot_be_read_are_refused(tensors, keys, message, tmp_path):
    with pytest.raises(UserError, match=message):
        own_rope(ModelSource("gguf", str(written(tmp_path / "m.gguf", tensors=tensors, **keys))))


def test_damaged_and_truncated_files_are_refused(tmp_path):
    whole = written(tmp_path / "m.gguf", **YARN).read_bytes()
    for name, content in {"empty": b"", "head": whole[:200], "cut": whole[:-3000], "text": b"not a model" * 99}.items():
        file = tmp_path / f"{name}.gguf"
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"damaged or no GGUF file"):
            own_rope(ModelSource("gguf", str(file)))


def test_layers_with_windows_are_not_read(tmp_path):
    with pytest.raises(UserError, match="the rope of a GGUF file is read for global layers, not local ones"):
        own_rope(ModelSource("gguf", str(written(tmp_path / "m.gguf"))), layers="local")


def test_a_file_that_changed_is_parsed_again(tmp_path):
    source = ModelSource.parse(str(written(tmp_path / "one.gguf")))
    assert own_rope(source)[0].base == 10_000.0
    written(tmp_path / "one.gguf", freq_base=50_000.0)
    assert own_rope(source)[0].base == 50_000.0


def test_a_damaged_file_is_named_by_whatever_reads_it(tmp_path):
    (tmp_path / "one.gguf").write_bytes(b"GGUF" + bytes(20))
    for read in (load_config, load_tokenizer, load_model):
        with pytest.raises(UserError, match=r"one\.gguf"):
            read(ModelSource.parse(str(tmp_path / "one.gguf")))


def test_transformers_is_itself_again_afterwards(tmp_path):
    before = gguf.GGUFReader, gguf.get_tensor_name_map
    load_config(ModelSource.parse(str(written(tmp_path / "one.gguf"))))
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before

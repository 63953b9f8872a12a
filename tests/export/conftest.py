from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

ORIGINAL = 64


class Made(NamedTuple):
    folder: Path
    model: object
    rope: object


def tiny(family: str, **changes):
    """A tiny random model whose weights are large enough that its rope shows in the logits."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    layers = {"layer_types": ["sliding_attention", "full_attention"]} if family in ("gemma3_text", "olmo3") else {}
    equal = family in ("gpt_neox", "phi", "stablelm")
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"vocab_size": 97, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    heads = {"num_key_value_heads": 4 if equal else 2, "head_dim": 16}
    given = {**sizes, **tokens, **heads, **layers, "max_position_embeddings": ORIGINAL, **changes}
    config = AutoConfig.for_model(family, **given)
    config.initializer_range = 0.2
    for name, value in {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4096}.items():
        if hasattr(config, name):
            setattr(config, name, value)
    if family == "phi3":
        config.original_max_position_embeddings = ORIGINAL
    if family == "gpt_oss":  # its own rope is a YaRN of another length
        config.rope_parameters = {"rope_type": "default", "rope_theta": 150_000.0}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():  # norms and biases start at one and zero, which would hide how they are treated
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.rand_like(parameter))
    return model


def yarn(model, factor: float = 4.0):
    """Resonance YaRN: a divisor of its own for each pair, and an attention factor."""
    from ropewalk.models.rope_reading import site
    from ropewalk.rope import methods

    config = model.config
    base = site(config).base
    return methods.resonance(methods.yarn(methods.default_rope(site(config).rotary_dim, base, ORIGINAL), factor=factor))


@pytest.fixture
def make(tmp_path):
    def made(family: str = "llama", **changes) -> Made:
        model, folder = tiny(family, **changes), tmp_path / family
        model.save_pretrained(folder)
        return Made(folder, model, yarn(model))

    return made


@pytest.fixture
def tiny_model():
    return tiny


@pytest.fixture
def yarn_for():
    return yarn


@pytest.fixture
def logits():
    import torch

    tokens = torch.randint(3, 97, (1, 3 * ORIGINAL), generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def run(model) -> torch.Tensor:
        return model(tokens).logits

    return run


@pytest.fixture
def small(make):
    # 32 columns a block is what Q8_0 needs, and 257 tokens the byte tokenizer.
    from ropewalk.models.tokenizers import byte_tokenizer

    made = make(vocab_size=257, hidden_size=64, intermediate_size=96)
    byte_tokenizer().save_pretrained(made.folder)
    return made


@pytest.fixture
def quantised(small, tmp_path):
    """A GGUF file as others publish them: Q8_0, with a YaRN of its own, divisors, and arrays."""
    import gguf

    from ropewalk.export import gguf as exporting
    from ropewalk.models.sources import ModelSource
    from ropewalk.rope import methods

    plain, path = tmp_path / "plain.gguf", tmp_path / "q8.gguf"
    exporting.export(ModelSource("folder", str(small.folder)), methods.default_rope(16, 10_000.0, 64), plain, length=64)
    writer = gguf.GGUFWriter(path, "llama")
    reader = gguf.GGUFReader(plain)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "llama.rope.scaling.type"):
            kind = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], kind)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_float32("llama.rope.scale_linear", 2.0)
    for tensor in reader.tensors:
        if tensor.data.ndim == 2:
            q8 = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(tensor.name, gguf.quants.quantize(tensor.data, q8), raw_dtype=q8)
        else:
            writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

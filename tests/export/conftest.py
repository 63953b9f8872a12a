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
    from ropewalk.models import binding
    from ropewalk.rope import methods

    config = model.config
    base = float(binding.rope_parameters(config)["rope_theta"])
    return methods.resonance(
        methods.yarn(methods.default_rope(binding.rotary_dim(config), base, ORIGINAL), factor=factor)
    )


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

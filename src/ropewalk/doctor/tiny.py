"""Tiny models with random weights whose answers depend on their rope far more than on rounding.

Attention is sharp and the faster pairs weigh more, so that distant keys are told apart by their angles. All weights are
bfloat16 numbers: an engine that loads them as such has the same ones as one that computes in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ropewalk.models.tokenizers import byte_tokenizer

_ORIGINAL, _LONGEST = 256, 1024
_HEAD, _HEADS, _WIDTH, _LATENT, _UNROTATED = 64, 2, 64, 64, 32
_SHARPNESS = 3.0
"""Standard deviation of attention logits, about: attention goes to a few of a thousand keys."""


@dataclass(frozen=True)
class Tiny:
    """One of the tiny models.

    Attributes:
        original_length: below which its texts are short, in tokens.
        lengths: of its prompts, in tokens: two below the original length, two beyond.
        config: makes its configuration.
    """

    original_length: int
    lengths: tuple[int, ...]
    config: Callable[[], PreTrainedConfig]


def tiny_model(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """A model with random weights, the same for the same seed, in float32; each is a bfloat16 number."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(std=_spread(name, weight, config), generator=generator)
            gains = _gains(name.split(".")[-2], config)
            if gains is not None and weight.dim() > 1:
                weight.mul_(gains[:, None])
            elif gains is not None:
                # Gemma's norms multiply by one more than their weight.
                weight.copy_(gains - (1 if config.model_type.startswith("gemma") else 0))
            weight.copy_(weight.to(torch.bfloat16))
    return model


def _spread(name: str, weight: torch.Tensor, config: PreTrainedConfig) -> float:
    """Standard deviation of a matrix: products keep the size of what comes in, and attention outweighs the rest."""
    if "embed_tokens" in name:
        return float(config.hidden_size**-0.5) if config.tie_word_embeddings else 1.0
    part = {"o_proj": 2.0, "down_proj": 0.5}.get(name.split(".")[-2], 1.0)
    return part * float(weight.shape[1] ** -0.5)


def _gains(part: str, config: PreTrainedConfig) -> torch.Tensor | None:
    """What rows of queries and keys are multiplied by, or their norms are; None for other weights."""
    pairs = _profile()
    head, normed = pairs.repeat(2), config.model_type in ("qwen3", "gemma3_text")
    match part:
        case "q_norm" | "k_norm":
            return head
        case "kv_a_proj_with_mqa":
            return torch.cat([torch.ones(_LATENT), pairs.repeat_interleave(2)])
        case "q_proj" if config.model_type == "deepseek_v3":
            return torch.cat([torch.ones(_UNROTATED), pairs.repeat_interleave(2)]).repeat(_HEADS)
        case "q_proj" if not normed:
            return head.repeat(_HEADS)
        case "k_proj" if not normed:
            return head
        case "qkv_proj":
            return torch.cat([head.repeat(_HEADS + 1), torch.ones(_HEAD)])
    return None


def _profile() -> torch.Tensor:
    """How strong each pair is, fast ones first, shape (pairs,)."""
    strength = np.exp(-np.arange(_HEAD // 2) / 8)
    strength[0] /= 2  # its frequency of 1 or a half survives any rounding, so that it tells the least
    strength += 0.15
    strength *= (_SHARPNESS**2 / np.mean(strength**4)) ** 0.25
    return torch.tensor(strength, dtype=torch.float32)


def _config(family: str, **given: Any) -> PreTrainedConfig:
    tokenizer = byte_tokenizer()
    end = tokenizer.eos_token_id
    sizes = {"hidden_size": _WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": _HEADS}
    tokens = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
    shared = {"num_key_value_heads": 1, "max_position_embeddings": _LONGEST, "tie_word_embeddings": False}
    return AutoConfig.for_model(family, **{**sizes, **tokens, **shared, "dtype": torch.bfloat16, **given})


def _yarn(base: float, **given: float) -> dict[str, Any]:
    # Constants other than the published ones, so that their absence shows.
    ramp = {"beta_fast": 16.0, "beta_slow": 2.0}
    factor = {"factor": _LONGEST / _ORIGINAL, "original_max_position_embeddings": _ORIGINAL}
    return {"rope_type": "yarn", "rope_theta": base, **factor, **ramp, **given}


def _llama() -> PreTrainedConfig:
    return _config("llama", head_dim=_HEAD, rope_parameters=_yarn(500_000.0))


def _qwen3() -> PreTrainedConfig:
    return _config("qwen3", head_dim=_HEAD, rope_parameters=_yarn(1_000_000.0))


def _gemma3() -> PreTrainedConfig:
    ropes = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        # A base and a factor that bfloat16 rounds by much, as linear scaling leaves no fast pair to show it.
        "full_attention": {"rope_type": "linear", "factor": 2.5, "rope_theta": 700_000.0},
    }
    kinds = ["sliding_attention", "full_attention", "full_attention"]
    layers = {"num_hidden_layers": 3, "layer_types": kinds, "sliding_window": 128, "query_pre_attn_scalar": _HEAD}
    return _config(
        "gemma3_text",
        head_dim=_HEAD,
        rope_parameters=ropes,
        max_position_embeddings=2560,
        tie_word_embeddings=True,
        **layers,
    )


def _phi3() -> PreTrainedConfig:
    tables = {
        "short_factor": np.linspace(1.0, 1.5, _HEAD // 2).tolist(),
        "long_factor": np.geomspace(1.2, 6.0, _HEAD // 2).tolist(),
    }
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": _ORIGINAL, **tables}
    return _config(
        "phi3",
        hidden_size=_HEADS * _HEAD,
        original_max_position_embeddings=_ORIGINAL,
        sliding_window=None,
        rope_parameters=rope | {"factor": _LONGEST / _ORIGINAL},
    )


def _deepseek_v3() -> PreTrainedConfig:
    latent = {"q_lora_rank": None, "kv_lora_rank": _LATENT, "qk_nope_head_dim": _UNROTATED, "qk_rope_head_dim": _HEAD}
    # All layers are dense: a choice of experts would turn a rounding into a leap.
    experts = {"first_k_dense_replace": 2, "n_routed_experts": 2, "num_experts_per_tok": 1, "n_shared_experts": 1}
    groups = {"n_group": 1, "topk_group": 1, "moe_intermediate_size": 32, "v_head_dim": 32, "num_key_value_heads": 2}
    rope = _yarn(50_000.0, mscale=1.0, mscale_all_dim=1.0)
    return _config("deepseek_v3", **latent, **experts, **groups, rope_parameters=rope)


_LENGTHS = (96, 240, 640, 1000)

TINY: dict[str, Tiny] = {
    "llama-yarn": Tiny(_ORIGINAL, _LENGTHS, _llama),
    "qwen3-yarn": Tiny(_ORIGINAL, _LENGTHS, _qwen3),
    "gemma3-linear": Tiny(1024, (96, 240, 1600, 2400), _gemma3),
    "phi-longrope": Tiny(_ORIGINAL, _LENGTHS, _phi3),
    "deepseek-v3-yarn": Tiny(_ORIGINAL, _LENGTHS, _deepseek_v3),
}
"""The tiny models by the names of their folders. No name holds phi3, of which llama.cpp expects special tokens."""

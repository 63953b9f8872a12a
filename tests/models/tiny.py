"""Tiny random models of any causal family of transformers."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCABULARY, ORIGINAL = 97, 64

SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "embedding_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "n_kv_heads", "num_global_key_value_heads"), 2),
    **dict.fromkeys(("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size"), 96),
    **dict.fromkeys(("ffn_hidden_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size"), 96),
    **dict.fromkeys(("expert_ffn_hidden_size", "prefix_dense_intermediate_size", "block_ff_dim", "d_ff"), 96),
    **dict.fromkeys(("intermediate_size_mlp", "n_inner", "ffn_dim", "decoder_ffn_dim", "lm_head_intermediate"), 96),
    **dict.fromkeys(("head_dim", "kv_channels", "attention_head_dim", "global_head_dim", "swa_head_dim"), 16),
    **dict.fromkeys(("v_head_dim", "qk_nope_head_dim", "index_head_dim", "swa_v_head_dim", "kda_head_dim"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "rotary_dim"), 8),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "o_lora_rank"), 16),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "num_selected_experts"), 2),
    **dict.fromkeys(("n_group", "topk_group", "zero_expert_num", "first_k_dense_replace"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx"), ORIGINAL),
    **dict.fromkeys(("sliding_window", "attention_chunk_size", "attention_window_size"), 48),
    **dict.fromkeys(("mamba_n_heads", "n_mamba_heads", "mamba_num_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("linear_num_key_heads",), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "mamba_d_head", "mamba_head_dim"), 16),
    **dict.fromkeys(("mamba_d_state", "mamba_n_groups", "hidden_size_per_layer_input", "index_n_heads"), 4),
    "index_topk": 2048,
    "mamba_d_ssm": 64,
    "lru_width": 64,
    "altup_num_inputs": 2,
    "laurel_rank": 8,
    "num_kv_shared_layers": 0,
    "mlp_layer_types": None,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_nextn_predict_layers": 0,
    "chunk_size": 8,
    "mamba_chunk_size": 8,
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
}
"""What a key of a configuration becomes in a tiny model, whatever the family."""


ODD: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {
        "linear_head_dim": 16,
        "num_key_value_heads": 4,
        "group_norm_size": 1,
        "n_group": 1,
        "topk_group": 1,
        "num_experts": 8,
        "num_experts_per_tok": 2,
    },
    "bamba": {"mamba_d_head": 32, "attn_layer_indices": [1]},
    "dbrx": {
        "attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 96},
    },
    "deepseek_v4": {"head_dim": 64, "qk_rope_head_dim": 8},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "granitemoehybrid": {
        "mamba_d_head": 32,
        "position_embedding_type": "rope",
        "layer_types": ["linear_attention", "full_attention"],
    },
    "laguna": {"layer_types": ["full_attention", "sliding_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mellum": {"layer_types": ["full_attention", "sliding_attention"]},
    "mimo_v2_flash": {"head_dim": 24},
    "phimoe": {"num_local_experts": 2},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
    },
    "youtu": {"tie_word_embeddings": False},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "use_mem_rope": True, "mamba_ngroups": 1, "n_mamba_heads": 8},
    "zaya": {"num_experts_per_tok": 1, "layer_types": ["hybrid", "hybrid_sliding"], "sliding_window": 48},
}
"""What single families need beside that."""


def tiny_config(family: str, **given: Any) -> PreTrainedConfig:
    """A configuration of a family with two small layers, of both types where it has two."""
    kind = CONFIG_MAPPING[family]
    default = kind()
    if type(default.get_text_config(decoder=True)) is not kind:
        inner = default.get_text_config(decoder=True)
        key = next(name for name, value in vars(default).items() if value is inner)
        return kind(**{key: tiny_config(inner.model_type).to_dict()}, **given)
    known = default.to_dict()
    sizes = {key: value for key, value in SIZES.items() if key in known}
    if known.get("sliding_window") is None and "sliding_window" in sizes:
        sizes.pop("sliding_window")
    types = list(dict.fromkeys(known.get("layer_types") or ()))
    if types:
        sizes["layer_types"] = types[:4] if len(types) > 1 else types * 2
        for key in ("num_hidden_layers", "n_layer", "num_layers"):
            if key in sizes:
                sizes[key] = len(sizes["layer_types"])
    if isinstance(known.get("mlp_layer_types"), list):
        sizes["mlp_layer_types"] = [known["mlp_layer_types"][-1]] * sizes["num_hidden_layers"]
    if known.get("kv_lora_rank"):
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]  # latent attention shares no keys
        if known.get("head_dim") == known.get("qk_rope_head_dim"):
            sizes["head_dim"] = SIZES["qk_rope_head_dim"]
    sizes |= ODD.get(family, {})
    parameters = known.get("rope_parameters")
    if parameters:
        sizes["rope_parameters"] = _at_this_length(parameters)
    return kind(**{**sizes, **given})


def _at_this_length(parameters: dict[str, Any]) -> dict[str, Any]:
    original = {"original_max_position_embeddings": ORIGINAL // 4, "max_position_embeddings": ORIGINAL}
    return {
        key: _at_this_length(value) if isinstance(value, dict) else original.get(key, value)
        for key, value in parameters.items()
    }


def tiny_model(config: PreTrainedConfig, seed: int = 0) -> Any:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    assert count < 20e6, f"{config.model_type} has {count:,} weights: a size of it is not known here"
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                # Wider than usual, so that attention is not flat and a rope shows.
                parameter.normal_(std=0.3)
            elif not parameter.any():
                parameter.normal_(std=0.3)  # a gate that starts closed would hide what is behind it
    return model

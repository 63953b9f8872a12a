"""What single families of models do otherwise than most, each fact once.

Families are not believed where a pass can show it: a bound rope is proved on logits (:mod:`ropewalk.models.binding`).
What stands here is what a configuration alone must be known by. tests/models/test_families.py holds it against every
causal family of the installed transformers, and writes docs/families.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

GLOBAL_LAYERS, LOCAL_LAYERS = "full_attention", "sliding_attention"
"""Types of layers, as transformers calls them. Where a model has a rope for each, a rope is bound to the global ones
unless it says otherwise: sliding-window layers never look past their window, so a longer context changes nothing for
them."""

_LABELS = {
    # Compressed layers see the whole text; all others see a window.
    "deepseek_v4": ("compress", "main"),
    "dots3_note_text": ("indexed_attention", LOCAL_LAYERS),
    "zaya": ("hybrid", "hybrid_sliding"),
}

_UNROTATED_GLOBALS = {"afmoe", "cohere2", "cohere2_moe", "exaone4", "exaone_moe", "flint", "kolibri1", "llama4_text"}
"""Families of two types of layers whose layers that see the whole text have no positions at all."""

OWN_TABLES = {"gptj": 10_000.0, "codegen": 10_000.0}
"""Families that keep sines and cosines of their own, made from this base; ``rotary_dim`` is how wide they are."""

REBUILT = {"phimoe"}
"""Families whose rotary module computes its frequencies anew in each pass."""

NTK_ALPHA = {"hunyuan_v1_dense", "hunyuan_v1_moe", "hunyuan_vl_text"}
"""Families that call an NTK rope with a fixed ``alpha`` dynamic."""

_SWITCHES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "falcon": ("alibi", lambda value: not value),
    "granitemoehybrid": ("position_embedding_type", lambda value: value == "rope"),
    "zamba2": ("use_mem_rope", bool),
}
"""The key that says whether a family rotates at all, and what it must be."""


def labels(config: Any) -> tuple[str, str]:
    """What the rope parameters call global and local layers, where each type has parameters of its own."""
    return _LABELS.get(config.model_type, (GLOBAL_LAYERS, LOCAL_LAYERS))


def switched_off(config: Any) -> str | None:
    """The key, with its value, that says that this model rotates nothing, for all its rope parameters."""
    key, rotates = _SWITCHES.get(config.model_type, ("", bool))
    if not key or rotates(getattr(config, key, None)):
        return None
    return f"{key} is {getattr(config, key, None)!r}"


def reach(config: Any) -> int | None:
    """Tokens that the farthest-seeing rotated layer sees, where that is a window; None where one sees everything."""
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    if not window or not getattr(config, "use_sliding_window", True):
        return None
    windowed = {kind for kind in kinds if "sliding" in kind or "chunked" in kind}
    if kinds and not windowed:
        return None
    if kinds - windowed and config.model_type not in _UNROTATED_GLOBALS:
        return None
    return int(window)


def refused_types(config: Any) -> set[str]:
    """Rope types of transformers that a family's configuration or rotary class does not take."""
    # The configuration of Phi-3 takes longrope alone; Phi-3.5-MoE looks for its keys in any type but the default.
    alone = config.model_type in {"phi3", "phi4_multimodal", *REBUILT}
    return {"yarn", "linear", "dynamic", "llama3"} if alone else set()

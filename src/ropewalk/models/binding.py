"""Bind a rope to a transformers model: by patching its buffers, or through its configuration.

Patching is for searches and measurements: any number of ropes on one resident model. It is lost when the model is
saved. The configuration is for checkpoints: it holds the rope as ``longrope`` with equal short and long factors, which
plain ``from_pretrained`` restores, and which vLLM and SGLang read too. Both give the same logits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ropewalk.errors import UserError
from ropewalk.rope import Rope, methods
from ropewalk.rope.rope import FloatArray

# A pair that is not rotated has no finite divisor; this one turns it by a millionth of a radian in a million tokens.
UNROTATED_FACTOR = 1e12

GLOBAL_LAYERS, LOCAL_LAYERS = "full_attention", "sliding_attention"
"""Types of layers, as transformers calls them. Where a model has a rope for each, a rope is bound to the global ones
unless it says otherwise: sliding-window layers never look past their window, so a longer context changes nothing for
them."""

_HANDLES, _OWN = "_ropewalk_log_scaling", "_ropewalk_own"


def rope_parameters(config: PreTrainedConfig) -> dict[str, Any]:
    """The configuration's rope parameters, those of the global layers where layer types differ.

    Raises:
        UserError: the model has no rotary embedding, or one that a rope cannot be bound to.
    """
    family = config.model_type
    parameters = getattr(config, "rope_parameters", None)
    if not parameters:
        raise UserError(f"model type {family!r} has no rotary position embedding in its configuration.")
    if getattr(config, "qk_rope_head_dim", None):
        raise UserError(f"model type {family!r} uses latent attention with a rope of its own; it is not supported.")
    parameters = parameters.get(GLOBAL_LAYERS, parameters)
    if "mrope_section" in parameters:
        raise UserError(f"model type {family!r} uses a multi-axis rope; only ropes over one position are supported.")
    return parameters


def head_dim(config: PreTrainedConfig) -> int:
    """Number of dimensions of a head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def rotary_dim(config: PreTrainedConfig) -> int:
    """Number of rotated dimensions of a head."""
    return int(head_dim(config) * rope_parameters(config).get("partial_rotary_factor", 1.0))


def read_rope(config: PreTrainedConfig) -> Rope:
    """The rope that a model's configuration describes.

    Raises:
        UserError: the rope type is not one that this project can compute.
    """
    parameters = dict(rope_parameters(config))
    kind = parameters.get("rope_type", "default")
    length = config.max_position_embeddings
    if kind in ("yarn", "llama3", "longrope"):
        length = (
            getattr(config, "original_max_position_embeddings", None)
            or parameters.get("original_max_position_embeddings")
            or length
        )
    rope = methods.default_rope(rotary_dim(config), float(parameters["rope_theta"]), int(length))
    given = {key: value for key, value in parameters.items() if value is not None}

    def options(*names: str) -> dict[str, Any]:
        return {name: given[name] for name in names if name in given}

    match kind:
        case "default":
            return rope
        case "linear":
            return methods.pi(rope, factor=given["factor"])
        case "dynamic":
            return methods.dynamic_ntk(rope, factor=given["factor"])
        case "yarn" if "mscale" not in given:
            return methods.yarn(rope, **options("factor", "attention_factor", "beta_fast", "beta_slow", "truncate"))
        case "llama3":
            return methods.llama3(rope, **options("factor", "low_freq_factor", "high_freq_factor"))
        case "longrope":
            factor = given.get("factor", config.max_position_embeddings / length)
            return methods.longrope(rope, factor=factor, **options("long_factor", "short_factor", "attention_factor"))
    raise UserError(f"model type {config.model_type!r}: rope type {kind!r} is not supported.")


def layer_types(config: PreTrainedConfig, rope: Rope) -> tuple[str, ...]:
    """The types of layers that take a rope; none where all layers of the model share one.

    Raises:
        UserError: the rope is for local layers, and the model has no rope of their own.
    """
    wanted = {"global": (GLOBAL_LAYERS,), "local": (LOCAL_LAYERS,), "all": (GLOBAL_LAYERS, LOCAL_LAYERS)}[rope.layers]
    found = tuple(kind for kind in wanted if kind in config.rope_parameters)
    if not found and rope.layers == "local":
        raise UserError(f"the rope is for local layers; model type {config.model_type!r} has one rope for all layers.")
    return found


def check_fits(config: PreTrainedConfig, rope: Rope) -> None:
    """Raise ``UserError`` where a rope was made for another model, or for other layers."""
    wanted, everything = rotary_dim(config), rope_parameters(config)
    if rope.rotary_dim != wanted:
        raise UserError(f"the rope rotates {rope.rotary_dim} dimensions of a head; this model rotates {wanted}.")
    types = layer_types(config, rope)
    for kind, parameters in (
        {kind: config.rope_parameters[kind] for kind in types}.items() if types else [("", everything)]
    ):
        base = float(parameters["rope_theta"])
        if not math.isclose(rope.base, base):
            what = "this model has" if kind in ("", GLOBAL_LAYERS) else "the local layers of this model have"
            raise UserError(f"the rope was made from base {rope.base:g}; {what} base {base:g}.")


def divisors(rope: Rope) -> FloatArray:
    """What each original frequency is divided by, shape (pairs,); finite for pairs that do not rotate."""
    return np.where(rope.inv_freq > 0, rope.factors, UNROTATED_FACTOR)


def write_rope(config: PreTrainedConfig, rope: Rope, length: int) -> None:
    """Write a rope into a configuration, in place, as ``longrope`` with equal short and long factors.

    Equal factors make it static: no engine switches tables in the middle of a text. ``short_mscale`` and
    ``long_mscale`` repeat the attention factor for vLLM and SGLang, which do not read ``attention_factor``.

    Args:
        config: of the model that will use it.
        rope: a static rope without log-scaled attention.
        length: the context length in tokens that the model is to serve.

    Raises:
        UserError: the rope was made for another model, or cannot be expressed in a configuration.
    """
    check_fits(config, rope)
    if not rope.static:
        raise UserError("a rope that changes with the length cannot be written into a configuration.")
    if rope.log_scaling_length is not None:
        raise UserError("log-scaled attention cannot be written into a configuration; no engine reads it there.")
    factors = divisors(rope).tolist()
    old = rope_parameters(config)
    new = {
        "rope_type": "longrope",
        "rope_theta": old["rope_theta"],
        "factor": max(1.0, length / rope.original_length),
        "original_max_position_embeddings": rope.original_length,
        "short_factor": factors,
        "long_factor": factors,
        "attention_factor": float(rope.attention_factor),
        "short_mscale": float(rope.attention_factor),
        "long_mscale": float(rope.attention_factor),
    }
    if "partial_rotary_factor" in old:
        new["partial_rotary_factor"] = old["partial_rotary_factor"]
    types = layer_types(config, rope)
    config.rope_parameters = {**config.rope_parameters, **dict.fromkeys(types, new)} if types else new
    config.max_position_embeddings = length
    if getattr(config, "original_max_position_embeddings", None):
        config.original_max_position_embeddings = rope.original_length


def rotary_modules(model: nn.Module) -> list[nn.Module]:
    """The modules that hold inverse frequencies.

    Raises:
        UserError: there is none.
    """
    found = [
        module
        for module in model.modules()
        if "RotaryEmbedding" in type(module).__name__
        and (hasattr(module, "original_inv_freq") or hasattr(module, f"{GLOBAL_LAYERS}_original_inv_freq"))
    ]
    if not found:
        family = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise UserError(f"model type {family!r} has no rotary embedding that a rope can be bound to.")
    return found


def patch(model: PreTrainedModel, rope: Rope) -> None:
    """Bind a rope to a loaded model by overwriting its inverse frequencies, in place.

    The buffers become float32 whatever the model's dtype. Binding another rope replaces this one; saving the model
    loses it.

    Raises:
        UserError: the rope was made for another model, is not static (take ``rope.at(length)`` first), or asks for
            log-scaled attention that this model cannot give.
    """
    check_fits(model.config, rope)
    if not rope.static:
        raise UserError("a rope that changes with the length must be fixed at one length before it is bound.")
    types = layer_types(model.config, rope)
    table = torch.tensor(rope.inv_freq, dtype=torch.float32)
    for module in rotary_modules(model):
        if types:
            _restore(module)
        for kind in types or (None,):
            # Any other type than the default would recompute or reset the buffers in the next forward pass.
            _set_rope(module, kind, table, float(rope.attention_factor), "default")
    _bind_log_scaling(model, rope.log_scaling_length)


def _restore(module: Any) -> None:
    """Give each type of layer the rope with which the model was loaded, which the first call takes down."""
    if not hasattr(module, _OWN):
        own = {
            kind: (
                getattr(module, f"{kind}_original_inv_freq").clone(),
                getattr(module, f"{kind}_attention_scaling"),
                module.rope_type[kind],
            )
            for kind in module.rope_type
        }
        setattr(module, _OWN, own)
    for kind, known in getattr(module, _OWN).items():
        _set_rope(module, kind, *known)


def _set_rope(module: Any, kind: str | None, table: torch.Tensor, attention_factor: float, rope_type: str) -> None:
    """Overwrite the rope of a type of layers, or that of all where the kind is None."""
    prefix = "" if kind is None else f"{kind}_"
    values = table.to(getattr(module, f"{prefix}inv_freq").device)
    setattr(module, f"{prefix}inv_freq", nn.Buffer(values.clone(), persistent=False))
    setattr(module, f"{prefix}original_inv_freq", nn.Buffer(values.clone(), persistent=False))
    setattr(module, f"{prefix}attention_scaling", attention_factor)
    module.rope_type = rope_type if kind is None else {**module.rope_type, kind: rope_type}


def _bind_log_scaling(model: PreTrainedModel, length: int | None) -> None:
    """Multiply every query by ``max(1, ln t / ln length)``, where ``t`` is its position counted from 1."""
    for handle in getattr(model, _HANDLES, ()):
        handle.remove()
    setattr(model, _HANDLES, ())
    if length is None:
        return
    projections = [module for name, module in model.named_modules() if name.endswith(".q_proj")]
    normed = any(name.endswith((".q_norm", ".q_layernorm")) for name, _ in model.named_modules())
    if not projections or normed:
        raise UserError(
            f"log-scaled attention needs a query projection that nothing normalises; "
            f"model type {model.config.model_type!r} has none."
        )
    scale = torch.ones(1)

    def keep_positions(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal scale
        positions = kwargs["position_ids"] if "position_ids" in kwargs else args[1]
        scale = ((positions.float() + 1).log() / math.log(length)).clamp(min=1.0)

    def scale_queries(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output * scale[..., None].to(output.dtype)

    handles = [m.register_forward_pre_hook(keep_positions, with_kwargs=True) for m in rotary_modules(model)]
    handles += [m.register_forward_hook(scale_queries) for m in projections]
    setattr(model, _HANDLES, tuple(handles))


def check_float32(model: nn.Module) -> None:
    """Guard against inverse frequencies that were cast with the weights.

    ``model.to(torch.bfloat16)`` casts them too, which costs up to 40 radians of phase at position 32,768 (LLaMA-2).

    Raises:
        UserError: a buffer of inverse frequencies is not float32.
    """
    for module in rotary_modules(model):
        for name, buffer in module.named_buffers():
            if "inv_freq" in name and buffer.dtype != torch.float32:
                raise UserError(
                    f"{type(module).__name__}.{name} is {buffer.dtype}, expected torch.float32: "
                    "load the model with dtype=… instead of casting it, or bind the rope after the cast."
                )

"""Bind a rope to a loaded transformers model by patching its buffers, and prove that it took.

Patching is for searches and measurements: any number of ropes on one resident model. It is lost when the model is
saved; for checkpoints the rope is written into the configuration (:mod:`ropewalk.models.rope_writing`), which plain
``from_pretrained`` restores. Both give the same logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel

from ropewalk.errors import UserError
from ropewalk.models import families, mapped_attention
from ropewalk.models.heads import decoder, few_tokens
from ropewalk.models.mapped_attention import Layout
from ropewalk.models.rope_reading import is_nested, sites, text_config
from ropewalk.models.rope_writing import check_fits
from ropewalk.rope import Rope, default_rope
from ropewalk.rope.position_map import PositionMap

_HANDLES, _OWN = "_ropewalk_log_scaling", "_ropewalk_own"
_PROVED: WeakKeyDictionary[nn.Module, set[tuple[str, ...]]] = WeakKeyDictionary()
_LAYOUTS: WeakKeyDictionary[nn.Module, Layout] = WeakKeyDictionary()
_PROOF_TOKENS = 8
_SHORT = (torch.bfloat16, torch.float16)


def rotary_modules(model: nn.Module) -> list[nn.Module]:
    """The modules that hold inverse frequencies of the text model.

    Raises:
        UserError: there is none.
    """
    found = [
        module
        for module in decoder(model).modules()
        if "Rotary" in type(module).__name__
        and not any(word in type(module).__name__ for word in ("Vision", "Audio"))
        and any(name.endswith("original_inv_freq") for name, _ in module.named_buffers(recurse=False))
    ]
    if not found:
        family = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise UserError(f"model type {family!r} has no rotary embedding that a rope can be bound to.")
    return found


def patch(model: PreTrainedModel, rope: Rope, *, prove: bool = True) -> None:
    """Bind a rope to a loaded model by overwriting its inverse frequencies, in place.

    The buffers become float32 whatever the model's dtype. Binding another rope replaces this one; saving the model
    loses it. The first time it is proved on a few tokens that the model follows what is bound to it.

    Args:
        model: is changed.
        rope: static.
        prove: whether to; a model without weights cannot show it.

    Raises:
        UserError: the rope was made for another model, is not static (take ``rope.at(length)`` first), asks for
            log-scaled attention that this model cannot give, or the model does not follow its buffers.
    """
    check_fits(model.config, rope)
    if not rope.static:
        raise UserError("a rope that changes with the length must be fixed at one length before it is bound.")
    kinds = tuple(place.kind for place in sites(model.config, rope))
    modules = rotary_modules(model)
    if is_nested(text_config(model.config)):
        for module in modules:
            _restore(module)
    mapped_attention.release(model)
    layout = _layout(model, rope, modules, kinds) if rope.position_map is not None else None
    if prove and kinds not in _PROVED.setdefault(model, set()):
        _prove(model, modules, kinds, torch.tensor(rope.original_inv_freq, dtype=torch.float32))
        _PROVED[model].add(kinds)
    _set_all(modules, kinds, torch.tensor(rope.inv_freq, dtype=torch.float32), float(rope.attention_factor))
    _bind_log_scaling(model, rope.log_scaling_length)
    if layout is not None:
        mapped_attention.bind(model, rope, layout)


def _set_all(modules: list[nn.Module], kinds: tuple[str, ...], table: torch.Tensor, factor: float) -> None:
    for module in modules:
        for kind in kinds:
            # Any other type than the default would recompute or reset the buffers in the next forward pass.
            _set_rope(module, kind, table, factor, "default")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _in_float32(model: PreTrainedModel) -> Iterator[None]:
    """With weights in float32 for a while, which from a shorter type and back changes none."""
    shorter = [(tensor, tensor.dtype) for tensor in (*model.parameters(), *model.buffers()) if tensor.dtype in _SHORT]
    attention = model.config._attn_implementation
    flash = bool(shorter) and str(attention).startswith("flash")  # which has no kernel for it
    if flash:
        model.set_attn_implementation("sdpa")
    try:
        for tensor, _ in shorter:
            tensor.data = tensor.data.float()
        yield
    finally:
        for tensor, dtype in shorter:
            tensor.data = tensor.data.to(dtype)
        if flash:
            model.set_attn_implementation(attention)


@torch.no_grad()
def _prove(model: PreTrainedModel, modules: list[nn.Module], kinds: tuple[str, ...], table: torch.Tensor) -> None:
    """Raise ``UserError`` where a model's logits do not follow the frequencies or the attention factor bound to it.

    Families are not believed: one that computes its rope anew in each pass would take every rope and change nothing.
    """
    tokens, seen = few_tokens(model, _PROOF_TOKENS), []
    with _evaluating(model):
        for frequencies, factor in ((table, 1.0), (table / 2, 1.0), (table, 1.25)):
            _set_all(modules, kinds, frequencies, factor)
            seen.append(model(tokens, use_cache=False).logits)
    for other, what in zip(seen[1:], ("its frequencies", "its attention factor"), strict=True):
        if torch.equal(seen[0], other):
            where = f" of its {' and '.join(kinds)} layers" if any(kinds) else ""
            raise UserError(
                f"model type {model.config.model_type!r} does not follow a rope that is bound to it: another one"
                f"{where}, different in {what}, changes none of its logits."
            )


@torch.no_grad()
def _layout(model: PreTrainedModel, rope: Rope, modules: list[nn.Module], kinds: tuple[str, ...]) -> Layout:
    """Which dimensions a model rotates together, by its logits.

    A map that halves every distance is a rope whose frequencies are half: the model is asked for both, in float32,
    since rounding to bfloat16 hides what tells halves from pairs within a few tokens.

    Raises:
        UserError: it does not follow a map either way.
    """
    if model in _LAYOUTS:
        return _LAYOUTS[model]
    tokens = few_tokens(model, _PROOF_TOKENS)
    table = torch.tensor(rope.original_inv_freq, dtype=torch.float32)
    plain = default_rope(rope.rotary_dim, rope.base, rope.original_length)
    halved = replace(plain, position_map=PositionMap("leaky_rerope", 0, 2.0))
    differences = {}
    with _evaluating(model), _in_float32(model):
        _set_all(modules, kinds, table / 2, 1.0)
        wanted = model(tokens, use_cache=False).logits.float()
        _set_all(modules, kinds, table, 1.0)
        for layout in mapped_attention.LAYOUTS:
            try:
                mapped_attention.bind(model, halved, layout)
                differences[layout] = float((model(tokens, use_cache=False).logits.float() - wanted).abs().max())
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
                # An attention that asks for something else than all others do.
                raise UserError(
                    f"model type {model.config.model_type!r} has an attention that takes no map of positions ({error})."
                ) from error
            finally:
                mapped_attention.release(model)
    best = min(differences, key=lambda layout: differences[layout])
    other = max(differences.values())
    if not differences[best] < 0.05 * other:
        raise UserError(
            f"model type {model.config.model_type!r} does not follow a map of positions: halving all distances is not "
            "what half of its frequencies is."
        )
    _LAYOUTS[model] = best
    return best


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
            if hasattr(module, f"{kind}_original_inv_freq")
        }
        setattr(module, _OWN, own)
    for kind, known in getattr(module, _OWN).items():
        _set_rope(module, kind, *known)


def _set_rope(module: Any, kind: str, table: torch.Tensor, attention_factor: float, rope_type: str) -> None:
    """Overwrite the rope of a type of layers, or that of all where the kind is empty."""
    prefix = f"{kind}_" if kind else ""
    if not hasattr(module, f"{prefix}inv_freq"):
        return  # a module for another type of layers
    values = table.to(getattr(module, f"{prefix}inv_freq").device)
    setattr(module, f"{prefix}inv_freq", nn.Buffer(values.clone(), persistent=False))
    setattr(module, f"{prefix}original_inv_freq", nn.Buffer(values.clone(), persistent=False))
    setattr(module, f"{prefix}attention_scaling", attention_factor)
    module.rope_type = {**module.rope_type, kind: rope_type} if kind else rope_type
    if getattr(getattr(module, "config", None), "model_type", None) in families.REBUILT:
        module.config = copy(module.config)
        module.config.rope_parameters = {**module.config.rope_parameters, "rope_type": rope_type}
        module.rope_init_fn = lambda config: (values, attention_factor)


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

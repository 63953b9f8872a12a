"""Attention with a map of positions, on any model of transformers whose attention is plain.

Queries and keys come rotated to their own positions. Rotating them further by the difference to the position that a map
gives them makes any map of any rope, with a cache of keys or without. Queries are taken in blocks, so that memory grows
with the length of the text and not with its square; the scores of all branches meet in one softmax, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ropewalk.errors import UserError
from ropewalk.models.heads import decoder
from ropewalk.models.rope_reading import text_config
from ropewalk.rope import Rope
from ropewalk.rope.position_map import PositionMap

NAME = "ropewalk_mapped"
"""What transformers calls this attention."""
SCORE_BYTES = 2**27
"""Memory for the scores of one block of queries."""

Layout = Literal["halves", "pairs"]
LAYOUTS: tuple[Layout, ...] = ("halves", "pairs")
"""Which two dimensions are rotated together: i and i + d/2, or 2i and 2i + 1."""
# Not infinite: a place of padding that sees nothing would become no number, and spoil those after it.
_HIDDEN = torch.finfo(torch.float32).min
_BOUND, _BEFORE = "_ropewalk_map", "_ropewalk_attention"


@dataclass(frozen=True, eq=False)
class Bound:
    """A map that is bound to the attention of a layer.

    Attributes:
        map: of positions.
        inv_freq: radians per token of each pair, as the model has them, shape (pairs,).
        layout: which dimensions are rotated together.
    """

    map: PositionMap
    inv_freq: np.ndarray
    layout: Layout


def bind(model: PreTrainedModel, rope: Rope, layout: Layout) -> None:
    """Let attention follow the map of a rope that is bound to a model.

    Raises:
        UserError: the attention of this family takes no map.
    """
    assert rope.position_map is not None
    layers = _attentions(model)
    config = text_config(model.config)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = any(getattr(layer, "sliding_window", None) for layer in layers)
    if kinds != {"full_attention"} or windowed or not layers:
        raise UserError(
            f"a map of positions needs a model whose layers all attend to the whole text; model type "
            f"{config.model_type!r} has others."
        )
    if not hasattr(model, _BEFORE):
        setattr(model, _BEFORE, model.config._attn_implementation)
    model.set_attn_implementation(NAME)
    if config._attn_implementation != NAME:
        raise UserError(f"model type {config.model_type!r} has an attention of its own, which takes no map.")
    # As rounded in the model's buffers: what is added to an angle has to be of the same table.
    table = np.asarray(rope.inv_freq, dtype=np.float32).astype(np.float64)
    for layer in layers:
        setattr(layer, _BOUND, Bound(rope.position_map, table, layout))


def release(model: PreTrainedModel) -> None:
    """Give a model its own attention back."""
    if hasattr(model, _BEFORE):
        model.set_attn_implementation(getattr(model, _BEFORE))
        delattr(model, _BEFORE)
        for layer in _attentions(model):
            if hasattr(layer, _BOUND):
                delattr(layer, _BOUND)


def _attentions(model: PreTrainedModel) -> list[nn.Module]:
    """The modules that attend, one a layer."""
    return [
        module
        for module in decoder(model).modules()
        if type(module).__name__.endswith("Attention") and hasattr(module, "layer_idx")
    ]


def mapped_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_ids: torch.Tensor | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a layer to which a map is bound; the signature is transformers'.

    Args:
        module: the layer's attention.
        query: rotated, shape (rows, heads, queries, width).
        key: rotated, shape (rows, heads of keys, keys, width); its last ones are those of the queries.
        value: shape (rows, heads of keys, keys, width of values).
        attention_mask: True where a query may look, shape (rows, 1, queries, keys); None where it is causal alone.
        scaling: of scores; 1/√width where None.
        dropout: must be 0.
        position_ids: of the queries, shape (rows or 1, queries); what stands before the first is padding.
        other: what other families ask for; nothing of it may change scores.

    Returns:
        Shape (rows, queries, heads, width of values), and None for the weights.
    """
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        raise UserError(f"{type(module).__name__} has a mask of its own, which takes no map of positions.")
    asked = [name for name in ("softcap", "s_aux", "sliding_window") if other.get(name) is not None]
    if asked or dropout:
        raise UserError(f"a map of positions does not go with {' and '.join(asked) or 'dropout'} in attention.")
    bound: Bound = getattr(module, _BOUND)
    rows, heads, count, _ = query.shape
    kept, total = key.shape[1], key.shape[2]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    offsets = [0] if position_ids is None else (total - count - position_ids[:, 0]).tolist()
    if len(set(offsets)) > 1:
        parts = [
            mapped_attention(
                module,
                query[row : row + 1],
                key[row : row + 1],
                value[row : row + 1],
                None if attention_mask is None else attention_mask[row : row + 1],
                scaling,
                position_ids=None if position_ids is None else position_ids[row : row + 1],
            )[0]
            for row in range(rows)
        ]
        return torch.cat(parts), None
    # Keys before position 0 are padding, which the mask hides.
    keys_at = np.arange(total) - offsets[0]
    queries_at = keys_at[total - count :]
    turned = [
        _turned(key, bound, bound.map.key_positions(keys_at, branch) - keys_at) for branch in range(bound.map.branches)
    ]
    out = query.new_empty(rows, heads, count, value.shape[-1])
    size = max(1, SCORE_BYTES // (4 * rows * heads * total))
    for start in range(0, count, size):
        stop = min(start + size, count)
        seen = total - count + stop
        at = queries_at[start:stop]
        of = bound.map.branch(at, keys_at[:seen])
        part = query[:, :, start:stop].reshape(rows, kept, heads // kept, stop - start, -1)
        scores: torch.Tensor | None = None
        for branch in np.unique(of).tolist():
            inside = of == branch
            places = np.flatnonzero(inside.any(axis=0))
            first, last = int(places[0]), int(places[-1]) + 1
            q = _turned(part, bound, bound.map.query_positions(at, branch) - at)
            found = torch.einsum("rkgqd,rkmd->rkgqm", q, turned[branch][:, :, first:last]).float() * scaling
            if scores is None:
                scores = found.new_full((*found.shape[:-1], seen), _HIDDEN)
            here = torch.from_numpy(inside[:, first:last]).to(query.device)
            scores[..., first:last] = torch.where(here, found, scores[..., first:last])
        assert scores is not None
        hidden = torch.from_numpy(keys_at[None, :seen] > at[:, None]).to(query.device)
        if attention_mask is not None:
            hidden = ~attention_mask[:, :, start:stop, :seen].unsqueeze(2)
        weights = scores.masked_fill_(hidden, _HIDDEN).softmax(-1).to(value.dtype)
        mixed = torch.einsum("rkgqm,rkmd->rkgqd", weights, value[:, :, :seen])
        out[:, :, start:stop] = mixed.reshape(rows, heads, stop - start, -1)
    return out.transpose(1, 2).contiguous(), None


def _turned(states: torch.Tensor, bound: Bound, by: np.ndarray) -> torch.Tensor:
    """Rotated states turned further, each by so many positions.

    Args:
        states: shape (…, places, width).
        bound: the map that is bound.
        by: positions, shape (places,).
    """
    if not by.any():
        return states
    angles = by[:, None] * bound.inv_freq
    cos, sin = (torch.from_numpy(f(angles)).to(states.device, torch.float32) for f in (np.cos, np.sin))
    pairs = len(bound.inv_freq)
    rotated, rest = states[..., : 2 * pairs].float(), states[..., 2 * pairs :]
    if bound.layout == "halves":
        a, b = rotated[..., :pairs], rotated[..., pairs:]
        both = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
    else:
        a, b = rotated[..., 0::2], rotated[..., 1::2]
        both = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    return torch.cat([both.to(states.dtype), rest], -1)


ALL_ATTENTION_FUNCTIONS.register(NAME, mapped_attention)
# True where a query may look, or None where a text has no padding.
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)

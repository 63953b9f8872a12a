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
CPU_QUERIES = 128
"""Queries of a block on a CPU, whose caches hold the scores of these: fewer are slow products, more do not fit."""

Layout = Literal["halves", "pairs"]
LAYOUTS: tuple[Layout, ...] = ("halves", "pairs")
"""Which two dimensions are rotated together: i and i + d/2, or 2i and 2i + 1."""
# Not infinite: a place of padding that sees nothing would become no number, and spoil those after it.
_HIDDEN = torch.finfo(torch.float32).min
_BOUND, _BEFORE = "_ropewalk_map", "_ropewalk_attention"


@dataclass(frozen=True, eq=False)
class Turns:
    """What a map makes of the positions of a text, on the device: the same in every layer.

    Attributes:
        queries: cosine and sine, each of shape (queries, pairs), of what queries are turned further in each branch;
            None where they stay.
        keys: the same of keys.
        borders: the first place of each branch but the furthest, shape (branches - 1, queries), for the host.
        borders_there: the same on the device.
    """

    queries: list[tuple[torch.Tensor, torch.Tensor] | None]
    keys: list[tuple[torch.Tensor, torch.Tensor] | None]
    borders: np.ndarray
    borders_there: torch.Tensor


@dataclass(eq=False)
class Bound:
    """A map that is bound to the attention of all layers.

    Attributes:
        map: of positions.
        inv_freq: radians per token of each pair, as the model has them, shape (pairs,).
        layout: which dimensions are rotated together.
    """

    map: PositionMap
    inv_freq: np.ndarray
    layout: Layout
    _last: tuple[tuple[int, int, int, torch.device], Turns] | None = None

    def turns(self, padding: int, count: int, total: int, device: torch.device) -> Turns:
        """What the last ``count`` of ``total`` places are turned by, of which the first ``padding`` hold no token."""
        asked = padding, count, total, device
        last = self._last
        if last is None or last[0] != asked:
            # Keys before position 0 are padding, which the mask hides.
            keys = np.arange(total) - padding
            queries = keys[total - count :]
            borders = self.map.borders(queries) + padding
            branches = range(self.map.branches)
            turns = Turns(
                [self._turn(self.map.query_positions(queries, one) - queries, device) for one in branches],
                [self._turn(self.map.key_positions(keys, one) - keys, device) for one in branches],
                borders,
                torch.from_numpy(borders).to(device),
            )
            self._last = last = asked, turns
        return last[1]

    def _turn(self, by: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor] | None:
        if not by.any():
            return None
        angles = by[:, None] * self.inv_freq
        cos, sin = (torch.from_numpy(f(angles)).to(torch.float32).to(device) for f in (np.cos, np.sin))
        return cos, sin


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
    bound = Bound(rope.position_map, table, layout)
    for layer in layers:
        setattr(layer, _BOUND, bound)


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
    turns = bound.turns(offsets[0], count, total, query.device)
    queries = [_turned(query, turn, bound.layout).unflatten(1, (kept, -1)) for turn in turns.queries]
    keys = [_turned(key, turn, bound.layout) for turn in turns.keys]
    places = torch.arange(total, device=query.device)
    out = query.new_empty(rows, heads, count, value.shape[-1])
    size = max(1, min(count, SCORE_BYTES // (4 * rows * heads * total)))
    if query.device.type == "cpu":
        size = min(size, CPU_QUERIES)
    for start in range(0, count, size):
        stop = min(start + size, count)
        seen = total - count + stop
        scores = torch.empty(rows, kept, heads // kept, stop - start, seen, device=query.device)
        # From the furthest keys on, each branch overwrites what is nearer.
        for branch in reversed(range(bound.map.branches)):
            furthest = branch == bound.map.branches - 1
            first = 0 if furthest else max(0, int(turns.borders[branch, start]))
            last = min(seen, int(turns.borders[branch - 1, stop - 1])) if branch else seen
            if first >= last:
                continue
            part = queries[branch][:, :, :, start:stop]
            found = torch.einsum("rkgqd,rkmd->rkgqm", part, keys[branch][:, :, first:last]).float() * scaling
            if not furthest:
                inside = places[first:last] >= turns.borders_there[branch, start:stop, None]
                found = torch.where(inside, found, scores[..., first:last])
            scores[..., first:last] = found
        hidden = places[:seen] > places[total - count + start : total - count + stop, None]
        if attention_mask is not None:
            hidden = ~attention_mask[:, :, start:stop, :seen].unsqueeze(2)
        weights = scores.masked_fill_(hidden, _HIDDEN).softmax(-1).to(value.dtype)
        mixed = torch.einsum("rkgqm,rkmd->rkgqd", weights, value[:, :, :seen])
        out[:, :, start:stop] = mixed.reshape(rows, heads, stop - start, -1)
    return out.transpose(1, 2).contiguous(), None


def _turned(states: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor] | None, layout: Layout) -> torch.Tensor:
    """Rotated states of shape (…, places, width), turned further by angles of which cosine and sine are given."""
    if turn is None:
        return states
    cos, sin = turn
    pairs = cos.shape[-1]
    rotated, rest = states[..., : 2 * pairs].float(), states[..., 2 * pairs :]
    if layout == "halves":
        a, b = rotated[..., :pairs], rotated[..., pairs:]
        both = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
    else:
        a, b = rotated[..., 0::2], rotated[..., 1::2]
        both = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    return torch.cat([both.to(states.dtype), rest], -1)


ALL_ATTENTION_FUNCTIONS.register(NAME, mapped_attention)
# True where a query may look, or None where a text has no padding.
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)

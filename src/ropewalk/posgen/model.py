"""Many small decoders as one: the parameters of all models lie in one tensor, and one batched product serves them all.

The layers are those of T5-Small (Resonance RoPE, arXiv 2403.00071, appendix C.1; Raffel et al., arXiv 1910.10683),
with a rope in the place of the relative position bias. T5 divides neither the attention logits by the root of the head
dimension nor uses biases; its initialisation makes up for the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ropewalk.errors import UserError
from ropewalk.posgen.options import PosGenOptions
from ropewalk.rope import Rope
from ropewalk.rope.tables import angles

EPSILON = 1e-6


def rotations(ropes: Sequence[Rope], length: int, device: torch.device | str = "cpu") -> Tensor:
    """The turns of queries and keys at positions 0 .. length - 1, as complex factors, one rope a model.

    exp(i angle) times the attention factor; for queries also times max(1, ln t / ln L0) where the rope scales logits
    with the logarithm of the 1-based position t. A rope that changes with the length is taken at ``length``.

    Returns:
        Complex64, shape (models, length, 2, pairs); queries first.

    Raises:
        UserError: a rope has a map of positions, which turns by pairs of positions and not by one.
    """
    tables = []
    for rope in ropes:
        if rope.position_map is not None:
            raise UserError(
                f"a rope of PosGen has a map of positions ({rope.position_map.kind}); its models take ropes without "
                "one."
            )
        fixed = rope.at(length)
        turns = fixed.attention_factor * np.exp(1j * angles(fixed, np.arange(length)))
        growth = np.ones(length)
        if fixed.log_scaling_length is not None:
            growth = np.maximum(1, np.log(np.arange(1, length + 1)) / math.log(fixed.log_scaling_length))
        tables.append(np.stack([turns * growth[:, None], turns], axis=1))
    return torch.from_numpy(np.stack(tables).astype(np.complex64)).to(device)


def with_start(tokens: Tensor, modulus: int) -> Tensor:
    """Put the token that begins every sequence before each and drop the last, which nothing is predicted from."""
    return F.pad(tokens, (1, 0), value=modulus)[..., :-1]


class Layer(nn.Module):
    """One decoder layer of each model; parameters begin with the dimension of the models."""

    def __init__(self, options: PosGenOptions, models: int) -> None:
        super().__init__()
        width, inner = options.hidden_size, options.heads * options.head_dim
        self.options = options
        self.attention_norm = nn.Parameter(torch.ones(models, 1, width))
        self.query_key_value = nn.Parameter(torch.empty(models, width, 3 * inner))
        self.output = nn.Parameter(torch.empty(models, inner, width))
        self.feed_forward_norm = nn.Parameter(torch.ones(models, 1, width))
        self.up = nn.Parameter(torch.empty(models, width, options.intermediate_size))
        self.down = nn.Parameter(torch.empty(models, options.intermediate_size, width))

    def initialise(self, model: int, generator: torch.Generator) -> None:
        """Draw the weights of one model, with the deviations of T5."""
        width, inner = self.options.hidden_size, self.options.heads * self.options.head_dim
        query, key_value = self.query_key_value[model, :, :inner], self.query_key_value[model, :, inner:]
        query.normal_(std=(width * self.options.head_dim) ** -0.5, generator=generator)
        key_value.normal_(std=width**-0.5, generator=generator)
        self.output[model].normal_(std=inner**-0.5, generator=generator)
        self.up[model].normal_(std=width**-0.5, generator=generator)
        self.down[model].normal_(std=self.options.intermediate_size**-0.5, generator=generator)

    def forward(self, x: Tensor, rotation: Tensor, sequences: int, dropout: float, cache: Cache | None) -> Tensor:
        attended = self._attention(_norm(x, self.attention_norm), rotation, sequences, dropout, cache)
        x = x + F.dropout(attended, dropout)
        inner = F.relu(torch.bmm(_norm(x, self.feed_forward_norm), self.up))
        return x + F.dropout(torch.bmm(F.dropout(inner, dropout), self.down), dropout)

    def _attention(self, x: Tensor, rotation: Tensor, sequences: int, dropout: float, cache: Cache | None) -> Tensor:
        models, rows, _ = x.shape
        heads, head_dim = self.options.heads, self.options.head_dim
        projected = torch.bmm(x, self.query_key_value).view(models, sequences, -1, 3, heads, head_dim)
        turned, value = projected.split([2, 1], dim=3)
        # Pairs are neighbours, as in the released code; which dimensions form a pair makes no other difference.
        turned = _turn(turned.unflatten(-1, (head_dim // 2, 2)), rotation[:, None, :, :, None]).flatten(-2)
        query, key = (part.transpose(1, 2) for part in turned.flatten(0, 1).unbind(2))
        value = value.flatten(0, 1).squeeze(2).transpose(1, 2)
        causal = query.shape[2] > 1
        if cache is not None:
            key, value = cache.extend(key, value)
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=causal, scale=1.0)
        return torch.bmm(mixed.transpose(1, 2).reshape(models, rows, heads * head_dim), self.output)


class Cache:
    """Keys and values of one layer, so that generation reads each token once."""

    def __init__(self, length: int) -> None:
        self.length, self.filled = length, 0
        self._kept: tuple[Tensor, Tensor] | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep more keys and values, shape (rows, heads, tokens, head_dim); return all kept so far."""
        if self._kept is None:
            rows, heads, _, head_dim = key.shape
            empty = key.new_empty(2, rows, heads, self.length, head_dim)
            self._kept = (empty[0], empty[1])
        first, self.filled = self.filled, self.filled + key.shape[2]
        for kept, new in zip(self._kept, (key, value), strict=True):
            kept[:, :, first : self.filled] = new
        return self._kept[0][:, :, : self.filled], self._kept[1][:, :, : self.filled]


class StackedDecoder(nn.Module):
    """Decoders of one shape that never see each other, computed together.

    Args:
        options: what says the sizes of each.
        seeds: of the weights, one a model. Equal seeds give equal weights, whatever stands beside them.
    """

    def __init__(self, options: PosGenOptions, seeds: Sequence[int]) -> None:
        super().__init__()
        self.options, self.models = options, len(seeds)
        self.embedding = nn.Parameter(torch.empty(self.models, options.vocabulary, options.hidden_size))
        self.layers = nn.ModuleList(Layer(options, self.models) for _ in range(options.layers))
        self.norm = nn.Parameter(torch.ones(self.models, 1, options.hidden_size))
        with torch.no_grad():
            for model, seed in enumerate(seeds):
                generator = torch.Generator().manual_seed(seed)
                self.embedding[model].normal_(generator=generator)
                for layer in self.layers:
                    layer.initialise(model, generator)  # type: ignore[operator]

    def select(self, models: Sequence[int]) -> StackedDecoder:
        """A stack of some of these models, in the given order and as often as they are named; weights are copied."""
        with torch.device(self.norm.device):
            chosen = StackedDecoder(self.options, [])
        which = torch.tensor(list(models), device=self.norm.device)
        for name, parameter in self.named_parameters():
            owner, _, key = name.rpartition(".")
            copied = nn.Parameter(parameter.detach()[which], requires_grad=False)
            setattr(chosen.get_submodule(owner), key, copied)
        chosen.models = len(models)
        return chosen

    def freeze_feed_forward(self) -> None:
        """Leave feed-forward layers and their norms as they were drawn, as the released code does by mistake."""
        for layer in self.layers:
            for name in ("feed_forward_norm", "up", "down"):
                getattr(layer, name).requires_grad_(False)

    def forward(
        self,
        tokens: Tensor,
        rotation: Tensor,
        *,
        first: int = 0,
        dropout: float = 0.0,
        caches: Sequence[Cache] | None = None,
    ) -> Tensor:
        """Logits of the next token.

        Args:
            tokens: ids, shape (models, sequences, length), with the token that begins a sequence.
            rotation: of these positions, shape (models, length, 2, pairs), see :func:`rotations`; or as real numbers,
                with a last dimension of 2.
            first: position from which on logits are wanted.
            dropout: probability with which values are dropped.
            caches: one a layer, to go on from earlier tokens.

        Returns:
            Shape (models, sequences, length - first, vocabulary).
        """
        models, sequences, length = tokens.shape
        offsets = self.options.vocabulary * torch.arange(models, device=tokens.device)
        x = F.embedding(tokens + offsets[:, None, None], self.embedding.flatten(0, 1))
        x = F.dropout(x.flatten(1, 2), dropout)
        for i, layer in enumerate(self.layers):
            x = layer(x, rotation, sequences, dropout, caches[i] if caches else None)
        x = x.unflatten(1, (sequences, length))[:, :, first:].flatten(1, 2)
        x = F.dropout(_norm(x, self.norm), dropout) * self.options.hidden_size**-0.5
        return torch.bmm(x, self.embedding.transpose(1, 2)).unflatten(1, (sequences, length - first))


def _turn(pairs: Tensor, rotation: Tensor) -> Tensor:
    """Turn pairs, shape (…, pairs, 2), by complex factors, shape (…, pairs), or by these as pairs of real numbers.

    One complex product is faster than real ones, but compilers do not fuse it with what stands around it.
    """
    if rotation.is_complex():
        return torch.view_as_real(torch.view_as_complex(pairs) * rotation)
    (first, second), (cosine, sine) = pairs.unbind(-1), rotation.unbind(-1)
    return torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    """Root-mean-square norm of each model's rows; x has shape (models, rows, width)."""
    return F.rms_norm(x, (x.shape[-1],), eps=EPSILON) * weight

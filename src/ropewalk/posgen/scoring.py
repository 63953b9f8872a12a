"""How well decoders continue sequences: with the true tokens before them, and with their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ropewalk.posgen.model import Cache, StackedDecoder, rotations, with_start
from ropewalk.posgen.tasks import Tokens
from ropewalk.rope import Rope

TOKENS_AT_ONCE = 1 << 17
"""Tokens of all models in one forward pass; bounds memory."""


@dataclass(frozen=True)
class Reading:
    """Models with a rope: the one they were trained with, or another put in its place.

    Attributes:
        name: in tables.
        rope: at evaluation.
        weights: name of the rope that the models were trained with.
    """

    name: str
    rope: Rope
    weights: str


@dataclass(frozen=True)
class Predictions:
    """Means over sequences, by model and place, shape (models, length - given); the first place comes after the start.

    Attributes:
        accuracy: share of sequences whose token there is the most probable one.
        loss: nats a token; nan where tokens were generated.
    """

    accuracy: NDArray[np.float64]
    loss: NDArray[np.float64]


@torch.inference_mode()
def predict(
    decoder: StackedDecoder, chosen: Sequence[int], ropes: Sequence[Rope], tokens: Tokens, given: int
) -> Predictions:
    """Predict every token from the true ones before it (teacher forcing).

    Args:
        decoder: many models.
        chosen: which of them, one a rope.
        ropes: as many.
        tokens: the same sequences for all, shape (sequences, length).
        given: tokens at the start that are not scored.
    """

    def part(models: StackedDecoder, rotation: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = with_start(truth, decoder.options.modulus).expand(models.models, -1, -1)
        logits = models(inputs, rotation, first=given)
        target = truth[:, given:].expand(models.models, -1, -1)
        loss = F.cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none").view(target.shape)
        return (logits.argmax(-1) == target).double().sum(1), loss.double().sum(1)

    return _over_parts(decoder, chosen, ropes, tokens, part)


@torch.inference_mode()
def generate(
    decoder: StackedDecoder, chosen: Sequence[int], ropes: Sequence[Rope], tokens: Tokens, given: int
) -> Predictions:
    """Let models continue the starts of sequences with their most probable tokens; arguments as for :func:`predict`.

    A model reads what it wrote, so a first error changes all that follows: this is what a task costs a model in use.
    """

    def part(models: StackedDecoder, rotation: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        length = truth.shape[1]
        caches = [Cache(length) for _ in models.layers]
        inputs = with_start(truth[:, : given + 1], decoder.options.modulus).expand(models.models, -1, -1)
        right = torch.zeros(models.models, length - given, dtype=torch.float64, device=truth.device)
        for place in range(given, length):
            window = rotation[:, place + 1 - inputs.shape[2] : place + 1]
            written = models(inputs, window, first=inputs.shape[2] - 1, caches=caches).argmax(-1)
            right[:, place - given] = (written[..., 0] == truth[:, place]).sum(1)
            inputs = written
        return right, torch.full_like(right, torch.nan)

    return _over_parts(decoder, chosen, ropes, tokens, part)


Part = Callable[[StackedDecoder, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def _over_parts(
    decoder: StackedDecoder, chosen: Sequence[int], ropes: Sequence[Rope], tokens: Tokens, part: Part
) -> Predictions:
    """Sum ``part`` over as many models and sequences at a time as memory should hold; return means over sequences."""
    device, (sequences, length) = decoder.norm.device, tokens.shape
    rows = max(1, min(sequences, TOKENS_AT_ONCE // length))
    group = max(1, TOKENS_AT_ONCE // (length * rows))
    accuracies, losses = [], []
    for i in range(0, len(chosen), group):
        models = decoder.select(chosen[i : i + group])
        rotation = rotations(ropes[i : i + group], length, device)
        sums = [part(models, rotation, piece) for piece in torch.from_numpy(tokens).to(device).split(rows)]
        accuracies.append(torch.stack([right for right, _ in sums]).sum(0) / sequences)
        losses.append(torch.stack([loss for _, loss in sums]).sum(0) / sequences)
    return Predictions(torch.cat(accuracies).cpu().numpy(), torch.cat(losses).cpu().numpy())

"""Train many models of one task at once: one stack, one backward pass, one optimiser step for all of them.

The total loss is the sum of the models' own losses, so each gets the gradient that it would get alone, and AdamW
treats every number by itself. Dropout alone is drawn for the stack as a whole: with it a model ends elsewhere than it
would alone, though by the same law. A single model of the paper's size leaves a GPU idle most of the time.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from ropewalk import checkpoints
from ropewalk.devices import copied
from ropewalk.errors import UserError
from ropewalk.files import claim_state, whole_file
from ropewalk.metrics import MetricsFile
from ropewalk.options import plain
from ropewalk.posgen.data import batch_rows
from ropewalk.posgen.model import StackedDecoder, rotations, with_start
from ropewalk.posgen.options import PosGenLayout, PosGenOptions
from ropewalk.posgen.tasks import Tokens
from ropewalk.progress import Progress
from ropewalk.rope import Rope

COMPILED_FROM = 2000
"""Steps that make compiling worth its time on a GPU: on an H100 it saves a fifth of a step, and takes ten seconds."""


class Member(NamedTuple):
    """One model of a stack: the name of the rope it is trained with, and the seed of its weights and batches."""

    rope: str
    seed: int


class Validation(NamedTuple):
    """What a validation found.

    Attributes:
        metrics: by name, to write down.
        own_accuracy: of each model with its own rope within the training length, which ``keep`` = best looks at.
    """

    metrics: Mapping[str, float]
    own_accuracy: Sequence[float]


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        steps: optimiser steps of each model, those before a resumption included.
        models: models in the stack.
        parameters: parameters of one model.
        trainable: those that were trained.
        losses: mean training loss (nats a token) of each model since the last validation.
        seconds: wall time of this run, validations included.
        tokens_per_second: trained tokens of all models in this run.
    """

    steps: int
    models: int
    parameters: int
    trainable: int
    losses: list[float]
    seconds: float
    tokens_per_second: float


def training_losses(
    decoder: StackedDecoder, rotation: torch.Tensor, tokens: torch.Tensor, given: int, dropout: float = 0.0
) -> torch.Tensor:
    """Mean loss of each model, nats a token, shape (models,).

    Args:
        decoder: the models.
        rotation: of their ropes at the positions of ``tokens``; see :func:`ropewalk.posgen.model.rotations`.
        tokens: shape (models, sequences, length).
        given: tokens at the start that are not scored.
        dropout: probability with which values are dropped.
    """
    logits = decoder(with_start(tokens, decoder.options.modulus), rotation, first=given, dropout=dropout)
    loss = F.cross_entropy(logits.flatten(0, 2), tokens[:, :, given:].flatten(), reduction="none")
    return loss.view(decoder.models, -1).mean(1)


def train(
    decoder: StackedDecoder,
    members: Sequence[Member],
    ropes: Mapping[str, Rope],
    tokens: Tokens,
    options: PosGenOptions,
    *,
    layout: PosGenLayout,
    state: Path,
    identity: Mapping[str, Any],
    validate: Callable[[StackedDecoder], Validation],
    sink: MetricsFile,
    name: str,
) -> Trained:
    """Train all models in place, on the device where they are.

    A run that was killed goes on from its last checkpoint in ``state`` and, on a CPU, ends with the same weights to the
    bit. ``state`` may be removed when the result is safe.

    Args:
        decoder: the models; left with the weights that ``options.keep`` asks for.
        members: who they are, in the order of the stack.
        ropes: by name, those of the members at least.
        tokens: training sequences, shape (sequences, length).
        options: how to train.
        layout: how often it is saved.
        state: folder for the checkpoints to resume from.
        identity: what makes this training itself, beside the options; checkpoints of another are dropped.
        validate: measures the models.
        sink: receives the training losses and what ``validate`` found, by step.
        name: shown with the progress.

    Raises:
        UserError: a loss is not a number, or all checkpoints are damaged.
    """
    if not options.train_feed_forward:
        decoder.freeze_feed_forward()
    trained = [p for p in decoder.parameters() if p.requires_grad]
    run = _Run(decoder, trained, options)
    start = _resume(state, {**identity, "options": plain(options)}, run)
    sink.resume(start)
    device = decoder.norm.device
    rotation = rotations([ropes[member.rope] for member in members], tokens.shape[1], device)
    if device.type == "cuda" and options.steps - start >= COMPILED_FROM:
        rotation, run.losses = torch.view_as_real(rotation), torch.compile(training_losses, dynamic=False)
    sequences = torch.from_numpy(tokens).to(device)
    seeds = sorted({member.seed for member in members})
    which = [seeds.index(member.seed) for member in members]
    per_step = decoder.models * options.batch_size * tokens.shape[1]
    losses, began, note = [math.nan] * decoder.models, time.monotonic(), ""
    with Progress(name, options.steps, done=start) as progress:
        for step in range(start, options.steps):
            rows = np.stack([batch_rows(len(tokens), options.batch_size, step, seed) for seed in seeds])
            run.step(rotation, sequences[copied(rows[which], device)])
            last = step + 1 == options.steps
            if (step + 1) % options.validate_every == 0 or last:
                losses = run.mean_losses()
                _check(losses, members, step + 1, options)
                validation = validate(decoder)
                run.keep_best(validation.own_accuracy)
                found = {f"{m.rope}/{m.seed}/training_loss": loss for m, loss in zip(members, losses, strict=True)}
                sink(step + 1, {**found, **validation.metrics})
                rate = (step + 1 - start) * per_step / (time.monotonic() - began)
                note = f"loss {np.mean(losses):.3f} · {rate:,.0f} tokens/s"
            progress.advance(note=note)
            if (step + 1) % layout.checkpoint_every == 0 and not last:
                _save(state, step + 1, run)
    run.restore_best()
    seconds = time.monotonic() - began
    rate = (options.steps - start) * per_step / seconds
    parameters = sum(p.numel() for p in decoder.parameters()) // decoder.models
    trainable = sum(p.numel() for p in trained) // decoder.models
    return Trained(options.steps, decoder.models, parameters, trainable, losses, seconds, rate)


class _Run:
    """All that changes while training, so all that a checkpoint holds."""

    def __init__(self, decoder: StackedDecoder, trained: Sequence[torch.nn.Parameter], options: PosGenOptions) -> None:
        self.decoder, self.options = decoder, options
        self.losses: Callable[..., torch.Tensor] = training_losses
        # One optimiser for all: AdamW looks at each number alone.
        self.optimizer = torch.optim.AdamW(
            trained, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
        )
        self.scheduler = (
            torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer,
                max_lr=options.learning_rate,
                total_steps=options.steps,
                pct_start=0.1,
                cycle_momentum=options.cycle_momentum,
            )
            if options.schedule == "one-cycle"
            else None
        )
        self.steps = 0
        self.sums = torch.zeros(decoder.models, device=decoder.norm.device)
        self.counted = 0
        self.best = [p.detach().clone() for p in decoder.parameters()] if options.keep == "best" else []
        self.best_accuracy = torch.full((decoder.models,), -math.inf)

    def step(self, rotation: torch.Tensor, batch: torch.Tensor) -> None:
        if self.options.dropout:
            # Drawn from the step, so that a resumed run drops the same values.
            torch.manual_seed(self.steps)
        loss = self.losses(self.decoder, rotation, batch, self.options.given, self.options.dropout)
        loss.sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.scheduler is not None:
            self.scheduler.step()
        self.steps += 1
        self.sums += loss.detach()
        self.counted += 1

    def mean_losses(self) -> list[float]:
        """Mean training loss of each model since the last call."""
        means = (self.sums / max(1, self.counted)).tolist()
        self.sums.zero_()
        self.counted = 0
        return list(means)

    def keep_best(self, accuracy: Sequence[float]) -> None:
        """Keep the weights of the models that are better than ever."""
        if not self.best:
            return
        now = torch.tensor(accuracy, dtype=self.best_accuracy.dtype)
        better = now > self.best_accuracy
        self.best_accuracy = torch.where(better, now, self.best_accuracy)
        if not better.any():
            return
        moved = better.to(self.best[0].device)
        for kept, parameter in zip(self.best, self.decoder.parameters(), strict=True):
            of_models = moved.view(-1, *[1] * (kept.dim() - 1))
            kept.copy_(torch.where(of_models, parameter.detach(), kept))

    def restore_best(self) -> None:
        for kept, parameter in zip(self.best, self.decoder.parameters(), strict=False):
            parameter.data.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        return {
            "decoder": self.decoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "steps": self.steps,
            "sums": self.sums,
            "counted": self.counted,
            "best": self.best,
            "best_accuracy": self.best_accuracy,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.decoder.load_state_dict(state["decoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.steps, self.counted, self.best_accuracy = state["steps"], state["counted"], state["best_accuracy"]
        self.sums.copy_(state["sums"])
        self.best = [best.to(self.sums.device) for best in state["best"]]


def _check(losses: Sequence[float], members: Sequence[Member], step: int, options: PosGenOptions) -> None:
    for member, loss in zip(members, losses, strict=True):
        if not math.isfinite(loss):
            raise UserError(
                f"the loss of {member.rope} with seed {member.seed} is {loss} by step {step} at learning rate "
                f"{options.learning_rate:g}; expected a finite number. Lower the learning rate."
            )


def _save(state: Path, step: int, run: _Run) -> None:
    with whole_file(checkpoints.place(state, step, ".pt")) as temporary:
        torch.save(run.state_dict(), temporary)
    checkpoints.rotate(state)


def _resume(state: Path, identity: Mapping[str, Any], run: _Run) -> int:
    """Load the newest sound checkpoint of this training; return its step."""
    claim_state(state, identity)

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    held = checkpoints.newest(
        state, lambda checkpoint: torch.load(checkpoint, map_location="cpu", weights_only=True), say
    )
    if held is None:
        return 0
    run.load_state_dict(held)
    say(f"resumed at step {run.steps} of {run.options.steps}")
    return run.steps

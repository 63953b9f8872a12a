"""Options of trainings: what decides their result, and apart from it how the work is laid out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from ropewalk.errors import OptionError
from ropewalk.options import Count, Options, Positive, Range, Seed, Share, Tokens

NonNegative = Annotated[float, Range(at_least=0)]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How any causal language model is trained: AdamW, a schedule, and how many steps."""

    steps: Count
    """optimiser steps"""
    learning_rate: Positive
    """peak learning rate of AdamW"""
    warmup_steps: Annotated[int, Range(at_least=0)] = 0
    """steps in which the learning rate rises linearly to its peak"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """how the learning rate falls after its peak"""
    final_fraction: Share = 0.1
    """learning rate after the last step, as a share of the peak"""
    weight_decay: NonNegative = 0.0
    """weight decay of AdamW, applied to matrices only"""
    clip_norm: NonNegative = 1.0
    """norm that gradients are scaled down to; 0 leaves them alone"""
    accumulation: Count = 1
    """micro-batches that a batch is cut into"""

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        shape = {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "constant": 1.0}[self.schedule]
        return self.learning_rate * (self.final_fraction + (1 - self.final_fraction) * shape)


@dataclass(frozen=True, kw_only=True)
class PretrainingOptions(TrainingOptions):
    """How a fresh model is trained from nothing."""

    batch_size: Count = 16
    """sequences a step, each as long as the model's training length"""
    copy_fraction: Share = 0.0
    """share of sequences that are periodic strings of digits, which teach copying"""
    seed: Seed = 0
    """seed of weights and data"""

    def check(self) -> None:
        if self.batch_size % self.accumulation:
            raise OptionError(
                f"accumulation is {self.accumulation}; expected a divisor of batch_size, {self.batch_size}."
            )


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(Options):
    """Low-rank adapters that are trained in the place of all weights, and end up in them."""

    rank: Count
    """rank of the adapters"""
    alpha: Positive = 16.0
    """the product of the adapters is scaled by alpha / rank"""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """names of the linear layers that get an adapter"""
    train_whole: tuple[str, ...] = ()
    """names of modules that are trained whole; LongLoRA (arXiv 2309.12307) finds that embeddings and norms matter"""

    def check(self) -> None:
        if not self.targets:
            raise OptionError("targets is empty; expected the name of at least one linear layer.")


@dataclass(frozen=True, kw_only=True)
class FarOptions(Options):
    """LongCE (arXiv 2410.23771): a token weighs the more, the more of it only the far context tells."""

    window: Tokens
    """tokens of near context, at least half of which a token is read with for comparison"""
    ceiling: Positive = 5.0
    """most that a token weighs; the authors' is 5"""

    def check(self) -> None:
        if self.window % 2:
            raise OptionError(f"window is {self.window}; expected an even number of tokens.")


@dataclass(frozen=True, kw_only=True)
class TuningOptions(TrainingOptions):
    """How a model goes on training with another rope."""

    length: Tokens
    """tokens in a sequence"""
    batch_tokens: Tokens
    """tokens a step, a multiple of the length"""
    packed: bool = False
    """fill sequences with whole documents, boundaries kept, rather than with a window of a longer document"""
    copy_fraction: Share = 0.0
    """share of sequences that are periodic strings of digits, which teach copying"""
    seed: Seed = 0
    """seed of the data, and of adapters"""
    lora: AdapterOptions | None = None
    """adapters to train, as {rank: 16}; all weights where null"""
    far: FarOptions | None = None
    """weigh tokens by what the far context tells of them, as {window: 1024}; all alike where null"""
    short_share: Share = 0.0
    """share of the sequences that are cut into windows of the training length; a rope of two tables, as
    [yarn, switched], reads them with its short one, which makes the mixed windows of LongRoPE2 (arXiv 2502.20082)"""

    def check(self) -> None:
        if self.far is not None and (self.packed or self.far.window >= self.length):
            raise OptionError(
                f"far.window is {self.far.window}; expected fewer tokens than a sequence has, {self.length}, and "
                "sequences that are not packed."
            )
        if self.short_share and (self.packed or not 0 < self.short_sequences < self.sequences):
            raise OptionError(
                f"short_share is {self.short_share:g}; expected one that leaves at least one of {self.sequences} "
                "sequences whole and cuts at least one, and sequences that are not packed."
            )
        if self.batch_tokens % self.length:
            raise OptionError(
                f"batch_tokens is {self.batch_tokens}; expected a multiple of the sequence length, {self.length}."
            )
        if self.sequences % self.accumulation:
            raise OptionError(
                f"accumulation is {self.accumulation}; expected a divisor of the {self.sequences} sequences of "
                f"{self.length} tokens in a batch."
            )
        if self.packed and self.copy_fraction:
            raise OptionError("packed sequences are documents only; expected a copy_fraction of 0.")

    @property
    def sequences(self) -> int:
        """Sequences a step."""
        return self.batch_tokens // self.length

    @property
    def short_sequences(self) -> int:
        """Of these, how many are cut into windows of the training length."""
        return round(self.short_share * self.sequences)


@dataclass(frozen=True, kw_only=True)
class Layout(Options):
    """Where and in which pieces a training runs; its result does not depend on it, but for rounding."""

    checkpoint_every: Count = 250
    """steps between the checkpoints that a killed job resumes from"""
    shard: bool = False
    """share out weights, gradients and moments among the processes (FSDP2)"""
    context_parallel: Count = 1
    """processes that a sequence is cut among; needs shard"""
    activation_checkpointing: bool = False
    """keep one activation a layer and compute the others again: less memory for a third more time"""
    attention: str | None = None
    """attention of transformers, as sdpa or flash_attention_2; its own choice where null"""

    def check(self) -> None:
        if self.context_parallel > 1 and not self.shard:
            raise OptionError("context_parallel cuts sequences among processes that share the weights; expected shard.")

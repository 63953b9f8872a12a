"""Options of PosGen (Resonance RoPE, arXiv 2403.00071, section 5): what decides a result, and what does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ropewalk.errors import OptionError
from ropewalk.options import Count, Options, Positive, Range, Seed, Seeds, Tokens
from ropewalk.posgen.tasks import Task

SPECIAL_TOKENS = 5
"""Ids beyond the modulus, as in the released code; the first of them begins every sequence, the others are unused."""


@dataclass(frozen=True, kw_only=True)
class PosGenOptions(Options):
    """A PosGen training; the defaults are what the paper says, and where it is silent, the plainest choice.

    The paper's models are in its appendix C.1; where its released code does something else, an option can have that.
    """

    modulus: Annotated[int, Range(at_least=2)] = 17
    """tokens are 0 to modulus - 1; the next is a sum modulo it"""
    far: Count = 1
    """tokens that the sum reads at the far place"""
    near: Count = 3
    """tokens that the sum reads at the end"""
    starts: Literal["disjoint", "cycled"] = "disjoint"
    """first tokens of sequences: random, all different, none in two splits (the paper), or cycled (the released code):
    the ascending combinations of tokens in order, again and again, and for validation and test the first of these"""
    data_seed: Seed = 0
    """seed of disjoint starts"""
    train_sequences: Count = 10_000
    """sequences to train on"""
    validation_sequences: Count = 1_000
    """sequences to validate on"""
    test_sequences: Count = 1_000
    """sequences to test on"""
    train_length: Tokens = 64
    """tokens of a training sequence"""
    test_length: Tokens = 256
    """tokens of a validation or test sequence"""
    hidden_size: Count = 512
    """width of the residual stream"""
    layers: Count = 2
    """decoder layers; the released code has 6"""
    heads: Count = 8
    """attention heads"""
    head_dim: Annotated[int, Range(at_least=2, multiple_of=2)] = 64
    """dimensions of a head, all rotated"""
    intermediate_size: Count = 2048
    """width of the feed-forward layers"""
    base: Annotated[float, Range(above=1)] = 10_000.0
    """base of the rotary embedding"""
    seeds: Seeds = (5549, 4955, 42, 3701, 49)
    """seeds of weights and batches, one model a rope and seed; models of one seed start alike and see the same batches,
    whatever their rope. Two at least, or there is no interval; the defaults are the published ones"""
    steps: Count = 11_850
    """optimiser steps; 11,850 are the paper's 150 epochs of 10,000 sequences, were the last batch of each cut short"""
    batch_size: Count = 128
    """sequences of each model a step"""
    learning_rate: Positive = 2e-4
    """peak learning rate of AdamW"""
    weight_decay: Annotated[float, Range(at_least=0)] = 0.01
    """weight decay of AdamW, on all parameters"""
    schedule: Literal["constant", "one-cycle"] = "constant"
    """course of the learning rate; one-cycle (the released code) rises from 1/25 of the peak over a tenth of the steps
    and falls as a cosine to 1e-4 of that"""
    cycle_momentum: bool = False
    """let one-cycle move beta1 of AdamW from 0.95 to 0.85 and back, as the released code does"""
    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.1
    """probability with which values are dropped"""
    train_feed_forward: bool = True
    """train the feed-forward layers; the released code leaves them as they were drawn"""
    keep: Literal["last", "best"] = "last"
    """weights to test: the last, or the first of the best validation accuracy within the training length (the released
    code, which measures that with the rope of evaluation; here it is the rope of training)"""
    validate_every: Count = 158
    """steps between validations"""
    precision: Literal["highest", "high"] = "highest"
    """precision of matrix products on a GPU: float32, or TF32"""

    def check(self) -> None:
        if self.train_length <= self.given:
            raise OptionError(
                f"train_length is {self.train_length}; expected more than the {self.given} tokens that are given "
                "at the start, or nothing is left to predict."
            )
        if self.test_length <= self.train_length:
            raise OptionError(
                f"test_length is {self.test_length}; expected more than train_length, {self.train_length}."
            )
        if self.starts == "disjoint" and self.modulus**self.given < self.sequences:
            raise OptionError(
                f"modulus {self.modulus} has {self.modulus**self.given:,} different starts of {self.given} tokens; "
                f"expected at least {self.sequences:,}, one for each sequence. Ask for fewer sequences, or a larger "
                "modulus."
            )
        if self.starts == "cycled" and self.modulus < self.given:
            raise OptionError(
                f"modulus is {self.modulus}; expected at least {self.given}, since cycled starts are {self.given} "
                "different tokens."
            )
        if len(set(self.seeds)) < max(2, len(self.seeds)):
            raise OptionError(f"seeds are {', '.join(map(str, self.seeds))}; expected two or more, all different.")
        if self.cycle_momentum and self.schedule != "one-cycle":
            raise OptionError(f"cycle_momentum needs the schedule one-cycle; it is {self.schedule}.")

    def task(self, kind: str) -> Task:
        """The rule of a kind, on these tokens.

        Raises:
            UserError: there is no such kind. Everything else about a task is checked with the options.
        """
        return Task(kind, self.modulus, self.far, self.near)  # type: ignore[arg-type]

    @property
    def given(self) -> int:
        """Tokens at the start of a sequence, which the rule does not make and nobody scores."""
        return self.far + self.near

    @property
    def vocabulary(self) -> int:
        """Ids of tokens, the special ones among them."""
        return self.modulus + SPECIAL_TOKENS

    @property
    def parameters(self) -> int:
        """Weights of a model, trained or not."""
        attention = 4 * self.hidden_size * self.heads * self.head_dim
        feed_forward = 2 * self.hidden_size * self.intermediate_size
        norms = 2 * self.layers + 1
        return self.layers * (attention + feed_forward) + (norms + self.vocabulary) * self.hidden_size

    @property
    def sequences(self) -> int:
        """Sequences of all splits together."""
        return self.train_sequences + self.validation_sequences + self.test_sequences


@dataclass(frozen=True, kw_only=True)
class PosGenLayout(Options):
    """How a PosGen training is carried out; its result does not depend on it."""

    checkpoint_every: Count = 500
    """steps between the checkpoints that a killed job resumes from"""


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(Options):
    """What trained PosGen models are asked to do on the test sequences."""

    generated_sequences: Count = 100
    """test sequences, the first ones, that models continue on their own from the training length on"""

    def check_with(self, training: PosGenOptions) -> None:
        """See whether models of a training can do it.

        Raises:
            OptionError: there are fewer test sequences.
        """
        if self.generated_sequences > training.test_sequences:
            raise OptionError(
                f"generated_sequences is {self.generated_sequences}; expected at most test_sequences, "
                f"{training.test_sequences}."
            )

"""PosGen experiments."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ropewalk.config.ropes import NamedRope, check_names
from ropewalk.config.section import Name, Section, Tokens, faults_of_a_key
from ropewalk.posgen.data import DataOptions
from ropewalk.posgen.tasks import Kind, Task


class PosGenRope(NamedRope):
    """A rope of PosGen: models are trained with it, unless it is put into the place of another at evaluation."""

    weights: Name | None = Field(
        None,
        description="read the weights that were trained with the rope of this name; none trains models of its own. Its "
        "validation curve is drawn while these train, so that a change trains them again, unless it is brief",
    )
    brief: bool = Field(False, description="tested only: no validation curve, no generated text, no run in MLflow")
    original_length: int | None = Field(
        None, ge=1, description="length in tokens that the method takes for the trained one, where it is another"
    )


class PosGen(Section):
    """A PosGen experiment; without a value here it is what the paper says, and where it is silent, the plainest."""

    tasks: list[Kind] = Field(
        ["recursive", "chain-of-thought", "semi-recursive"], min_length=1, description="rules that make sequences"
    )
    modulus: int = Field(17, ge=2, description="tokens are 0 to modulus - 1; the next is a sum modulo it")
    far: int = Field(1, ge=1, description="tokens that the sum reads at the far place")
    near: int = Field(3, ge=1, description="tokens that the sum reads at the end")
    starts: Literal["disjoint", "cycled"] = Field(
        "disjoint",
        description="first tokens: random, none in two splits (the paper), or cycled combinations (the released code)",
    )
    data_seed: int = Field(0, ge=0, description="of disjoint starts")
    train_sequences: int = Field(10_000, ge=1, description="sequences to train on")
    validation_sequences: int = Field(1_000, ge=1, description="sequences to validate on")
    test_sequences: int = Field(1_000, ge=1, description="sequences to test on")
    train_length: Tokens = Field(64, description="tokens of a training sequence")
    test_length: Tokens = Field(256, description="tokens of a validation or test sequence")
    hidden_size: int = Field(512, ge=1, description="width of the residual stream")
    layers: int = Field(2, ge=1, description="decoder layers; the released code has 6")
    heads: int = Field(8, ge=1, description="attention heads")
    head_dim: int = Field(64, ge=2, multiple_of=2, description="dimensions of a head, all rotated")
    intermediate_size: int = Field(2048, ge=1, description="width of the feed-forward layers")
    base: float = Field(10000.0, gt=1, description="base of the rotary embedding")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        [5549, 4955, 42, 3701, 49],
        min_length=2,
        description="one model a rope and seed; two at least, or there is no interval. These are the published ones",
    )
    steps: int = Field(11_850, ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=1, description="sequences of each model a step")
    learning_rate: float = Field(2e-4, gt=0, description="of AdamW, or its peak")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW, on all parameters")
    schedule: Literal["constant", "one-cycle"] = Field("constant", description="the released code has one-cycle")
    cycle_momentum: bool = Field(False, description="let one-cycle move beta1 too, as the released code does")
    dropout: float = Field(0.1, ge=0, lt=1, description="probability with which values are dropped")
    train_feed_forward: bool = Field(True, description="the released code leaves these layers as they were drawn")
    keep: Literal["last", "best"] = Field(
        "last", description="weights to test: the last, or of the best validation accuracy (the released code)"
    )
    validate_every: int = Field(158, ge=1, description="steps between validations")
    checkpoint_every: int = Field(500, ge=1, description="steps between the checkpoints that a killed job resumes from")
    precision: Literal["highest", "high"] = Field(
        "highest", description="of matrix products on a GPU: float32, or TF32"
    )
    factor: float | None = Field(
        None, ge=1, description="of the ropes that name no other; test_length / train_length where null"
    )
    generated_sequences: int = Field(100, ge=1, description="test sequences that models continue on their own")
    ropes: list[PosGenRope] = Field(
        min_length=1, description="ropes to train with, and ropes to put in their place at evaluation (weights: NAME)"
    )

    @model_validator(mode="after")
    def _experiment_is_possible(self) -> PosGen:
        check_names(self.ropes)
        trained = [rope.name for rope in self.ropes if rope.weights is None]
        for rope in self.ropes:
            if rope.weights is not None and rope.weights not in trained:
                raise ValueError(
                    f"rope {rope.name!r} is to be read with the weights of {rope.weights!r}; expected one that models "
                    f"are trained with: {', '.join(trained) or 'there is none'}"
                )
            if rope.brief and rope.weights is None:
                raise ValueError(f"rope {rope.name!r} is brief and has no weights; expected the name of a trained rope")
        for values, what in ((self.seeds, "seeds"), (self.tasks, "tasks")):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} are {', '.join(map(str, values))}; expected different ones")
        if self.cycle_momentum and self.schedule != "one-cycle":
            raise ValueError(f"cycle_momentum needs the schedule one-cycle; it is {self.schedule}")
        if self.generated_sequences > self.test_sequences:
            raise ValueError(
                f"generated_sequences is {self.generated_sequences}; expected at most test_sequences, "
                f"{self.test_sequences}"
            )
        data = DataOptions(
            starts=self.starts,
            train_sequences=self.train_sequences,
            validation_sequences=self.validation_sequences,
            test_sequences=self.test_sequences,
            train_length=self.train_length,
            test_length=self.test_length,
        )
        with faults_of_a_key():
            for kind in self.tasks:
                data.check(Task(kind, self.modulus, self.far, self.near))
        return self

"""The model of a study, and how a fresh one is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ropewalk.config.section import Section


class FreshModel(Section):
    """Sizes of the Llama model that is made where `source` is `fresh`."""

    hidden_size: int = Field(128, ge=8, description="width of the residual stream")
    layers: int = Field(3, ge=1, description="decoder layers")
    heads: int = Field(2, ge=1, description="query heads; the head dimension is hidden_size / heads")
    kv_heads: int = Field(2, ge=1, description="key/value heads")
    intermediate_size: int = Field(256, ge=8, description="width of the feed-forward layers")
    base: float = Field(10000.0, gt=1, description="base of the rotary embedding")
    length: int = Field(128, ge=8, description="training length in tokens")

    @model_validator(mode="after")
    def _heads_fit(self) -> FreshModel:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} over {self.heads} heads gives no even head dimension")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")
        return self


class Model(Section):
    """The model whose context is lengthened."""

    source: str = Field(
        "fresh",
        pattern=r"^(fresh|hub:[^/]+/[^/]+|folder:.+|gguf:[^/]+/.+)$",
        description="fresh (pre-train a small one), hub:ORGANISATION/NAME, folder:PATH, or gguf:PACKAGE/FILE",
    )
    revision: str | None = Field(None, description="revision on the hub; a commit hash pins it")
    fresh: FreshModel = FreshModel()


class Pretraining(Section):
    """How a fresh model is trained."""

    steps: int = Field(2600, ge=1, description="optimiser steps")
    batch_size: int = Field(16, ge=1, description="sequences a step")
    copy_fraction: float = Field(
        0.5, ge=0, le=1, description="share of sequences that are periodic strings of digits, which teach copying"
    )
    learning_rate: float = Field(0.002, gt=0, description="its peak")
    warmup_steps: int = Field(100, ge=0, description="steps of linear rise to the peak")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="shape of the fall after it")
    final_fraction: float = Field(0.1, ge=0, le=1, description="learning rate at the end, as a share of the peak")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW, on matrices")
    clip_norm: float = Field(1.0, ge=0, description="largest norm of the gradient; 0 does not clip")
    accumulation: int = Field(1, ge=1, description="micro-batches a batch is cut into")
    checkpoint_every: int = Field(300, ge=1, description="steps between the checkpoints that a killed job resumes from")
    seed: int = Field(0, ge=0, description="of weights and data")

    @model_validator(mode="after")
    def _batches_can_be_cut(self) -> Pretraining:
        if self.batch_size % self.accumulation:
            raise ValueError(f"a batch of {self.batch_size} sequences cannot be cut into {self.accumulation} parts")
        return self

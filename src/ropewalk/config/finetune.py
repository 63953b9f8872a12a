"""Fine-tuning with lengthened ropes, and what is asked of the models that come of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ropewalk.config.section import Name, Section, Tokens


class Adapters(Section):
    """Low-rank adapters in the place of all weights."""

    rank: int = Field(ge=1, description="of the adapters")
    alpha: float = Field(16.0, gt=0, description="adapters are scaled by alpha / rank")
    targets: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj"], min_length=1, description="linear layers that get one"
    )
    train_whole: list[str] = Field([], description="modules that are trained whole, as embed_tokens or norm")


class Regime(Section):
    """How long the texts are, and how many steps."""

    name: Name = Field(description="name in files and tables")
    length: Tokens = Field(description="tokens in a sequence")
    steps: int = Field(ge=1, description="optimiser steps")


class Finetune(Section):
    """Fine-tuning of one model with several ropes, each in each regime with each seed; see `evaluation` for how it is
    measured."""

    ropes: list[Name] = Field(
        min_length=1, description="of extension.ropes; the others are compared with the first of them"
    )
    untuned: list[Name] = Field([], description="ropes to show beside them without training")
    corpora: list[Name] | None = Field(
        None, description="names of the corpora to train on; all where null. Measured is on all of them"
    )
    regimes: list[Regime] = Field(min_length=1, description="a preset replaces the whole list")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0, 1, 2], min_length=1, description="of the data of tuning")
    sequences: int = Field(64, ge=1, description="sequences a step")
    packed: bool = Field(
        False, description="fill sequences with whole documents, boundaries kept; else with a window of a longer one"
    )
    copy_fraction: float = Field(0.0, ge=0, le=1, description="share of sequences that are periodic strings of digits")
    learning_rate: float = Field(2e-5, gt=0, description="its peak")
    warmup_fraction: float = Field(0.05, ge=0, le=1, description="share of the steps that rises to the peak")
    schedule: Literal["cosine", "linear", "constant"] = Field("linear", description="shape of the fall after it")
    final_fraction: float = Field(0.0, ge=0, le=1, description="learning rate at the end, as a share of the peak")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW, on matrices")
    clip_norm: float = Field(1.0, ge=0, description="largest norm of the gradient; 0 does not clip")
    accumulation: int = Field(1, ge=1, description="micro-batches a batch is cut into")
    checkpoint_every: int = Field(100, ge=1, description="steps between the checkpoints that a killed job resumes from")
    lora: Adapters | None = Field(None, description="train adapters: {rank: 16}; all weights where null")
    launcher: str | None = Field(
        None,
        description="what starts a training on several GPUs: accelerate launch --num_processes 8. On several nodes "
        "(resources.finetune.nodes) Slurm says how many processes, and null is accelerate launch",
    )
    shard: bool = Field(False, description="share out weights and moments among processes (FSDP2)")
    context_parallel: int = Field(1, ge=1, description="processes that a sequence is cut among; needs `shard`")
    activation_checkpointing: bool = Field(False, description="less memory for a third more time")
    attention: str | None = Field(None, description="sdpa, flash_attention_2, ...; as transformers chooses where null")

    @model_validator(mode="after")
    def _parts_fit(self) -> Finetune:
        if self.sequences % self.accumulation:
            raise ValueError(f"a batch of {self.sequences} sequences cannot be cut into {self.accumulation} parts")
        if self.context_parallel > 1 and not self.shard:
            raise ValueError("context_parallel cuts sequences among processes that share the weights; expected shard")
        if self.packed and (self.copy_fraction or self.context_parallel > 1):
            raise ValueError("packed sequences go with neither copy_fraction nor context_parallel")
        names = [regime.name for regime in self.regimes]
        for values, what in ((names, "regimes"), (self.ropes, "ropes"), (self.seeds, "seeds")):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} are {', '.join(map(str, values))}; expected different ones")
        return self

    @property
    def trainings(self) -> dict[str, tuple[str, Regime, int]]:
        """Rope, regime and seed of each training by its name."""
        return {
            f"{rope}/{regime.name}/seed-{seed}": (rope, regime, seed)
            for regime in self.regimes
            for rope in self.ropes
            for seed in self.seeds
        }

    def options(self, regime: Regime, seed: int) -> dict[str, Any]:
        """The command-line options of a training that change its outcome."""
        shared = self.model_dump(
            include={
                "packed",
                "copy_fraction",
                "learning_rate",
                "schedule",
                "final_fraction",
                "weight_decay",
                "clip_norm",
                "accumulation",
            }
        )
        lora = {f"lora_{key}": value for key, value in self.lora.model_dump().items() if value} if self.lora else {}
        return {
            "length": regime.length,
            "steps": regime.steps,
            "batch_tokens": regime.length * self.sequences,
            "warmup_steps": round(self.warmup_fraction * regime.steps),
            "seed": seed,
            **shared,
            **lora,
        }


class Subject(Section):
    """A model with a rope: that of the study, or one that was fine-tuned."""

    rope: Name | None = Field(None, description="of extension.ropes")
    tuned: str | None = Field(
        None,
        pattern=r"^[^/]+/[^/]+/[^/]+/seed-\d+$",
        description="a fine-tuned model instead, with its rope: EXPERIMENT/ROPE/REGIME/seed-N",
    )
    found: str | None = Field(
        None,
        pattern=r"^[^/]+/[^/]+$",
        description="a rope that a search found: EXPERIMENT/SAMPLER-SPACE-FACTORx-seed-N",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Subject:
        if sum(value is not None for value in (self.rope, self.tuned, self.found)) != 1:
            raise ValueError("expected one of rope, tuned and found")
        return self

    @property
    def name(self) -> str:
        """Name in files and tables."""
        if self.tuned:
            _, rope, regime, seed = self.tuned.split("/")
            return f"{rope}_{regime}_{seed}"
        return self.rope or str(self.found).replace("/", "_")

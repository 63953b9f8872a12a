"""Fine-tune a model with another rope, from the command line: `accelerate launch -m ropewalk.training.finetune`.

`ropewalk finetune` is the same in one process. Options are read here, without typer, so that machines that only train
need no more than torch, transformers and accelerate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ropewalk.corpora.store import Corpus
from ropewalk.errors import UserError
from ropewalk.models.loading import load_config
from ropewalk.models.sources import ModelSource
from ropewalk.rope import Rope
from ropewalk.training.budget import budget
from ropewalk.training.finetuning import finetune
from ropewalk.training.loop import Devices, TrainingOptions
from ropewalk.training.lora import Lora

DESCRIPTION = """Go on training a model with another rope, which the checkpoint's configuration then holds: plain
from_pretrained restores model and rope. Killed and called again, it goes on from its last checkpoint. On several GPUs:
accelerate launch --num_processes 8 -m ropewalk.training.finetune MODEL --shard --activation-checkpointing ... With
--dry-run it says what that would cost, and trains nothing."""


def parser() -> argparse.ArgumentParser:
    """The options, with their help."""
    p = argparse.ArgumentParser(
        prog="ropewalk finetune",
        description=DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("model", help="folder, hub id, or gguf:PACKAGE/FILE of the model to start from")
    p.add_argument("--rope", type=Path, help="rope.json to train it with")
    p.add_argument("--corpus", type=Path, action="append", default=[], help="corpus folder; repeat it for more")
    p.add_argument("--length", type=int, required=True, help="tokens in a sequence")
    p.add_argument("--steps", type=int, required=True, help="optimiser steps")
    p.add_argument("-o", "--output", type=Path, help="checkpoint folder to write")
    p.add_argument("--state", type=Path, help="folder of the checkpoints to resume from; OUTPUT.state where not given")
    p.add_argument("--metrics", type=Path, help="JSON lines to write while training; OUTPUT.jsonl where not given")

    data = p.add_argument_group("data")
    data.add_argument("--batch-tokens", type=int, default=2048, help="tokens a step, a multiple of the length")
    data.add_argument("--packed", action="store_true", help="fill sequences with whole documents, boundaries kept")
    data.add_argument("--copy-fraction", type=float, default=0.0, help="share of sequences that teach copying")
    data.add_argument("--seed", type=int, default=0, help="of the data, and of adapters")

    how = p.add_argument_group("optimiser (AdamW)")
    how.add_argument("--learning-rate", type=float, default=2e-5, help="its peak")
    how.add_argument("--warmup-steps", type=int, default=0, help="steps of linear rise to the peak")
    how.add_argument(
        "--schedule", choices=("cosine", "linear", "constant"), default="constant", help="shape of the fall after it"
    )
    how.add_argument("--final-fraction", type=float, default=1.0, help="last learning rate over its peak")
    how.add_argument("--weight-decay", type=float, default=0.0, help="on matrices only")
    how.add_argument("--clip-norm", type=float, default=1.0, help="largest norm of the gradient; 0 does not clip")
    how.add_argument("--accumulation", type=int, default=1, help="micro-batches a batch is cut into")
    how.add_argument("--checkpoint-every", type=int, default=250, help="steps between checkpoints to resume from")

    lora = p.add_argument_group("low-rank adapters in the place of all weights; they end up in the weights")
    lora.add_argument("--lora-rank", type=int, default=0, help="of the adapters; 0 trains all weights")
    lora.add_argument("--lora-alpha", type=float, default=16.0, help="adapters are scaled by alpha / rank")
    lora.add_argument("--lora-targets", default=",".join(Lora.targets), help="linear layers that get one")
    lora.add_argument("--lora-train-whole", default="", help="modules that are trained whole, as embed_tokens,norm")

    gpus = p.add_argument_group("several GPUs")
    gpus.add_argument("--shard", action="store_true", help="share out weights and moments among processes (FSDP2)")
    gpus.add_argument("--context-parallel", type=int, default=1, help="processes that a sequence is cut among")
    gpus.add_argument("--activation-checkpointing", action="store_true", help="less memory for a third more time")
    gpus.add_argument(
        "--attention", help="sdpa, flash_attention_2, flex_attention, ...; transformers chooses by default"
    )

    cost = p.add_argument_group("what it would cost")
    cost.add_argument("--dry-run", action="store_true", help="print memory, speed and hours; needs no weights")
    cost.add_argument("--gpus", type=int, default=1, help="that it would run on")
    cost.add_argument("--utilisation", type=float, default=0.4, help="share of their peak that is reached")
    cost.add_argument("--peak-tflops", type=float, default=989.0, help="of one GPU in bfloat16; 989 is an H100")
    cost.add_argument("--gpu-memory", type=float, default=80.0, help="GiB of one GPU")
    return p


def run(arguments: Sequence[str] | None = None) -> None:
    """Read the options and train.

    Raises:
        UserError: an option is missing or does not fit, or see :func:`ropewalk.training.finetuning.finetune`.
    """
    given = parser().parse_args(arguments)
    source = ModelSource.parse(given.model)
    devices = Devices(given.shard, given.context_parallel, given.activation_checkpointing)
    whole = tuple(part for part in given.lora_train_whole.split(",") if part)
    lora = (
        Lora(given.lora_rank, given.lora_alpha, tuple(given.lora_targets.split(",")), whole)
        if given.lora_rank
        else None
    )
    if given.dry_run:
        cost = budget(
            load_config(source),
            length=given.length,
            batch_tokens=given.batch_tokens,
            steps=given.steps,
            gpus=given.gpus,
            accumulation=given.accumulation,
            devices=devices,
            lora=lora,
            utilisation=given.utilisation,
            peak_flops=given.peak_tflops * 1e12,
        )
        print(cost.text(given.gpu_memory))
        return
    for option in ("rope", "corpus", "output"):
        if not getattr(given, option):
            raise UserError(f"--{option} is missing; only --dry-run goes without it.")
    options = TrainingOptions(
        steps=given.steps,
        learning_rate=given.learning_rate,
        warmup_steps=given.warmup_steps,
        schedule=given.schedule,
        final_fraction=given.final_fraction,
        weight_decay=given.weight_decay,
        clip_norm=given.clip_norm,
        accumulation=given.accumulation,
        checkpoint_every=given.checkpoint_every,
    )
    finetune(
        source,
        Rope.load(given.rope),
        options,
        [Corpus.open(folder) for folder in given.corpus],
        length=given.length,
        batch_tokens=given.batch_tokens,
        copy_fraction=given.copy_fraction,
        seed=given.seed,
        state=given.state or Path(f"{given.output}.state"),
        folder=given.output,
        metrics=given.metrics or Path(f"{given.output}.jsonl"),
        packed=given.packed,
        lora=lora,
        devices=devices,
        attention=given.attention,
    )


def main() -> None:
    """What a launcher starts; a fault that a person can mend is one sentence and exit status 1."""
    try:
        run()
    except UserError as error:
        print(f"ropewalk: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

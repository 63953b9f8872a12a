"""Pre-train a small Llama model from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ropewalk.corpora.store import Corpus
from ropewalk.models.fresh import ModelShape, fresh_llama
from ropewalk.models.tokenizers import byte_tokenizer, digit_tokens
from ropewalk.training.batches import TrainingBatches
from ropewalk.training.checkpoint import train_to_folder
from ropewalk.training.loop import TrainingOptions, TrainingResult


def pretrain(
    shape: ModelShape,
    options: TrainingOptions,
    corpora: Sequence[Corpus],
    *,
    batch_size: int,
    copy_fraction: float,
    seed: int,
    state: Path,
    folder: Path,
    metrics: Path,
) -> TrainingResult:
    """Train a byte-level model of ``shape`` and write a checkpoint folder in Hugging Face format.

    Args:
        shape: sizes; sequences have ``shape.length`` tokens.
        options: how to train.
        corpora: text, tokenised by the byte tokenizer.
        batch_size: sequences a step.
        copy_fraction: share of them that are periodic strings over the ten digits.
        seed: of the weights and of the data.
        state: folder of the checkpoints to resume from; see :func:`train_to_folder`,
            also for ``folder`` and ``metrics``.
    """
    tokenizer = byte_tokenizer()
    model = fresh_llama(shape, len(tokenizer), seed)
    batches = TrainingBatches(corpora, shape.length, batch_size, copy_fraction, digit_tokens(tokenizer), seed)
    identity = {
        "shape": asdict(shape),
        "corpora": [corpus.info for corpus in corpora],
        "batch_size": batch_size,
        "copy_fraction": copy_fraction,
        "seed": seed,
    }
    return train_to_folder(
        model,
        tokenizer,
        batches,
        options,
        identity=identity,
        state=state,
        folder=folder,
        metrics=metrics,
        name="pre-training",
    )

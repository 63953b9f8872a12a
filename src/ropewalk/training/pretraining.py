"""Pre-train a small Llama model from nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ropewalk.corpora.store import Corpus
from ropewalk.models.fresh import fresh_model
from ropewalk.models.shape import ModelShape
from ropewalk.models.tokenizers import byte_tokenizer, digit_tokens
from ropewalk.options import plain
from ropewalk.training.batches import TrainingBatches
from ropewalk.training.checkpoint import train_to_folder
from ropewalk.training.loop import TrainingResult
from ropewalk.training.options import Layout, PretrainingOptions


def pretrain(
    shape: ModelShape,
    options: PretrainingOptions,
    corpora: Sequence[Corpus],
    *,
    layout: Layout,
    state: Path,
    folder: Path,
    metrics: Path,
    columns: Mapping[str, Any],
) -> TrainingResult:
    """Train a byte-level model of ``shape`` and write a checkpoint folder in Hugging Face format.

    Args:
        shape: sizes; sequences have ``shape.length`` tokens.
        options: how to train.
        corpora: text, tokenised by the byte tokenizer.
        layout: where it runs, and how often it is saved.
        state: folder of the checkpoints to resume from; see :func:`train_to_folder`,
            also for ``folder`` and ``metrics``.
        columns: what the row is called in tables.
    """
    tokenizer = byte_tokenizer()
    model = fresh_model(shape, len(tokenizer), options.seed)
    symbols = digit_tokens(tokenizer)
    batches = TrainingBatches(corpora, shape.length, options.batch_size, options.copy_fraction, symbols, options.seed)
    return train_to_folder(
        model,
        tokenizer,
        batches,
        options,
        identity={"shape": plain(shape), "corpora": [corpus.info for corpus in corpora]},
        layout=layout,
        state=state,
        folder=folder,
        metrics=metrics,
        name="pre-training",
        columns=columns,
    )

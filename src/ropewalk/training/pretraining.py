"""Pre-train a small Llama model from nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from ropewalk.corpora.store import Corpus
from ropewalk.files import only_one, whole_folder, write_json
from ropewalk.metrics import MetricsFile
from ropewalk.models.fresh import ModelShape, fresh_llama
from ropewalk.models.tokenizers import byte_tokenizer, digit_tokens
from ropewalk.training.batches import TrainingBatches
from ropewalk.training.loop import TrainingOptions, TrainingResult, train


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
        state: folder of the checkpoints to resume from; it outlives a failed job and is removed at the end.
        folder: the checkpoint folder to write; ``training.json`` in it says how it was made, ``metrics.jsonl`` how it
            went, ``scores.json`` what it came to.
        metrics: JSON lines to write while training, one every ten steps.
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
    main = PartialState().is_main_process
    with only_one(state) if main else nullcontext(), MetricsFile(metrics) as sink:
        result = train(model, batches, options, state=state, identity=identity, sink=sink, name="pre-training")
    if not main:
        return result
    with whole_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        shutil.copy(metrics, temporary / "metrics.jsonl")
        write_json(temporary / "training.json", {"options": asdict(options), **identity})
        write_json(temporary / "scores.json", asdict(result))
    shutil.rmtree(state)
    return result

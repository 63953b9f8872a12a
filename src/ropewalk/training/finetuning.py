"""Go on training a model with another rope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ropewalk.corpora.store import Corpus
from ropewalk.errors import UserError
from ropewalk.models.binding import patch, write_rope
from ropewalk.models.loading import load_model
from ropewalk.models.sources import ModelSource, weights_hash
from ropewalk.models.tokenizers import digit_tokens, load_tokenizer
from ropewalk.rope import Rope
from ropewalk.training.batches import Batches, TrainingBatches
from ropewalk.training.checkpoint import train_to_folder
from ropewalk.training.loop import ONE_DEVICE, Devices, TrainingOptions, TrainingResult
from ropewalk.training.lora import Lora, add_adapters, merge
from ropewalk.training.packing import PackedBatches

STAGE = 1
"""Of the batches: pre-training has 0."""


def finetune(
    source: ModelSource,
    rope: Rope,
    options: TrainingOptions,
    corpora: Sequence[Corpus],
    *,
    length: int,
    batch_tokens: int,
    copy_fraction: float,
    seed: int,
    state: Path,
    folder: Path,
    metrics: Path,
    packed: bool = False,
    lora: Lora | None = None,
    devices: Devices = ONE_DEVICE,
    attention: str | None = None,
) -> TrainingResult:
    """Train a model with ``rope`` and write a checkpoint folder whose configuration holds the rope.

    Args:
        source: the model to start from.
        rope: a static rope without log-scaled attention.
        options: how to train.
        corpora: text, tokenised by the model's tokenizer.
        length: tokens in a sequence.
        batch_tokens: tokens in a batch; a multiple of the length.
        copy_fraction: share of the sequences that are periodic strings over the ten digits.
        seed: of the data, and of adapters.
        state: folder of the checkpoints to resume from; see :func:`train_to_folder`,
            also for ``folder`` and ``metrics``.
        packed: fill each sequence with documents one after the other, their boundaries kept, rather than with one
            window of a document at least as long.
        lora: train adapters, which end up in the weights, rather than all weights.
        devices: how the work is laid out on several GPUs.
        attention: implementation in transformers; its own choice where None. Packed sequences are masked, which
            ``flash_attention_2`` and ``flex_attention`` do without a matrix of length × length.

    Raises:
        UserError: the rope does not fit the model or cannot be written into a configuration, a corpus was tokenised by
            another tokenizer, or the batch holds no whole number of sequences.
    """
    if batch_tokens % length:
        raise UserError(f"batch_tokens is {batch_tokens}; expected a multiple of the sequence length, {length}.")
    tokenizer = load_tokenizer(source)
    for corpus in corpora:
        corpus.check_tokenizer(tokenizer, source)
    size = batch_tokens // length
    batches: Batches
    if packed:
        if copy_fraction:
            raise UserError("packed sequences are documents only; expected a copy_fraction of 0.")
        if devices.context_parallel > 1:
            raise UserError("packed sequences are masked, which context_parallel cannot; expected one or the other.")
        batches = PackedBatches(corpora, length, size, seed, tokenizer.eos_token_id)
    else:
        symbols = digit_tokens(tokenizer) if copy_fraction else []
        batches = TrainingBatches(corpora, length, size, copy_fraction, symbols, seed, STAGE)
    # The loop moves it to its device, each process to its own.
    model = load_model(source, dtype="float32", device="cpu", attention=attention)
    served = max(length, rope.original_length)
    # What cannot be saved in the end is refused in the beginning.
    write_rope(type(model.config).from_dict(model.config.to_dict()), rope, served)
    patch(model, rope)
    adapted: Any = add_adapters(model, lora, seed) if lora else None

    def finish(trained: PreTrainedModel) -> PreTrainedModel:
        merged = merge(adapted) if lora else trained
        write_rope(merged.config, rope, served)
        return merged

    return train_to_folder(
        model,
        tokenizer,
        batches,
        options,
        identity={
            "model": str(source),
            "weights": weights_hash(source),
            "rope": rope.to_json(),
            "corpora": [corpus.info for corpus in corpora],
            "length": length,
            "batch_tokens": batch_tokens,
            "copy_fraction": copy_fraction,
            "seed": seed,
            "packed": packed,
            "lora": asdict(lora) if lora else None,
        },
        state=state,
        folder=folder,
        metrics=metrics,
        name="fine-tuning",
        finish=finish,
        devices=devices,
    )

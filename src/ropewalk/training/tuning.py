"""Go on training a model with another rope."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ropewalk.corpora.store import Corpus
from ropewalk.errors import UserError
from ropewalk.models.binding import patch
from ropewalk.models.loading import load_empty, load_model
from ropewalk.models.rope_writing import write_rope
from ropewalk.models.sources import ModelSource, weights_hash
from ropewalk.models.tokenizers import digit_tokens, load_tokenizer
from ropewalk.rope import Rope
from ropewalk.training.batches import Batches, TrainingBatches
from ropewalk.training.checkpoint import train_to_folder
from ropewalk.training.loop import TrainingResult
from ropewalk.training.lora import add_adapters, merge
from ropewalk.training.options import Layout, TuningOptions
from ropewalk.training.packing import PackedBatches

STAGE = 1
"""Of the batches: pre-training has 0."""


def tune(
    source: ModelSource,
    rope: Rope,
    options: TuningOptions,
    corpora: Sequence[Corpus],
    *,
    layout: Layout,
    state: Path,
    folder: Path,
    metrics: Path,
    columns: Mapping[str, Any],
) -> TrainingResult:
    """Train a model with ``rope`` and write a checkpoint folder whose configuration holds the rope.

    Args:
        source: the model to start from.
        rope: without log-scaled attention; of one that changes with the length, the table for ``options.length`` is
            trained, and that for the training length where a share of the sequences is short.
        options: how to train. Packed sequences are masked, which ``flash_attention_2`` and ``flex_attention`` do
            without a matrix of length × length.
        corpora: text, tokenised by the model's tokenizer.
        layout: where it runs, and how often it is saved.
        state: folder of the checkpoints to resume from; see :func:`train_to_folder`,
            also for ``folder`` and ``metrics``.
        columns: what the row is called in tables.

    Raises:
        UserError: the rope does not fit the model or cannot be written into a configuration, or a corpus was tokenised
            by another tokenizer.
    """
    tokenizer = load_tokenizer(source)
    for corpus in corpora:
        corpus.check_tokenizer(tokenizer, source)
    own = rope.original_length
    if options.short_share and options.length % own:
        raise UserError(
            f"short_share is {options.short_share:g}, so that sequences are cut: expected a length that is a multiple "
            f"of the {own} tokens of training; it is {options.length}."
        )
    if layout.context_parallel > 1 and (options.far or options.short_share):
        raise UserError("far and short_share need whole sequences, which context_parallel cuts; expected one of them.")
    batches: Batches
    if options.packed:
        if layout.context_parallel > 1:
            raise UserError("packed sequences are masked, which context_parallel cannot; expected one or the other.")
        batches = PackedBatches(corpora, options.length, options.sequences, options.seed, tokenizer.eos_token_id)
    else:
        symbols = digit_tokens(tokenizer) if options.copy_fraction else []
        cut = options.short_sequences
        short = TrainingBatches(
            corpora, own, cut * options.length // own, options.copy_fraction, symbols, options.seed, STAGE + 1
        )
        batches = TrainingBatches(
            corpora,
            options.length,
            options.sequences - cut,
            options.copy_fraction,
            symbols,
            options.seed,
            STAGE,
            short if cut else None,
        )
    # The loop moves it to its device, each process to its own; weights that are shared out, from the first process.
    loads = not layout.shard or int(os.environ.get("RANK", "0")) == 0
    if loads:
        model = load_model(source, dtype="float32", device="cpu", attention=layout.attention)
    else:
        model = load_empty(source, attention=layout.attention)
    served = max(options.length, rope.original_length)
    # What cannot be saved in the end is refused in the beginning.
    write_rope(type(model.config).from_dict(model.config.to_dict()), rope, served, native=False)
    long = rope.at(options.length)
    patch(model, long, prove=loads)
    adapted: Any = add_adapters(model, options.lora, options.seed) if options.lora else None

    def finish(trained: PreTrainedModel) -> PreTrainedModel:
        merged = merge(adapted) if options.lora else trained
        # As divisors: another name would forget the base and the length of pre-training.
        write_rope(merged.config, rope, served, native=False)
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
        },
        state=state,
        folder=folder,
        metrics=metrics,
        name="tuning",
        finish=finish,
        layout=layout,
        columns=columns,
        far=options.far,
        tables=(rope.at(own), long) if options.short_share else None,
    )

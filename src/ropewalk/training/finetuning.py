"""Go on training a model with another rope."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from ropewalk.corpora.store import Corpus
from ropewalk.errors import UserError
from ropewalk.models.binding import patch, write_rope
from ropewalk.models.loading import load_model
from ropewalk.models.sources import CHECKPOINT_FILES, ModelSource
from ropewalk.models.tokenizers import digit_tokens, load_tokenizer
from ropewalk.rope import Rope
from ropewalk.training.batches import TrainingBatches
from ropewalk.training.checkpoint import train_to_folder
from ropewalk.training.loop import TrainingOptions, TrainingResult

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
) -> TrainingResult:
    """Train all weights of a model with ``rope`` and write a checkpoint folder whose configuration holds the rope.

    Args:
        source: the model to start from.
        rope: a static rope without log-scaled attention.
        options: how to train.
        corpora: text, tokenised by the model's tokenizer.
        length: tokens in a sequence.
        batch_tokens: tokens in a batch; a multiple of the length.
        copy_fraction: share of the sequences that are periodic strings over the ten digits.
        seed: of the data.
        state: folder of the checkpoints to resume from; see :func:`train_to_folder`,
            also for ``folder`` and ``metrics``.

    Raises:
        UserError: the rope does not fit the model or cannot be written into a configuration, a corpus was tokenised by
            another tokenizer, or the batch holds no whole number of sequences.
    """
    if batch_tokens % length:
        raise UserError(f"batch_tokens is {batch_tokens}; expected a multiple of the sequence length, {length}.")
    tokenizer = load_tokenizer(source)
    for corpus in corpora:
        corpus.check_tokenizer(tokenizer, source)
    # The loop moves it to its device, each process to its own.
    model = load_model(source, dtype="float32", device="cpu")
    served = max(length, rope.original_length)
    # What cannot be saved in the end is refused in the beginning.
    write_rope(type(model.config).from_dict(model.config.to_dict()), rope, served)
    patch(model, rope)
    symbols = digit_tokens(tokenizer) if copy_fraction else []
    size = batch_tokens // length
    batches = TrainingBatches(corpora, length, size, copy_fraction, symbols, seed, STAGE)

    def carry_rope(trained: PreTrainedModel) -> None:
        write_rope(trained.config, rope, served)

    return train_to_folder(
        model,
        tokenizer,
        batches,
        options,
        identity={
            "model": str(source),
            "weights": _stamp(source),
            "rope": rope.to_json(),
            "corpora": [corpus.info for corpus in corpora],
            "length": length,
            "batch_tokens": batch_tokens,
            "copy_fraction": copy_fraction,
            "seed": seed,
        },
        state=state,
        folder=folder,
        metrics=metrics,
        name="fine-tuning",
        finish=carry_rope,
    )


def _stamp(source: ModelSource) -> list[tuple[str, int, int]]:
    """Sizes and times of a folder's files: a model that was made anew is another one, though its name is the same."""
    if source.kind != "folder":
        return []
    files = sorted(path for pattern in CHECKPOINT_FILES for path in Path(source.name).glob(pattern))
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]

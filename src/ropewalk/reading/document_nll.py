"""Read documents with one rope on one model, and write the NLL of every token."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ropewalk.corpora.store import Corpus
from ropewalk.errors import UserError
from ropewalk.files import claim_state, only_one, whole_folder
from ropewalk.metrics import write_metrics
from ropewalk.models.loading import load_model
from ropewalk.models.sources import ModelSource, training_record
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.options import plain
from ropewalk.reading import nll
from ropewalk.reading.identity import reading_identity
from ropewalk.reading.nll_file import write_nll
from ropewalk.reading.options import NllOptions
from ropewalk.reading.perplexity import ALL, position_metrics, score_summary
from ropewalk.rope import Rope


def read_documents(
    source: ModelSource,
    rope: Rope,
    corpora: Mapping[str, Corpus],
    options: NllOptions,
    *,
    columns: Mapping[str, Any],
    state: Path,
    folder: Path,
) -> None:
    """Write ``nll.parquet``, ``scores.json`` (perplexity by corpus and doubling) and ``metrics.jsonl`` (by position).

    Killed and called again, it goes on after the last document that was read.

    Args:
        source: the model.
        rope: bound to it.
        corpora: text by name, tokenised by the model's tokenizer.
        options: what is read.
        columns: what the row is called in tables; kept in the file's header.
        state: folder of what was read so far; removed at the end.
        folder: where to write, whole or not at all.

    Raises:
        UserError: a corpus was tokenised by another tokenizer, has too few documents, or the rope does not fit.
    """
    if ALL in corpora:
        raise UserError(f"corpus name {ALL!r} stands for all corpora together; name the folder otherwise.")
    wanted = nll.texts(corpora, split=options.split, documents=options.documents, length=options.read_to)
    tokenizer = load_tokenizer(source)
    for corpus in corpora.values():
        corpus.check_tokenizer(tokenizer, source)
    lengths = [options.read_to] if rope.static else sorted({*options.dynamic_lengths, options.read_to})
    told = options.doublings if rope.static else lengths
    with only_one(state):
        claim_state(state, reading_identity(source, rope, options, corpora))
        model = load_model(source, dtype=options.dtype)
        rows = nll.score(
            model,
            rope,
            wanted,
            lengths,
            chunk=options.chunk,
            window=options.window,
            stride=options.window_stride,
            kept=state,
        )
        header = {
            "columns": dict(columns),
            "model": str(source),
            "parameters": sum(weights.numel() for weights in model.parameters()),
            "rope": rope.to_json(),
            "corpora": {name: corpus.info for name, corpus in corpora.items()},
            "options": plain(options),
            "training": training_record(source),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
        }
        with whole_folder(folder) as out:
            write_nll(out / "nll.parquet", rows, header)
            score_summary(rows, told, columns).write(out / "scores.json")
            write_metrics(out / "metrics.jsonl", position_metrics(rows, told, static=rope.static))
        shutil.rmtree(state)

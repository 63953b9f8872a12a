"""Evaluate one rope on one model: load once, measure everything, write one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ropewalk.corpora import Corpus
from ropewalk.errors import UserError
from ropewalk.files import whole_folder, write_json
from ropewalk.metrics import write_metrics
from ropewalk.models.loading import load_model
from ropewalk.models.sources import ModelSource, training_record
from ropewalk.models.tokenizers import digit_tokens, load_tokenizer
from ropewalk.reading import nll
from ropewalk.reading.copying import copy_accuracy
from ropewalk.reading.nll_file import write_nll
from ropewalk.reading.perplexity import ALL, position_metrics, score_summary
from ropewalk.rope import Rope


def evaluate(
    source: ModelSource,
    rope: Rope,
    corpora: Mapping[str, Corpus],
    *,
    lengths: Sequence[int],
    split: str,
    documents: int,
    chunk: int,
    dtype: str,
    gaps: Sequence[int],
    samples: int,
    seed: int,
    folder: Path,
    window: int | None = None,
    window_stride: int | None = None,
) -> None:
    """Write ``nll.parquet``, ``scores.json``, ``metrics.jsonl`` and, where there are gaps, ``copying.csv``.

    Args:
        source: the model.
        rope: bound to it.
        corpora: text by name, tokenised by the model's tokenizer.
        lengths: in tokens.
        split: of the documents.
        documents: of each corpus.
        chunk: tokens that go through the model at a time.
        dtype: of the weights.
        gaps: distances to copy over, in tokens.
        samples: strings a gap.
        seed: of the strings.
        folder: where to write, whole or not at all.
        window: tokens before each token in a second, short reading, which shows what reading on costs.
        window_stride: tokens between the starts of windows; half a window where None.

    Raises:
        UserError: a corpus was tokenised by another tokenizer, has too few documents, or the rope does not fit.
    """
    if ALL in corpora:
        raise UserError(f"corpus name {ALL!r} stands for all corpora together; name the folder otherwise.")
    wanted = nll.texts(corpora, split=split, documents=documents, length=max(lengths))
    tokenizer = load_tokenizer(source)
    for corpus in corpora.values():
        corpus.check_tokenizer(tokenizer, source)
    # What can fail early comes before the long measurement.
    symbols = digit_tokens(tokenizer) if gaps else []
    model = load_model(source, dtype=dtype)
    copies = copy_accuracy(model, rope, symbols, gaps, samples=samples, seed=seed) if gaps else None
    rows = nll.score(model, rope, wanted, lengths, chunk=chunk, window=window, stride=window_stride)
    metadata = {
        "model": str(source),
        "rope": rope.to_json(),
        "corpora": {name: corpus.info for name, corpus in corpora.items()},
        "split": split,
        "lengths": list(lengths),
        "window": window,
        "window_stride": window // 2 if window is not None and window_stride is None else window_stride,
        "training": training_record(source),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
    }
    metrics = position_metrics(rows, lengths, static=rope.static)
    with whole_folder(folder) as out:
        write_nll(out / "nll.parquet", rows, metadata)
        write_json(out / "scores.json", score_summary(rows, lengths))
        if copies is not None:
            copies.to_csv(out / "copying.csv", index=False)
            for gap, accuracy in copies.groupby("gap")["accuracy"].mean().items():
                metrics.setdefault(int(gap), {})["copy_accuracy"] = float(accuracy)  # type: ignore[call-overload]
        write_metrics(out / "metrics.jsonl", dict(sorted(metrics.items())))

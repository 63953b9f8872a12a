"""`ropewalk perplexity` and `parity`: numbers from one file or one model, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import Confidence, by_name, integers
from ropewalk.options import CONFIDENCE, DTYPE
from ropewalk.reading.options import NllOptions
from ropewalk.rope import Rope


def perplexity(
    files: Annotated[list[Path], typer.Argument(help="nll.parquet files, each in a folder named after its rope")],
    lengths: Annotated[str, typer.Option(help="lengths in tokens, with commas between them")],
    reference: Annotated[str | None, typer.Option(help="rope that the others are compared with")] = None,
    confidence: Confidence = CONFIDENCE,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV to write; printed where not given")] = None,
) -> None:
    """Read perplexities at any lengths from nll.parquet files, with intervals and paired differences."""
    from ropewalk.files import whole_file
    from ropewalk.reading.nll_file import read_nll
    from ropewalk.reading.perplexity import perplexity_table
    from ropewalk.report.tables import perplexity_text

    folders = by_name([file.absolute().parent for file in files], "measurements")
    measured = {name: read_nll(file) for name, file in zip(folders, files, strict=True)}
    ropes = {name: rows for name, (rows, _) in measured.items()}
    dynamic = [name for name, (_, about) in measured.items() if not Rope.from_json(about["rope"]).static]
    wanted = integers(lengths, "--lengths")
    table = perplexity_table(ropes, wanted, reference=reference, dynamic=dynamic, confidence=confidence)
    if output is None:
        print(perplexity_text(table))
        return
    with whole_file(output) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def parity_perplexity(
    model: Annotated[str, typer.Option(help="folder, hub id, or gguf:PACKAGE/FILE")],
    corpus: Annotated[Path, typer.Option(help="corpus folder")],
    max_length: Annotated[int, typer.Option(help="tokens in a window")],
    rope: Annotated[Path | None, typer.Option(help="rope.json to bind to it; the model's own where not given")] = None,
    truncate: Annotated[bool, typer.Option("--truncate", help="score one window a document")] = False,
    stride: Annotated[int, typer.Option(help="tokens that each further window scores")] = 256,
    split: Annotated[str, typer.Option(help="train, search, selection or test")] = NllOptions.split,
    documents: Annotated[int, typer.Option(help="documents of the corpus")] = 10,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = DTYPE,
) -> None:
    """Perplexity as the YaRN repository's script computes it, to hold against published tables."""
    from ropewalk.corpora import Corpus
    from ropewalk.models.binding import patch
    from ropewalk.models.loading import load_model
    from ropewalk.models.sources import ModelSource
    from ropewalk.models.tokenizers import load_tokenizer
    from ropewalk.reading.parity import perplexity as run

    source, store = ModelSource.parse(model), Corpus.open(corpus)
    tokens = [store.document(one) for one in store.select(split, max_length, documents)]
    bos = load_tokenizer(source).bos_token_id
    loaded = load_model(source, dtype=dtype)
    if rope is not None:
        patch(loaded, Rope.load(rope).at(max_length))
    value = run(loaded, tokens, max_length=max_length, bos=bos, stride=stride, truncate=truncate)
    print(f"{value:.4f}")

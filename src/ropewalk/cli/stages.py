"""One command a stage, from `fetch-model` to `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import (
    Accumulation,
    CheckpointEvery,
    ClipNorm,
    CopyFraction,
    Corpora,
    FinalFraction,
    LearningRate,
    Metrics,
    Output,
    Schedule,
    State,
    Steps,
    WarmupSteps,
    WeightDecay,
    by_name,
    integers,
    open_corpora,
    training_options,
)
from ropewalk.rope import Rope


def fetch_model(
    source: Annotated[str, typer.Argument(help="hub:ORGANISATION/NAME, folder:PATH, or gguf:PACKAGE/FILE")],
    output: Annotated[Path, Output],
    revision: Annotated[str | None, typer.Option(help="revision on the hub; a commit hash pins it")] = None,
) -> None:
    """Put a model into a folder in Hugging Face format; a GGUF file is unpacked to float32."""
    from ropewalk.models.loading import fetch
    from ropewalk.models.sources import ModelSource

    fetch(ModelSource.parse(source, revision), output)


def corpus(
    source: Annotated[
        str, typer.Argument(help="package:books, package:government, package:mathematics, folder:PATH, or hub:NAME")
    ],
    tokenizer: Annotated[str, typer.Option(help="the model whose tokenizer to use; or byte: one token a byte")],
    output: Annotated[Path, Output],
    revision: Annotated[str | None, typer.Option(help="revision of a data set on the hub")] = None,
    text_key: Annotated[str, typer.Option(help="key of the text in the lines of JSONL files")] = "text",
    limit: Annotated[int | None, typer.Option(help="read no more documents than this")] = None,
) -> None:
    """Tokenise a corpus once and split its documents into train, search, selection and test."""
    from ropewalk.corpora import build
    from ropewalk.models.sources import ModelSource
    from ropewalk.models.tokenizers import BYTE, byte_tokenizer, load_tokenizer
    from ropewalk.progress import Progress

    loaded = byte_tokenizer() if tokenizer == BYTE else load_tokenizer(ModelSource.parse(tokenizer))
    with Progress(f"corpus {output.name}", None, unit="document") as bar:
        built = build(
            source,
            loaded,
            output,
            revision=revision,
            text_key=text_key,
            limit=limit,
            progress=lambda documents, tokens: bar.advance(documents - bar.count, note=f"{tokens:,} tokens"),
        )
    for split, counts in built.info["splits"].items():
        print(f"{split:>9}: {counts['documents']:6,} documents {counts['tokens']:12,} tokens")


def pretrain(
    corpus: Corpora,
    output: Annotated[Path, Output],
    state: State,
    metrics: Metrics,
    hidden_size: int = 128,
    layers: int = 3,
    heads: int = 2,
    kv_heads: int = 2,
    intermediate_size: int = 256,
    base: Annotated[float, typer.Option(help="of the rotary embedding")] = 10_000.0,
    length: Annotated[int, typer.Option(help="training length in tokens")] = 128,
    batch_size: Annotated[int, typer.Option(help="sequences a step")] = 16,
    copy_fraction: CopyFraction = 0.5,
    seed: Annotated[int, typer.Option(help="of weights and data")] = 0,
    steps: Steps = 2600,
    learning_rate: LearningRate = 2e-3,
    warmup_steps: WarmupSteps = 100,
    schedule: Schedule = "cosine",
    final_fraction: FinalFraction = 0.1,
    weight_decay: WeightDecay = 0.0,
    clip_norm: ClipNorm = 1.0,
    accumulation: Accumulation = 1,
    checkpoint_every: CheckpointEvery = 300,
) -> None:
    """Pre-train a small byte-level Llama model; killed and called again, it goes on from its last checkpoint."""
    from ropewalk.corpora import Corpus
    from ropewalk.models.fresh import ModelShape
    from ropewalk.training.pretraining import pretrain as run

    run(
        ModelShape(hidden_size, layers, heads, kv_heads, intermediate_size, base, length),
        training_options(
            schedule,
            steps=steps,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            final_fraction=final_fraction,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            accumulation=accumulation,
            checkpoint_every=checkpoint_every,
        ),
        [Corpus.open(folder) for folder in corpus],
        batch_size=batch_size,
        copy_fraction=copy_fraction,
        seed=seed,
        state=state,
        folder=output,
        metrics=metrics,
    )


def finetune(context: typer.Context) -> None:
    """Go on training a model with another rope; `ropewalk finetune --help` lists the options."""
    from ropewalk.training.finetune import run

    run(context.args)


def finetune_report(
    untuned: Annotated[list[Path], typer.Option(help="folder of `evaluate` of the model as it was; repeat for more")],
    tuned: Annotated[list[str], typer.Option(help="ROPE/REGIME/seed-N=FOLDER of `evaluate`; repeat for more")],
    lengths: Annotated[str, typer.Option(help="lengths in tokens, with commas between them")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for page, table and figures")],
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
) -> None:
    """Say what fine-tuning changed, and whether ropes differ after it; the rope named first is the reference."""
    from ropewalk.report.finetune import Tuned, write_report

    write_report(
        by_name(untuned, "evaluations"),
        [Tuned.parse(text) for text in tuned],
        lengths=integers(lengths, "--lengths"),
        confidence=confidence,
        folder=output,
    )


def evaluate(
    model: Annotated[str, typer.Option(help="folder, hub id, or gguf:PACKAGE/FILE")],
    rope: Annotated[Path, typer.Option(help="rope.json to bind to it")],
    corpus: Annotated[list[Path], typer.Option(help="corpus folder; repeat it for more")],
    lengths: Annotated[str, typer.Option(help="lengths in tokens, with commas between them")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    split: Annotated[str, typer.Option(help="train, search, selection or test")] = "test",
    documents: Annotated[int, typer.Option(help="documents of each corpus")] = 12,
    chunk: Annotated[int, typer.Option(help="tokens that go through the model at a time")] = 1024,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = "auto",
    gaps: Annotated[str | None, typer.Option(help="distances in tokens to copy over, with commas between them")] = None,
    samples: Annotated[int, typer.Option(help="strings a distance")] = 16,
    seed: Annotated[int, typer.Option(help="of the strings")] = 0,
    window: Annotated[
        int | None, typer.Option(help="score each token a second time with half to all of so many tokens before it")
    ] = None,
    window_stride: Annotated[
        int | None, typer.Option(help="tokens between the starts of windows; half a window where not given")
    ] = None,
) -> None:
    """Measure one rope on one model: the NLL of every token of some documents, and copying over a distance.

    Writes nll.parquet, scores.json (perplexity by corpus and length), metrics.jsonl (NLL by position, accuracy by
    distance) and, with --gaps, copying.csv. Static ropes take one pass at the longest length.
    """
    from ropewalk.models.sources import ModelSource
    from ropewalk.reading.run import evaluate as run

    run(
        ModelSource.parse(model),
        Rope.load(rope),
        open_corpora(corpus),
        lengths=integers(lengths, "--lengths"),
        split=split,
        documents=documents,
        chunk=chunk,
        dtype=dtype,
        gaps=integers(gaps, "--gaps") if gaps else [],
        samples=samples,
        seed=seed,
        window=window,
        window_stride=window_stride,
        folder=output,
    )


def perplexity(
    files: Annotated[list[Path], typer.Argument(help="nll.parquet files, each in a folder named after its rope")],
    lengths: Annotated[str, typer.Option(help="lengths in tokens, with commas between them")],
    reference: Annotated[str | None, typer.Option(help="rope that the others are compared with")] = None,
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV to write; printed where not given")] = None,
) -> None:
    """Read perplexities at any lengths from nll.parquet files, with intervals and paired differences."""
    from ropewalk.files import whole_file
    from ropewalk.reading.nll_file import read_nll
    from ropewalk.reading.perplexity import perplexity_table
    from ropewalk.report.tables import perplexity_text

    folders = by_name([file.absolute().parent for file in files], "measurements")
    ropes = {name: read_nll(file)[0] for name, file in zip(folders, files, strict=True)}
    wanted = integers(lengths, "--lengths")
    table = perplexity_table(ropes, wanted, reference=reference, confidence=confidence)
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
    split: Annotated[str, typer.Option(help="train, search, selection or test")] = "test",
    documents: Annotated[int, typer.Option(help="documents of the corpus")] = 10,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = "auto",
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


def report(
    evaluation: Annotated[list[Path], typer.Option(help="folder of `evaluate`, named after its rope; repeat for more")],
    lengths: Annotated[str, typer.Option(help="lengths in tokens, with commas between them")],
    reference: Annotated[str, typer.Option(help="rope that the others are compared with")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for figures and tables")],
    training: Annotated[Path | None, typer.Option(help="metrics.jsonl of the pre-training")] = None,
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
) -> None:
    """Draw the figures and write the tables of a study from its measurements."""
    from ropewalk.report.study import write_report

    write_report(
        by_name(evaluation, "evaluations"),
        training=training,
        lengths=integers(lengths, "--lengths"),
        reference=reference,
        confidence=confidence,
        folder=output,
    )

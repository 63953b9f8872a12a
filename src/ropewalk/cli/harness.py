"""`ropewalk harness`: tasks of the lm-evaluation-harness on a model bound to a rope."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import integers
from ropewalk.options import DTYPE
from ropewalk.rope import Rope


def harness(
    model: Annotated[str, typer.Option(help="folder, hub id, or gguf:PACKAGE/FILE")],
    tasks: Annotated[str, typer.Option(help="with commas between them, as ruler or longbench2")],
    length: Annotated[int, typer.Option(help="tokens that the model is to read at most")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    rope: Annotated[Path | None, typer.Option(help="rope.json to bind to it; the model's own where not given")] = None,
    lengths: Annotated[str | None, typer.Option(help="of prompts, for RULER; with commas between them")] = None,
    limit: Annotated[int | None, typer.Option(help="documents of each task")] = None,
    include: Annotated[Path | None, typer.Option(help="folder with tasks of your own, as YAML")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="put prompts into the chat template")] = False,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = DTYPE,
    batch_size: Annotated[int, typer.Option(help="prompts in a forward pass")] = 1,
) -> None:
    """Run RULER, LongBench or any task of the lm-evaluation-harness; needs `uv sync --extra lm-eval` and the hub."""
    from ropewalk.models.sources import ModelSource
    from ropewalk.reading.harness import run_harness

    scores = run_harness(
        ModelSource.parse(model),
        Rope.load(rope) if rope else None,
        tasks.split(","),
        length=length,
        lengths=integers(lengths, "--lengths") if lengths else (),
        limit=limit,
        include=include,
        chat=chat,
        dtype=dtype,
        batch_size=batch_size,
        folder=output,
    )
    for task, values in scores.items():
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, float))
        print(f"{task}: {shown}")

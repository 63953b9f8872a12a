"""`ropewalk extend`."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import Confidence
from ropewalk.options import CONFIDENCE, DTYPE


def extend(
    model: Annotated[str, typer.Argument(help="folder, hub id, a .gguf file, or gguf:PACKAGE/FILE")],
    length: Annotated[int, typer.Option(help="tokens that it is to read")],
    corpus: Annotated[
        list[str],
        typer.Option(
            help="texts to read: a folder of .txt, .md or .jsonl files, a corpus folder, or a source as package:books; "
            "repeat it for more; texts that install with Ropewalk where not given"
        ),
    ] = [],  # noqa: B006
    engine: Annotated[
        list[str],
        typer.Option(help="transformers, vllm, sglang or llama.cpp: what to type for it; all where not given"),
    ] = [],  # noqa: B006
    budget: Annotated[str, typer.Option(help="time to read in, as 20min, 90s or 1.5h")] = "20min",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="folder to write, or to go on in; MODEL-LENGTH where not given"),
    ] = None,
    short_cost: Annotated[
        float, typer.Option(min=0, help="nats a token that texts up to the native length may lose")
    ] = 0.05,
    native: Annotated[
        int | None,
        typer.Option(help="tokens that the model reads, where its configuration does not say it or is wrong"),
    ] = None,
    dtype: Annotated[str, typer.Option(help="of the weights: auto, float32, bfloat16 or float16")] = DTYPE,
    confidence: Confidence = CONFIDENCE,
    revision: Annotated[str | None, typer.Option(help="revision of a model on the hub")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say whether a model needs a longer rope for texts of a length, and which, by reading texts with each.

    Without training: the model's own rope, YaRN, MrRoPE-Pro and NTK, and as far as the budget goes YaRN with tuned
    constants and a Bayesian search. Writes a page with the answer, what to type for each engine, and how sure it is.
    Called again it goes on, with a larger --budget from there.

    ropewalk extend Qwen/Qwen3-0.6B --length 65536 --corpus my-texts/ --engine vllm
    """
    from ropewalk.extending.page import sentence
    from ropewalk.extending.planning import seconds
    from ropewalk.extending.run import Wish, default_folder
    from ropewalk.extending.run import extend as run
    from ropewalk.models.sources import ModelSource

    source = ModelSource.parse(model, revision)
    wish = Wish(
        source=source,
        length=length,
        corpora=tuple(corpus),
        engines=tuple(engine),
        budget=seconds(budget),
        short_cost=short_cost,
        confidence=confidence,
        native=native,
        dtype=dtype,
    )
    folder = output or default_folder(source, length)
    with redirect_stdout(sys.stderr):
        found = run(wish, folder)
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    print(sentence(found))
    for row in found["ropes"]:
        if row["gain"] is not None and row["gain"]["low"] is not None:
            gain, cost = (
                f"{one['mean']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]" for one in (row["gain"], row["cost"])
            )
            print(f"  {row['rope']:<12} gain {gain}   loss on short texts {cost}   {row['verdict']}")
    for name, told in found["engines"].items():
        if name in engine and told["text"]:
            print(f"\n{name}:\n{told['text']}")
    print(f"\n{folder / 'page.html'}: the answer, what to type for each engine, and how sure it is")

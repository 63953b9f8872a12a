"""`ropewalk posgen rows`, `train` and `score`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ropewalk.cli.options import (
    JsonLayout,
    JsonOptions,
    Metrics,
    Output,
    State,
    beside,
    by_name,
    documented,
    from_json,
)
from ropewalk.errors import UserError
from ropewalk.posgen.options import PosGenLayout, PosGenOptions, ScoringOptions
from ropewalk.rope import Rope

if TYPE_CHECKING:
    from ropewalk.posgen.scoring import Reading

posgen_app = typer.Typer(
    help="PosGen (Resonance RoPE, arXiv 2403.00071): sequences in which one rule makes every token, so that only "
    "positions beyond the training length can be hard.",
    no_args_is_help=True,
)

Rule = Annotated[str, typer.Argument(help="recursive, chain-of-thought or semi-recursive")]
SWAPPED = "rope.json=WEIGHTS: put in the place of the rope that the models called WEIGHTS were trained with"


@posgen_app.command()
def rows(
    task: Rule,
    start: Annotated[list[str], typer.Option(help="first tokens, with commas between them; repeat it for more rows")],
    length: Annotated[int, typer.Option(help="tokens of a row")],
    modulus: Annotated[
        int, typer.Option(help="m; tokens are 0 to m - 1, and the next one is a sum modulo m")
    ] = PosGenOptions.modulus,
    far: Annotated[int, typer.Option(help="tokens that the sum reads at the far place")] = PosGenOptions.far,
    near: Annotated[int, typer.Option(help="tokens that the sum reads at the end")] = PosGenOptions.near,
) -> None:
    """Print sequences that continue the given starts."""
    from ropewalk.posgen.tasks import Task

    rule = Task(task, modulus, far, near)  # type: ignore[arg-type]
    for text in start:
        try:
            given = [int(token) for token in text.split(",")]
        except ValueError:
            raise UserError(f"--start {text!r}: expected whole numbers with commas between them.") from None
        print(" ".join(map(str, rule.rows(given, length)[0])))


@posgen_app.command(
    cls=documented("ropewalk.posgen.options:PosGenOptions", "--layout=ropewalk.posgen.options:PosGenLayout")
)
def train(
    task: Rule,
    rope: Annotated[list[Path], typer.Option(help="rope.json to train with, named by its file; repeat it for more")],
    output: Output,
    options: JsonOptions = "{}",
    layout: JsonLayout = "{}",
    swapped: Annotated[list[str] | None, typer.Option(help=f"{SWAPPED}, for validation curves")] = None,
    state: State = None,
    metrics: Metrics = None,
) -> None:
    """Train a model for each rope and seed, all at once; killed and called again, it goes on from its last checkpoint.

    Models of one seed start alike and see the same batches, whatever their rope; dropout differs.
    """
    given, laid_out = from_json(PosGenOptions, options), from_json(PosGenLayout, layout, "--layout")

    from ropewalk.posgen.models import train_models

    train_models(
        task,
        given,
        {reading.name: reading.rope for reading in _readings([str(path) for path in rope])},
        _readings(swapped or []),
        layout=laid_out,
        state=beside(state, output, ".state"),
        metrics=beside(metrics, output, ".jsonl"),
        folder=output,
    )


@posgen_app.command(cls=documented("ropewalk.posgen.options:ScoringOptions"))
def score(
    models: Annotated[Path, typer.Argument(help="folder of `posgen train`")],
    rope: Annotated[list[str], typer.Option(help="rope.json that models were trained with; or " + SWAPPED)],
    output: Output,
    brief: Annotated[
        list[str] | None, typer.Option(help="the same, without text that the models generate, and without a run")
    ] = None,
    options: JsonOptions = "{}",
) -> None:
    """Score trained models on the test sequences with any ropes: given the true tokens, and writing on their own."""
    given = from_json(ScoringOptions, options)

    from ropewalk.posgen.results import score_models

    score_models(models, _readings(rope), _readings(brief or []), given, folder=output)


def _readings(texts: Sequence[str]) -> list[Reading]:
    """Ropes from FILE or FILE=WEIGHTS; a rope's name is that of its file."""
    from ropewalk.posgen.scoring import Reading

    pairs = [text.partition("=") for text in texts]
    files = [Path(path) for path, _, _ in pairs]
    by_name([file.with_suffix("") for file in files], "ropes")
    return [
        Reading(file.stem, Rope.load(file), weights or file.stem)
        for file, (_, _, weights) in zip(files, pairs, strict=True)
    ]

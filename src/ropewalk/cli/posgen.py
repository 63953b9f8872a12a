"""`ropewalk posgen rows`, `train`, `score` and `report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ropewalk.cli.options import Output, by_name, integers
from ropewalk.errors import UserError
from ropewalk.rope import Rope

if TYPE_CHECKING:
    from ropewalk.posgen.scoring import Reading

posgen_app = typer.Typer(
    help="PosGen (Resonance RoPE, arXiv 2403.00071): sequences in which one rule makes every token, so that only "
    "positions beyond the training length can be hard.",
    no_args_is_help=True,
)

TASK = typer.Argument(help="recursive, chain-of-thought or semi-recursive")
MODULUS = typer.Option(help="m; tokens are 0 to m - 1, and the next one is a sum modulo m")
FAR = typer.Option(help="tokens that the sum reads at the far place")
NEAR = typer.Option(help="tokens that the sum reads at the end")
SWAPPED = "rope.json=WEIGHTS: put in the place of the rope that the models called WEIGHTS were trained with"


@posgen_app.command()
def rows(
    task: Annotated[str, TASK],
    start: Annotated[list[str], typer.Option(help="first tokens, with commas between them; repeat it for more rows")],
    length: Annotated[int, typer.Option(help="tokens of a row")],
    modulus: Annotated[int, MODULUS] = 17,
    far: Annotated[int, FAR] = 1,
    near: Annotated[int, NEAR] = 3,
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


@posgen_app.command()
def train(
    task: Annotated[str, TASK],
    rope: Annotated[list[Path], typer.Option(help="rope.json to train with, named by its file; repeat it for more")],
    seeds: Annotated[str, typer.Option(help="one model a rope and seed; with commas between them")],
    output: Annotated[Path, Output],
    state: Annotated[Path, typer.Option(help="folder of the checkpoints to resume from; removed at the end")],
    metrics: Annotated[Path, typer.Option(help="JSON lines to write while training, one a validation")],
    swapped: Annotated[list[str] | None, typer.Option(help=f"{SWAPPED}, for validation curves")] = None,
    modulus: Annotated[int, MODULUS] = 17,
    far: Annotated[int, FAR] = 1,
    near: Annotated[int, NEAR] = 3,
    starts: Annotated[str, typer.Option(help="disjoint (the paper) or cycled (the released code)")] = "disjoint",
    data_seed: Annotated[int, typer.Option(help="of disjoint starts")] = 0,
    train_sequences: int = 10_000,
    validation_sequences: int = 1_000,
    test_sequences: int = 1_000,
    train_length: Annotated[int, typer.Option(help="tokens of a training sequence")] = 64,
    test_length: Annotated[int, typer.Option(help="tokens of a validation or test sequence")] = 256,
    hidden_size: int = 512,
    layers: int = 2,
    heads: int = 8,
    head_dim: Annotated[int, typer.Option(help="dimensions of a head, all rotated")] = 64,
    intermediate_size: int = 2048,
    steps: int = 11_850,
    batch_size: Annotated[int, typer.Option(help="sequences of each model a step")] = 128,
    learning_rate: float = 2e-4,
    weight_decay: float = 1e-2,
    schedule: Annotated[str, typer.Option(help="constant or one-cycle")] = "constant",
    cycle_momentum: Annotated[bool, typer.Option(help="let one-cycle move beta1 too")] = False,
    dropout: float = 0.1,
    train_feed_forward: Annotated[bool, typer.Option(help="or leave these layers as they were drawn")] = True,
    keep: Annotated[str, typer.Option(help="the last weights or those of the best validation")] = "last",
    validate_every: Annotated[int, typer.Option(help="steps")] = 158,
    checkpoint_every: Annotated[int, typer.Option(help="steps")] = 500,
    precision: Annotated[str, typer.Option(help="of products on a GPU: highest (float32) or high (TF32)")] = "highest",
) -> None:
    """Train a model for each rope and seed, all at once; killed and called again, it goes on from its last checkpoint.

    Models of one seed start alike and see the same batches, whatever their rope; dropout differs.
    """
    from ropewalk.posgen.data import DataOptions
    from ropewalk.posgen.model import DecoderShape
    from ropewalk.posgen.models import train_models
    from ropewalk.posgen.tasks import Task
    from ropewalk.posgen.training import TrainingOptions

    if precision not in ("highest", "high"):
        raise UserError(f"--precision {precision!r}: expected highest or high.")
    train_models(
        Task(task, modulus, far, near),  # type: ignore[arg-type]
        DataOptions(
            starts=starts,  # type: ignore[arg-type]
            seed=data_seed,
            train_sequences=train_sequences,
            validation_sequences=validation_sequences,
            test_sequences=test_sequences,
            train_length=train_length,
            test_length=test_length,
        ),
        DecoderShape(modulus, hidden_size, layers, heads, head_dim, intermediate_size),
        TrainingOptions(
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            schedule=schedule,  # type: ignore[arg-type]
            cycle_momentum=cycle_momentum,
            dropout=dropout,
            train_feed_forward=train_feed_forward,
            keep=keep,  # type: ignore[arg-type]
            validate_every=validate_every,
            checkpoint_every=checkpoint_every,
        ),
        {reading.name: reading.rope for reading in _readings([str(path) for path in rope])},
        _readings(swapped or []),
        integers(seeds, "--seeds"),
        precision=precision,
        state=state,
        metrics=metrics,
        folder=output,
    )


@posgen_app.command()
def score(
    models: Annotated[Path, typer.Argument(help="folder of `posgen train`")],
    rope: Annotated[list[str], typer.Option(help="rope.json that models were trained with; or " + SWAPPED)],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    brief: Annotated[
        list[str] | None, typer.Option(help="the same, without text that the models generate, and without a run")
    ] = None,
    generated_sequences: Annotated[int, typer.Option(help="test sequences that models continue on their own")] = 100,
) -> None:
    """Score trained models on the test sequences with any ropes: given the true tokens, and writing on their own."""
    from ropewalk.posgen.results import score_models

    score_models(
        models, _readings(rope), _readings(brief or []), generated_sequences=generated_sequences, folder=output
    )


@posgen_app.command()
def report(
    scores: Annotated[list[Path], typer.Option(help="folder of `posgen score`; repeat it for each task")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for figures and tables")],
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
) -> None:
    """Draw the figures and write the tables of scored models: accuracy by rope, curves, positions, feature gaps."""
    from ropewalk.report.posgen import write_report

    write_report(scores, confidence=confidence, folder=output)


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

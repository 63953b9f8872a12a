"""What commands share: options, and how numbers and folders are read from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ropewalk.errors import UserError

if TYPE_CHECKING:
    from ropewalk.corpora import Corpus
    from ropewalk.training.loop import TrainingOptions

Output = typer.Option("-o", "--output", help="where to write")

# Of every training.
Corpora = Annotated[list[Path], typer.Option("--corpus", help="corpus folder; repeat it for more")]
State = Annotated[Path, typer.Option(help="folder of the checkpoints to resume from; removed at the end")]
Metrics = Annotated[Path, typer.Option(help="JSON lines to write while training, one every ten steps")]
Steps = Annotated[int, typer.Option(help="optimiser steps")]
CopyFraction = Annotated[float, typer.Option(help="share of sequences that teach copying")]
LearningRate = Annotated[float, typer.Option(help="its peak")]
WarmupSteps = Annotated[int, typer.Option(help="steps of linear rise to the peak")]
Schedule = Annotated[str, typer.Option(help="shape of the fall after it: cosine, linear or constant")]
FinalFraction = Annotated[float, typer.Option(help="last learning rate over its peak")]
WeightDecay = Annotated[float, typer.Option(help="of AdamW, on matrices")]
ClipNorm = Annotated[float, typer.Option(help="largest norm of the gradient; 0 does not clip")]
Accumulation = Annotated[int, typer.Option(help="micro-batches a batch is cut into")]
CheckpointEvery = Annotated[int, typer.Option(help="steps between the checkpoints that a killed job resumes from")]


def training_options(schedule: str, **options: float) -> TrainingOptions:
    """The options of a training loop, of which only the schedule can be misspelt."""
    from ropewalk.training.loop import TrainingOptions

    if schedule not in ("cosine", "linear", "constant"):
        raise UserError(f"--schedule {schedule!r}: expected cosine, linear or constant.")
    return TrainingOptions(schedule=schedule, **options)  # type: ignore[arg-type]


def numbers(text: str, option: str) -> list[float]:
    """Numbers that are written with commas between them, since an option takes one value."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text!r}: expected numbers with commas between them.") from None


def integers(text: str, option: str) -> list[int]:
    """Different whole numbers that are written with commas between them."""
    values = numbers(text, option)
    if any(not value.is_integer() for value in values) or len(set(values)) < len(values):
        raise UserError(f"{option} {text!r}: expected different whole numbers with commas between them.")
    return [int(value) for value in values]


def by_name(folders: list[Path], what: str) -> dict[str, Path]:
    """Folders by their names, which must differ."""
    named = {folder.absolute().name: folder for folder in folders}
    if len(named) < len(folders):
        raise UserError(
            f"two {what} have the same folder name; expected different ones: {', '.join(map(str, folders))}."
        )
    return named


def open_corpora(folders: list[Path]) -> dict[str, Corpus]:
    """Corpora by the names of their folders, which must differ."""
    from ropewalk.corpora import Corpus

    return {name: Corpus.open(folder) for name, folder in by_name(folders, "corpora").items()}

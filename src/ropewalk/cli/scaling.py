"""`ropewalk scaling`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import numbers
from ropewalk.errors import UserError

scaling_app = typer.Typer(
    help="Sweeps of the base: what the scaling laws predict, and measured limits held against it. Cells are made by "
    "`finetune` and measured by `evaluate --window`.",
    no_args_is_help=True,
)


@scaling_app.command()
def predict(
    head_dim: Annotated[int, typer.Option(help="rotated dimensions of a head")],
    base: Annotated[float, typer.Option(help="base of pre-training")],
    length: Annotated[int, typer.Option(help="length of pre-training in tokens")],
    cell: Annotated[list[str], typer.Option(help="BASE@LENGTH: a base and its tuning length; repeat for more")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for table, page and figure")],
) -> None:
    """Tabulate what the laws predict for several bases and tuning lengths of one model, before anything is trained."""
    from ropewalk.report.prediction import write_predictions
    from ropewalk.rope.prediction import Setting

    def setting(text: str) -> Setting:
        try:
            new_base, tuned = text.split("@")
            values = float(new_base), int(tuned)
        except ValueError:
            raise UserError(f"--cell {text!r}: expected BASE@LENGTH, as in 1000000@16384.") from None
        try:
            return Setting(head_dim, base, length, values[1], values[0])
        except UserError as error:
            raise UserError(f"--cell {text!r}: {error}") from None

    write_predictions([setting(text) for text in cell], output)


@scaling_app.command()
def report(
    cell: Annotated[list[Path], typer.Option(help="folder of `evaluate --window` of a tuned model; repeat for more")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for page, tables and figures")],
    thresholds: Annotated[
        str, typer.Option(help="nats a token that reading on may cost; predictors are held against the first")
    ] = "0.05,0.1,0.2",
    smoothing: Annotated[
        int | None, typer.Option(help="positions in the moving mean; a quarter of the pre-training length by default")
    ] = None,
    perplexity_ratio: Annotated[float, typer.Option(help="by how much the perplexity may rise, by that rule")] = 1.1,
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
) -> None:
    """Say which law fits the limits of a sweep: page, tables, figures, scores.json."""
    from ropewalk.report.scaling import write_report
    from ropewalk.scaling.sweep import read_sweep

    sweep = read_sweep(
        cell,
        thresholds=numbers(thresholds, "--thresholds"),
        smoothing=smoothing,
        perplexity_ratio=perplexity_ratio,
        confidence=confidence,
    )
    write_report(sweep, output)

"""`ropewalk scaling`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import numbers

scaling_app = typer.Typer(
    help="Sweeps of the base: hold measured limits against the scaling laws. Cells are made by `finetune` and measured "
    "by `evaluate --window`.",
    no_args_is_help=True,
)


@scaling_app.callback()
def _group() -> None:
    """A group, though it has one command."""


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
    from ropewalk.report.scaling import read_sweep, write_report

    sweep = read_sweep(
        cell,
        thresholds=numbers(thresholds, "--thresholds"),
        smoothing=smoothing,
        perplexity_ratio=perplexity_ratio,
        confidence=confidence,
    )
    write_report(sweep, output)

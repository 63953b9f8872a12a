"""`ropewalk track` and `deliver`."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.errors import UserError


def track(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="name of the run: the rule and its wildcards")],
    experiment: Annotated[str, typer.Option(help="MLflow experiment: STUDY/KIND")],
    root: Annotated[Path, typer.Option(help="folder of the study's records")],
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE")] = None,
    metrics: Annotated[Path | None, typer.Option(help="JSON lines that the job writes, one a step")] = None,
    scores: Annotated[list[Path] | None, typer.Option(help="JSON of numbers that the job writes")] = None,
    artifact: Annotated[list[Path] | None, typer.Option(help="file or folder to attach")] = None,
    runs: Annotated[
        Path | None, typer.Option(help="folder that the job writes, with a folder for each part that is a run below it")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="where the job's output goes besides the screen")] = None,
    attempt: Annotated[int, typer.Option(help="which attempt this is; after a mistake no other is made")] = 1,
) -> None:
    """Run a command and record it as one MLflow run: ropewalk track … -- COMMAND …

    The JSON of the command's --shape, --options and --columns is recorded as its parameters. The command's exit status
    is passed on. A job that ends within a minute leaves its record below --root for the next
    longer job or `ropewalk deliver`, and so does any job while MLflow is away.
    """
    from ropewalk.tracking import Job, run_tracked

    wrong = [pair for pair in tag or [] if "=" not in pair]
    if wrong:
        raise UserError(f"--tag {wrong[0]!r}: expected KEY=VALUE.")
    if not context.args:
        raise UserError("nothing to run; expected a command after `--`.")
    tags = dict(pair.split("=", 1) for pair in tag or [])
    job = Job(
        experiment=experiment,
        name=name,
        folder=root / Path(experiment).name / name,
        params=_settings(context.args),
        tags=tags,
        metrics_file=metrics,
        score_files=tuple(scores or ()),
        artifacts=tuple(artifact or ()),
        log=log,
        runs=runs,
    )
    raise typer.Exit(run_tracked(job, context.args, root=root, attempt=attempt))


def _settings(command: list[str]) -> dict[str, Any]:
    """What a job is made of: the JSON that its command is given."""
    settings: dict[str, Any] = {}
    for word, value in pairwise(command):
        if word in ("--shape", "--options", "--columns"):
            with suppress(json.JSONDecodeError):  # the command will say what is wrong with it
                given = json.loads(value)
                settings |= given if isinstance(given, dict) else {}
    return settings


def deliver(root: Annotated[Path, typer.Argument(help="folder of a study's records, or of several studies'")]) -> None:
    """Send the records to MLflow that were kept while it was away."""
    from ropewalk.tracking import deliver as run

    done = run(root)
    if done.sent or done.waiting:
        print(f"tracking: {done.sent} records sent, {done.waiting} waiting")
    if done.waiting:
        raise typer.Exit(1)

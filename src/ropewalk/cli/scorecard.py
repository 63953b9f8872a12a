"""The scorecard, and the page of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import Output

Study = Annotated[Path, typer.Argument(help="results of a study, like results/default")]


def scorecard(
    studies: Annotated[list[Path], typer.Argument(help="results of one study or several, like results/default")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="a folder for page, JSON and scores")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Hold every claim of the three papers against what studies measured.

    A claim is reproduced where the whole interval of its number lies where the paper puts it, not reproduced where it
    lies outside, and else undecided; or it was not tried. Stages that did not run yet are claims not tried.
    """
    import json

    from ropewalk.report.scorecard import CLAIMS, as_rows, as_text, counts, evaluate, experiments, write_scorecard

    found = [experiment for study in studies for experiment in experiments(study)]
    findings = evaluate(CLAIMS, found)
    if output is not None:
        stages = {study.name: sorted({one.stage for one in found if one.study == study.name}) for study in studies}
        words = {name: f"measured: {', '.join(names) or 'nothing yet'}" for name, names in stages.items()}
        write_scorecard(findings, output, words)
    if as_json:
        print(json.dumps({"counts": counts(findings), "findings": as_rows(findings)}, indent=1, ensure_ascii=False))
    else:
        print(as_text(findings))


def summary(
    study: Study,
    output: Annotated[Path, Output],
    everything: Annotated[str, typer.Option(help="file beside it with all tables and figures")] = "tables.html",
) -> None:
    """Write the page of a study for a person who has five minutes: what was tried, what held up, and the figures."""
    from ropewalk.report.summary import write_summary

    write_summary(study, output, everything)

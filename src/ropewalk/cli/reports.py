"""`ropewalk report KIND`, the scorecard, and the page of a study."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.cli.options import JsonOptions, Output, from_json


class Report(StrEnum):
    """Kinds of report."""

    perplexity = "perplexity"
    copying = "copying"
    needle = "needle"
    measures = "measures"
    leval = "leval"
    scaling = "scaling"
    predictions = "predictions"
    search = "search"
    causes = "causes"
    finetune = "finetune"
    posgen = "posgen"


def report(
    kind: Annotated[Report, typer.Argument(help="which report; the options of each are listed below")],
    options: JsonOptions,
    output: Output,
    readings: Annotated[
        list[Path] | None,
        typer.Argument(help="folders of `ropewalk read`, in order; of `posgen score` for PosGen"),
    ] = None,
    search: Annotated[list[Path] | None, typer.Option(help="folder of `ropewalk search`; repeat it for more")] = None,
    model: Annotated[Path | None, typer.Option(help="model that was pre-trained here, to show how")] = None,
) -> None:
    """Say what readings come to: page, tables, figures and scores.json in a folder."""
    from ropewalk.study.kinds import REPORT_OPTIONS

    given: Any = from_json(REPORT_OPTIONS[kind], options)
    folders = readings or []
    match kind:
        case Report.perplexity:
            from ropewalk.report.perplexity import write_report

            write_report(folders, given, output, training=model / "metrics.jsonl" if model else None)
        case Report.copying:
            from ropewalk.report.copying import write_report as write_copying

            write_copying(folders, given, output)
        case Report.needle:
            from ropewalk.report.needle import write_report as write_needle

            write_needle(folders, given, output)
        case Report.measures:
            from ropewalk.report.measures import write_report as write_measures

            write_measures(folders, given, output)
        case Report.leval:
            from ropewalk.report.leval import write_report as write_leval

            write_leval(folders, given, output)
        case Report.scaling:
            from ropewalk.report.scaling import write_report as write_scaling

            write_scaling(folders, given, output)
        case Report.predictions:
            from ropewalk.report.predictions import write_predictions

            write_predictions(given, output)
        case Report.search:
            from ropewalk.report.search import write_report as write_search

            write_search(search or [], folders, given, output)
        case Report.causes:
            from ropewalk.report.causes import write_report as write_causes

            write_causes(search or [], given, output)
        case Report.finetune:
            from ropewalk.report.finetune import write_report as write_tuning

            write_tuning(folders, given, output)
        case Report.posgen:
            from ropewalk.report.posgen import write_report as write_posgen

            write_posgen(folders, given, output)


def scorecard(
    studies: Annotated[list[Path], typer.Argument(help="results of one study or several, like results/embedded")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="a folder for page, JSON and scores")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Hold every claim of the three papers against what studies measured.

    A claim is reproduced where the whole interval of its number lies where the paper puts it, and not reproduced where
    it lies outside and the paper's effect could have been seen; else it is undecided, or not visible. Models that
    cannot do what is asked, or too few seeds or documents, give no verdict; stages that did not run yet are claims not
    tried. Verdicts of a study are corrected for their number (Holm). Several studies stand side by side.
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
    studies: Annotated[list[Path], typer.Argument(help="results of studies, like results/smollm2 results/embedded")],
    output: Output,
) -> None:
    """Write a page for a person who has five minutes: what was tried and held up, with figures; real models first."""
    from ropewalk.report.summary import write_summary
    from ropewalk.study.times import recorded_times

    write_summary(studies, output, {study.name: recorded_times(study) for study in studies})

"""How long the jobs of a study took, by what they do, from Snakemake's benchmark files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ropewalk.files import read_json
from ropewalk.study.rows import Study
from ropewalk.study.tables import read_study


def stage_times(study: Study, benchmarks: Path) -> dict[str, list[float]]:
    """Seconds of wall time of every job that left a benchmark file, by what it does.

    Args:
        study: whose jobs they are.
        benchmarks: the folder of the files.
    """
    found: dict[str, list[float]] = {}
    for stage, place in _jobs(study):
        for file in (benchmarks / f"{place}.tsv", *sorted((benchmarks / place).glob("*.tsv"))):
            if file.is_file():
                with file.open(newline="") as lines:
                    found.setdefault(stage, []).extend(float(row["s"]) for row in csv.DictReader(lines, delimiter="\t"))
    return found


def recorded_times(results: Path) -> str:
    """The times of a study that has run, a line a stage, from what it left behind; nothing where that is not known.

    Args:
        results: ``results/NAME``.
    """
    if not (results / "study.json").is_file():
        return ""
    study = read_study(read_json(results / "study.json", "what a study is made of")["config"])
    times = stage_times(study, results / "benchmarks")
    return times_text(times) if times else ""


def _jobs(study: Study) -> Iterator[tuple[str, str]]:
    """What each job does, and the name of its file."""
    for corpus in study.corpora.values():
        yield "tokenise texts", f"corpora/{corpus.id}"
    words = {"fetch": "fetch", "pretrain": "pre-train", "tune": "tune"}
    for model in study.models.values():
        yield f"{words[model.kind]} {model.columns.get('experiment', 'models')}", f"models/{model.id}"
    for search in study.searches.values():
        yield f"search {search.columns['experiment']}", f"searches/{search.id}"
    for reading in study.readings.values():
        yield f"read {reading.kind}", f"readings/{reading.id}"
    for export in study.exports.values():
        yield "export", f"exports/{export.id}"
    for task in study.posgen.values():
        yield f"PosGen {task.experiment}", f"posgen/{task.id}"
    for report in study.reports.values():
        yield "report", f"reports/{report.id}"


def times_text(times: dict[str, list[float]]) -> str:
    """A line a stage, the longest first: how long its jobs took together, and how many there were."""
    by_time = sorted(times.items(), key=lambda item: -sum(item[1]))
    width = max((len(stage) for stage in times), default=0)
    lines = [
        f"{stage:<{width}}  {_clock(sum(seconds)):>8}  {len(seconds):>4} job{'s' if len(seconds) > 1 else ''}"
        for stage, seconds in by_time
    ]
    total = sum(sum(seconds) for seconds in times.values())
    return "\n".join([*lines, f"{'together':<{width}}  {_clock(total):>8}"])


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"

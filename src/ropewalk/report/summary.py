"""The one page for a person who has five minutes: what was tried, what held up, the figures that matter, what next."""

from __future__ import annotations

import base64
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.files import read_json, whole_file
from ropewalk.report.html import render
from ropewalk.report.scorecard import CLAIMS, counts, evaluate, experiments
from ropewalk.report.scorecard.claim import Experiment
from ropewalk.report.scorecard.verdict import Finding
from ropewalk.scores import Scores

WORDS = "One workflow holds three papers on the length that a language model reads against measurements."


@dataclass(frozen=True)
class Section:
    """A stage of the workflow, as its reader asks.

    Attributes:
        stage: in the workflow and of its claims.
        title: the question.
        words: what was done.
        figure: below the folder of the stage's report.
        alt: what the figure shows.
        pages: tables behind it, below the same folder, by what to call them.
        larger: how to run it at a larger scale.
    """

    stage: str
    title: str
    words: str
    figure: str
    alt: str
    pages: dict[str, str]
    larger: str


SECTIONS = (
    Section(
        "perplexity",
        "How far does the model read, with each rope?",
        "The model reads documents it never saw, far beyond its training length, with ropes lengthened by hand. NLL of "
        "every token by its position: where a line rises, the rope fails.",
        "nll_by_position.png",
        "NLL by position for every rope",
        {"perplexity by length": "perplexity.html"},
        "uv run snakemake --cores all --configfile config/smollm2.yaml",
    ),
    Section(
        "posgen",
        "Does rounding wavelengths help? PosGen",
        "Small models continue sequences by a rule that they have learned, beyond the length of their training; only "
        "positions are new there. Each dot is a seed.",
        "accuracy.png",
        "Accuracy beyond the training length by rope and task",
        {"accuracy": "accuracy.html", "feature gaps": "feature_gap.html"},
        "uv run snakemake --cores all --resources gpu=1 posgen --configfile config/h100.yaml",
    ),
    Section(
        "scaling",
        "Does the base predict how far a model reads? Scaling laws",
        "The model is tuned with other bases. Limit of each: the first position where reading everything costs more "
        "than reading the last tokens only, over the base, with what the laws predict.",
        "limits.png",
        "Measured limits over the base, and the laws",
        {"limits, predictors and words": "scaling.html"},
        "uv run snakemake --cores all --resources gpu=1 scaling --configfile config/h100-scaling.yaml",
    ),
    Section(
        "search",
        "Does a searched rope beat hand-made ones?",
        "Ropes are found without training, by Bayesian optimisation and its rivals, and held against hand-made ones, "
        "as published and with their constants tuned, on documents that no search saw.",
        "convergence.png",
        "Best rope so far by number of trials",
        {"standings, rivals and transfer": "search.html"},
        "uv run snakemake --cores all --resources gpu=1 search --configfile config/h100-search.yaml",
    ),
    Section(
        "causes",
        "Why does a rope cost what it costs? Two causes",
        "The abstract of ORoPE names two causes of loss: angles that training never had, and a loss of resolution "
        "between neighbours. Ropes of a Sobol sequence are read, and both causes are held against what they cost.",
        "causes.png",
        "What ropes cost against the two causes",
        {"regressions": "causes.html"},
        "uv run snakemake --cores all causes --configfile config/evidence.yaml",
    ),
    Section(
        "finetune",
        "What does fine-tuning with a rope gain?",
        "Models are tuned with each rope, on long or on short texts, and read the same documents as before.",
        "before_after.png",
        "NLL by position before and after tuning",
        {"perplexity and differences": "finetune.html"},
        "uv run snakemake --cores all --resources gpu=1 finetune --configfile config/h100-finetune.yaml",
    ),
    Section(
        "needle",
        "Does it use what it reads?",
        "Low perplexity is not use of the context. Facts are hidden at some depth of a text and asked for at its end.",
        "needle.png",
        "Score by length and depth for each model",
        {"scores and effective lengths": "needle.html"},
        "uv run snakemake --cores all --resources gpu=1 needle --configfile config/h100-finetune.yaml",
    ),
    Section(
        "measures",
        "Does perplexity say whether it uses what it reads?",
        "Perplexity is a mean over all tokens, of which few need a long context. LongPPL is over those that do; hidden "
        "facts ask outright.",
        "measures.png",
        "Perplexity, LongPPL and facts found, by rope",
        {"measures side by side": "measures.html"},
        "uv run snakemake --cores all measures --configfile config/smollm2.yaml",
    ),
    Section(
        "leval",
        "Does it answer questions about long documents? L-Eval",
        "Seven closed-ended tasks, scored as the original does (filled) and strictly (hollow).",
        "leval.png",
        "Scores by task and model",
        {"scores by task": "leval.html"},
        "uv run snakemake --cores all leval --configfile config/smollm2.yaml",
    ),
)


def write_summary(studies: Sequence[Path], output: Path, times: Mapping[str, str] | None = None) -> None:
    """Write the page from what studies left behind: of those with a real model first.

    Args:
        studies: ``results/NAME`` each; stages that they lack are left out.
        output: the page; its links are relative to it.
        times: by the name of a study, how long its jobs took, a line a stage.

    Raises:
        UserError: a study is no folder, or a file of scores is missing or damaged.
    """
    ordered = sorted(studies, key=lambda study: not _fetched(study))
    reports = {study: experiments(study) for study in ordered}
    findings = evaluate(CLAIMS, [report for study in ordered for report in reports[study]])
    places = {study: Path(os.path.relpath(study, output.parent)) for study in ordered}
    stages = []
    for study in ordered:
        own = [
            _stage(study, places[study], section, report, findings, several=len(ordered) > 1)
            for section in SECTIONS
            for report in reports[study]
            if report.stage == section.stage
        ]
        # What was decided first, then what was asked and stayed open.
        stages += sorted(own, key=lambda stage: (not stage["decided"], not stage["findings"]))
    page = render(
        "summary",
        "Ropewalk",
        heading=f"Ropewalk: {', '.join(study.name for study in ordered)}",
        width="60em",
        scale=" ".join([WORDS, *filter(None, map(_scale, ordered))]),
        claim_count=len(CLAIMS),
        files=_files(reports, output.parent),
        counts=counts(findings, every=False),
        stages=stages,
        computed=[one for one in findings if one.experiment is None and one.evidence],
        untried=[one for one in findings if not one.evidence],
        scorecards={study.name: (places[study] / "scorecard/scorecard.html").as_posix() for study in ordered},
        times={name: text for name, text in (times or {}).items() if text},
    )
    with whole_file(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _fetched(study: Path) -> list[Path]:
    """What says of each model of a study that was not made there where it came from."""
    return sorted(study.glob("models/*/source.json"))


def _scale(study: Path) -> str:
    """Which models a study tried, in words."""
    alike: dict[str, list[str]] = {}
    for file in sorted(study.glob("models/*/training.json")):
        record = read_json(file, "the record of a training")
        if "shape" not in record:
            continue
        training = {row.quantity: row.value for row in Scores.read(file.with_name("scores.json")).rows}
        what = (
            f"{training['parameters']:,.0f} weights, trained from nothing on {training['tokens']:,.0f} tokens in texts "
            f"of {record['shape']['length']:,}."
        )
        alike.setdefault(what, []).append(file.parent.name)
    words = []
    for file in _fetched(study):
        source = read_json(file, "where a model came from")
        words.append(f"{file.parent.name}: {source['kind']}:{source['name']}.")
    for what, names in alike.items():
        words.append(f"{', '.join(names)}: {'a model' if len(names) == 1 else f'{len(names)} models'} of {what}")
    return " ".join(words)


def _files(reports: Mapping[Path, Sequence[Experiment]], page: Path) -> dict[str, list[dict[str, str]]]:
    """What there is to open, by report: pages, figures and tables, relative to the page's folder, and what each shows.

    Args:
        reports: of each study.
        page: the folder of the page.
    """
    captions = tomllib.loads((Path(__file__).parent / "templates/captions.toml").read_text(encoding="utf-8"))
    found: dict[str, list[dict[str, str]]] = {}
    for study, own in reports.items():
        kept = {Path(report.file).parent for report in own}
        for file in sorted(study.glob("reports/*/*/*"), key=lambda file: (file.parent, file.suffix, file.name)):
            known = file.parent.relative_to(study) in kept or file.parts[-3] == "predictions"
            if known and file.suffix in (".html", ".csv", ".png"):
                caption = captions.get(file.parts[-3], {}).get(file.name, "")
                place = Path(os.path.relpath(file, page)).as_posix()
                called = [study.name] * (len(reports) > 1) + [file.parts[-3], file.parts[-2]]
                found.setdefault("/".join(called), []).append({"name": file.name, "place": place, "caption": caption})
    return found


def _stage(
    study: Path, place: Path, section: Section, report: Experiment, findings: Sequence[Finding], *, several: bool
) -> dict[str, Any]:
    """A section of the page: what is decided there, its figure, and all that was found.

    Args:
        study: its results.
        place: the same, from the page.
        section: what is said of the stage.
        report: of the study.
        findings: of all studies.
        several: whether the page is of several studies, so that each section names its own.
    """
    own = [one for one in findings if one.experiment == report]
    inside = Path(report.file).parent
    named = [study.name] * several + [report.name] * (report.name != section.stage)
    return {
        "section": section,
        "place": (place / inside).as_posix(),
        "figure": base64.b64encode((study / inside / section.figure).read_bytes()).decode(),
        "name": " · ".join(named),
        "findings": own,
        "decided": [one for one in own if one.decisive and one.verdict in ("reproduced", "not reproduced")],
        "counts": counts(own, every=False),
    }

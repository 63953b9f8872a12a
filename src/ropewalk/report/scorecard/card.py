"""Every claim held against every experiment of a study: as text, as JSON, as numbers for the tracking UI, as a page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError
from ropewalk.files import read_json, whole_folder, write_json
from ropewalk.report.scorecard import orope, resonance, scaling_laws
from ropewalk.report.scorecard.claim import VERDICTS, Claim, Evidence, Experiment, Finding
from ropewalk.report.scorecard.page import card_html
from ropewalk.scores import Scores, bare_rows, number_rows

PAPERS = {
    "resonance": "Resonance RoPE (arXiv 2403.00071)",
    "scaling-laws": "Scaling Laws of RoPE-based Extrapolation (arXiv 2310.05209)",
    "orope": "ORoPE (AI Open 6, 2025; only the abstract could be read)",
}
CLAIMS: list[Claim] = [*resonance.CLAIMS, *scaling_laws.CLAIMS, *orope.CLAIMS]


def experiments(study: Path) -> list[Experiment]:
    """What the stages of a study left behind: the scores of every report.

    Args:
        study: ``results/NAME``.

    Raises:
        UserError: it is no folder, or a file of scores is damaged or of another version.
    """
    if not study.is_dir():
        raise UserError(f"{study}: no such folder; expected the results of a study, like results/embedded.")
    files = sorted(study.glob("reports/*/*/scores.json"))
    if (study / "study.json").is_file():
        # What an experiment left that the study has no more is no part of it.
        named = read_json(study / "study.json", "what a study is made of").get("reports", [])
        files = [file for file in files if file.parent.relative_to(study / "reports").as_posix() in named]
    return [Experiment(study.name, file.relative_to(study).as_posix(), Scores.read(file)) for file in files]


def evaluate(claims: Sequence[Claim], found: Sequence[Experiment]) -> list[Finding]:
    """What every experiment says of every claim: a finding for each that tried it, or one that none did.

    Raises:
        UserError: scores lack what a claim needs.
    """
    findings = []
    for claim in claims:
        if claim.stage is None:
            findings.append(Finding(claim, None, tuple(claim.measure())))
            continue
        tried = []
        for experiment in (one for one in found if one.stage == claim.stage):
            try:
                evidence = tuple(claim.measure(experiment))
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"{experiment.study}/{experiment.file} lacks {error} for {claim.id}; make it again."
                ) from error
            if evidence:
                tried.append(Finding(claim, experiment, evidence))
        findings += tried or [Finding(claim, None, ())]
    return findings


def counts(findings: Sequence[Finding], *, every: bool = True) -> dict[str, int]:
    """How many findings have each verdict; those that none has too, if ``every``."""
    found = Counter(one.verdict for one in findings)
    return {verdict: found[verdict] for verdict in VERDICTS if every or found[verdict]}


def as_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as JSON would hold them; a number that is not finite is null."""
    rows = []
    for one in findings:
        claim, experiment, decisive = one.claim, one.experiment, one.decisive
        row = {key: getattr(claim, key) for key in ("id", "section", "sentence", "quantity")}
        row |= {"paper": PAPERS[claim.paper], "expected": str(claim.region), "scale_needed": claim.scale}
        where = (
            {key: getattr(experiment, key) for key in ("study", "stage", "name", "scale", "file")} if experiment else {}
        )
        row |= {"verdict": one.verdict, "experiment": where or None}
        row |= {"decided_by": _plain(decisive) if decisive else None, "cases": [_plain(case) for case in one.evidence]}
        rows.append(row)
    return rows


def _plain(evidence: Evidence) -> dict[str, Any]:
    finite = {key: getattr(evidence, key) for key in ("value", "low", "high")}
    return {
        **{key: value if math.isfinite(value) else None for key, value in finite.items()},
        "where": evidence.where,
        "key": evidence.key,
    }


def scores(findings: Sequence[Finding]) -> Scores:
    """The numbers for the tracking UI: how many of each verdict, and the number that decides each claim."""
    rows = list(bare_rows(counts(findings)))
    for one in findings:
        if (case := one.decisive) is not None:
            report = f"{one.experiment.study}/{one.experiment.report}" if one.experiment else None
            ends = {} if case.low == case.high else {"repetitions": (case.low, case.high)}
            rows += number_rows("decided_by", case.value, intervals=ends, claim=one.claim.id, report=report)
    return Scores({"stage": "scorecard"}, tuple(rows))


def as_text(findings: Sequence[Finding]) -> str:
    """The scorecard for a terminal: a line a finding, under its paper."""
    lines = []
    for paper, title in PAPERS.items():
        lines.append(title)
        for one in (one for one in findings if one.claim.paper == paper):
            case = one.decisive
            number = f"{case}; expected {one.claim.region}" if case else f"needs {one.claim.scale}"
            lines += [f"  {one.verdict:<14}  {one.claim.sentence}", f"  {'':<14}  {number}"]
        lines.append("")
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts(findings).items())
    return "\n".join([*lines, f"{len(findings)} findings on {len({f.claim.id for f in findings})} claims: {total}."])


def write_scorecard(findings: Sequence[Finding], folder: Path, studies: Mapping[str, str]) -> None:
    """Write ``scorecard.html``, ``scorecard.json`` and ``scores.json``, whole or not at all.

    Args:
        findings: of :func:`evaluate`.
        folder: where to write.
        studies: a word on each study, by name.
    """
    with whole_folder(folder) as out:
        (out / "scorecard.html").write_text(card_html(findings, PAPERS, counts(findings), studies), encoding="utf-8")
        write_json(out / "scorecard.json", {"counts": counts(findings), "findings": as_rows(findings)})
        scores(findings).write(out / "scores.json")

"""Every claim held against every experiment of studies: as text, as JSON, as numbers for the tracking UI, as a page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError
from ropewalk.files import read_json, whole_folder, write_json
from ropewalk.report.scorecard import orope, resonance, resonance_posgen, scaling_laws
from ropewalk.report.scorecard.claim import KINDS, Claim, Evidence, Experiment
from ropewalk.report.scorecard.page import card_html
from ropewalk.report.scorecard.verdict import VERDICTS, Finding, Tried, judge
from ropewalk.scores import Scores, bare_rows, number_rows

PAPERS = {
    "resonance": "Resonance RoPE (arXiv 2403.00071)",
    "scaling-laws": "Scaling Laws of RoPE-based Extrapolation (arXiv 2310.05209)",
    "orope": "ORoPE (AI Open 6, 2025; only the abstract could be read)",
}
CLAIMS: list[Claim] = [*resonance.CLAIMS, *resonance_posgen.CLAIMS, *scaling_laws.CLAIMS, *orope.CLAIMS]


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
    tried: list[Tried] = []
    for claim in claims:
        own = [_tried(claim, one) for one in found if one.stage == claim.stage]
        if claim.stage is None:
            own = [Tried(claim, None, tuple(claim.measure()))]
        tried += [one for one in own if one.evidence] or [Tried(claim, None, ())]
    return judge(tried)


def _tried(claim: Claim, experiment: Experiment) -> Tried:
    try:
        return Tried(claim, experiment, tuple(claim.measure(experiment)))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{experiment.study}/{experiment.file} lacks {error} for {claim.id}; make it again.") from error


def counts(findings: Sequence[Finding], *, every: bool = True) -> dict[str, dict[str, int]]:
    """How many findings have each verdict, by kind of claim; those that none has too, if ``every``."""
    found = Counter((one.claim.kind, one.verdict) for one in findings)
    of_kind: dict[str, dict[str, int]] = {
        kind: {verdict: found[kind, verdict] for verdict in VERDICTS if every or found[kind, verdict]} for kind in KINDS
    }
    return {kind: verdicts for kind, verdicts in of_kind.items() if every or verdicts}


def as_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as JSON would hold them; a number that is not finite, or not known, is null."""
    rows = []
    for one in findings:
        claim, experiment, case = one.claim, one.experiment, one.decisive
        row: dict[str, Any] = {"id": claim.id, "paper": PAPERS[claim.paper], "section": claim.section}
        row |= {"sentence": claim.sentence, "quantity": claim.quantity, "expected": str(claim.region)}
        row |= {"effect": claim.effect, "class": claim.kind, "verdict": one.verdict, "why": one.why or None}
        row |= _plain(case) if case else dict.fromkeys(("value", "low", "high", "where", "key", *_BEHIND))
        row |= {"chance": one.chance, "family": one.family, "detectable": one.detectable, "scale": one.scale}
        row |= {"study": None, "experiment": None, "file": None}
        if experiment is not None:
            row |= {"study": experiment.study, "experiment": experiment.name, "file": experiment.file}
        rows.append({**row, "cases": [_plain(each) for each in one.evidence]})
    return rows


_BEHIND = ("confidence", "over", "competence", "n_documents", "n_seeds", "n_models")


def _plain(evidence: Evidence) -> dict[str, Any]:
    numbers = {key: getattr(evidence, key) for key in ("value", "low", "high")}
    behind = {key: getattr(evidence, key) for key in _BEHIND}
    behind["competence"] = str(evidence.competence) if evidence.competence is not None else None
    return {
        **{key: value if math.isfinite(value) else None for key, value in numbers.items()},
        "where": evidence.where,
        "key": evidence.key,
        **behind,
    }


def scores(findings: Sequence[Finding]) -> Scores:
    """The numbers for the tracking UI: how many of each verdict, and the number that decides each claim."""
    rows = [
        score
        for kind, verdicts in counts(findings).items()
        for score in bare_rows({f"{kind} {verdict}": count for verdict, count in verdicts.items()})
    ]
    for one in findings:
        if (case := one.decisive) is not None:
            report = f"{one.experiment.study}/{one.experiment.report}" if one.experiment else None
            ends = {} if case.low == case.high else {"repetitions": (case.low, case.high)}
            rows += number_rows("decided_by", case.value, intervals=ends, claim=one.claim.id, report=report)
    return Scores({"stage": "scorecard"}, tuple(rows))


def as_text(findings: Sequence[Finding]) -> str:
    """The scorecard for a terminal: each claim under its paper, and under it what each experiment says."""
    lines = []
    for paper, title in PAPERS.items():
        lines.append(title)
        own = (one for one in findings if one.claim.paper == paper)
        for claim, group in groupby(own, key=lambda one: one.claim):
            lines.append(f"  {claim.sentence}")
            for one in group:
                lines.append(f"    {one.verdict:<14}  {_number(one)}")
                lines += [f"    {'':<14}  {text}" for text in _small_print(one)]
        lines.append("")
    for kind, verdicts in counts(findings, every=False).items():
        said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        lines.append(f"{kind}: {said}")
    return "\n".join(lines)


def _number(finding: Finding) -> str:
    case = finding.decisive
    return f"{case}; expected {finding.claim.region}" if case else f"needs {finding.claim.scale}"


def _small_print(finding: Finding) -> list[str]:
    """What stands behind a measured number, in lines."""
    case, experiment = finding.decisive, finding.experiment
    if case is None or experiment is None:
        return [finding.why] if finding.why else []
    behind = ", ".join(filter(None, (experiment.scale, case.repetitions)))
    return [f"{experiment.study}/{experiment.report}: {behind}", *filter(None, (finding.why, finding.correction))]


def as_markdown(findings: Sequence[Finding], studies: Mapping[str, str]) -> str:
    """The scorecard as Markdown: a table a paper, a row a finding.

    Args:
        findings: of :func:`evaluate`.
        studies: a word on each study, by name.
    """
    lines = [f"- **{name}**: {words}" for name, words in studies.items()] + [""]
    for kind, verdicts in counts(findings, every=False).items():
        lines.append(f"- {kind}: {', '.join(f'{count} {verdict}' for verdict, count in verdicts.items())}")
    for paper, title in PAPERS.items():
        lines += ["", f"## {title}", "", "| claim | verdict | number | behind it |", "| --- | --- | --- | --- |"]
        for one in (one for one in findings if one.claim.paper == paper):
            claim, small = one.claim, "<br>".join(_small_print(one))
            cells = (f"{claim.sentence} ({claim.section}; {claim.kind})", one.verdict, _number(one), small)
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join([*lines, ""])


def write_scorecard(findings: Sequence[Finding], folder: Path, studies: Mapping[str, str]) -> None:
    """Write ``scorecard.html``, ``scorecard.md``, ``scorecard.json`` and ``scores.json``, whole or not at all.

    Args:
        findings: of :func:`evaluate`.
        folder: where to write.
        studies: a word on each study, by name.
    """
    with whole_folder(folder) as out:
        page = card_html(findings, PAPERS, counts(findings, every=False), studies)
        (out / "scorecard.html").write_text(page, encoding="utf-8")
        (out / "scorecard.md").write_text(as_markdown(findings, studies), encoding="utf-8")
        write_json(out / "scorecard.json", {"counts": counts(findings), "findings": as_rows(findings)})
        scores(findings).write(out / "scores.json")

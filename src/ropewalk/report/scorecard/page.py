"""The scorecard as a page: a verdict, a number and a sentence for each claim, under its paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ropewalk.report.html import render
from ropewalk.report.scorecard.verdict import POWER, Finding


def card_html(
    findings: Sequence[Finding],
    papers: Mapping[str, str],
    counts: Mapping[str, Mapping[str, int]],
    studies: Mapping[str, str],
) -> str:
    """The whole page, self-contained.

    Args:
        findings: what to show.
        papers: title of each paper, by the first part of its claims' names.
        counts: findings of each verdict, by kind of claim.
        studies: a word on each study, by name.
    """
    about: dict[str, Any] = {
        "findings": findings,
        "papers": papers,
        "counts": counts,
        "studies": studies,
        "power": POWER,
    }
    return render("scorecard", "Scorecard", heading="Scorecard: what of the three papers held up", **about)

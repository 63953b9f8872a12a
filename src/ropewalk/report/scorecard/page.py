"""The scorecard as a page: a verdict, a number and a sentence for each claim, under its paper."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from ropewalk.report.scorecard.claim import Finding
from ropewalk.report.tables import page

STYLE = """
<style>
.claim{display:grid;grid-template-columns:8.5em 1fr;gap:.1em 1em;padding:.7em 0;border-bottom:1px solid #ddd}
.claim>div{min-width:0;overflow-wrap:anywhere}
.claim small{white-space:normal;display:block}
.v{font-weight:600;border-radius:.3em;padding:.15em .5em;text-align:center;align-self:start;font-size:88%}
.reproduced{background:#cfead5;color:#10501f}.not-reproduced{background:#f6cfca;color:#7c1508}
.undecided{background:#f5e9c4;color:#5e4a00}.not-tried{background:#e6e6e6;color:#444}
.counts{display:flex;flex-wrap:wrap;gap:.6em;margin:1em 0}
.counts a{text-decoration:none}
details summary{cursor:pointer;color:#555;font-size:85%}
@media(max-width:38em){.claim{grid-template-columns:1fr}.v{justify-self:start}}
</style>
"""


def card_html(
    findings: Sequence[Finding], papers: Mapping[str, str], counts: Mapping[str, int], studies: Mapping[str, str]
) -> str:
    """The whole page, self-contained.

    Args:
        findings: what to show.
        papers: title of each paper, by the first part of its claims' names.
        counts: findings of each verdict.
        studies: a word on each study, by name.
    """
    words = (
        "<p>Every claim of the three papers that can be right or wrong, and what was measured of it here. A claim is "
        "<b>reproduced</b> where the whole interval of each of its cases lies where the claim puts it, <b>not "
        "reproduced</b> where that of one lies outside (at 95 % each; of many cases one may do so by chance), and else "
        "<b>undecided</b>. <b>Not tried</b> says what it takes. A verdict holds at the scale below it and says nothing "
        "of another. Every measured number names its place in a file of scores; the tables behind it lie beside that "
        "file.</p>"
    )
    about = "".join(f"<li><b>{html.escape(name)}</b>: {html.escape(text)}</li>" for name, text in studies.items())
    parts = [STYLE, words, f"<ul>{about}</ul>", counts_html(counts)]
    for paper, title in papers.items():
        own = [one for one in findings if one.claim.paper == paper]
        parts += [f"<h2>{html.escape(title)}</h2>", claims_html(own)]
    return page("Scorecard", "Scorecard: what of the three papers held up", "".join(parts))


def counts_html(counts: Mapping[str, int]) -> str:
    """How many findings of each verdict, as badges."""
    badges = (f"<span class='v {_slug(verdict)}'>{count} {verdict}</span>" for verdict, count in counts.items())
    return f"<div class=counts>{''.join(badges)}</div>"


def claims_html(findings: Sequence[Finding]) -> str:
    """A verdict, a sentence and the deciding number of each."""
    return "".join(map(_claim, findings))


def _claim(finding: Finding) -> str:
    claim, experiment, case = finding.claim, finding.experiment, finding.decisive
    cases = finding.evidence
    if case is None:
        number = f"needs {html.escape(claim.scale)}"
    else:
        more = f"; the deciding one of {len(cases)} cases" if len(cases) > 1 else ""
        number = f"<b>{html.escape(str(case))}</b> (expected: {html.escape(str(claim.region))}{more})"
    place = scale = every = ""
    if experiment is not None and case is not None:
        place = f"<small><code>{html.escape(experiment.file)}: {html.escape(case.key)}</code></small>"
        scale = f"<small>{html.escape(f'{experiment.study}/{experiment.name}: {experiment.scale}')}</small>"
    if len(cases) > 1:
        items = "".join(f"<li>{html.escape(str(one))}</li>" for one in cases)
        every = f"<details><summary>all {len(cases)} cases</summary><ul>{items}</ul></details>"
    return (
        f"<div class=claim><div class='v {_slug(finding.verdict)}'>{finding.verdict}</div>"
        f"<div>{html.escape(claim.sentence)} <span class=note>({html.escape(claim.section)})</span>"
        f"<small>{html.escape(claim.quantity)}: {number}</small>{scale}{place}{every}</div></div>"
    )


def _slug(verdict: str) -> str:
    return verdict.replace(" ", "-")

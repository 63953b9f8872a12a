"""Searches and what they found as a page: what was gained, over what, at which price, in words and tables."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.report.tables import bounds_text, page, verdict_class
from ropewalk.search.results import ORIGINAL, Comparison


def searches_html(
    comparison: Comparison,
    ranks: Mapping[float, pd.DataFrame],
    carried: pd.DataFrame,
    raced: pd.DataFrame,
    confidence: float,
) -> str:
    """What searches say, as one self-contained page."""
    title = "Searched ropes against hand-made ones"
    return page(title, title, "".join(_sections(comparison, ranks, carried, raced, f"{100 * confidence:g} %")))


def _sections(
    comparison: Comparison, ranks: Mapping[float, pd.DataFrame], carried: pd.DataFrame, raced: pd.DataFrame, share: str
) -> Iterator[str]:
    about = comparison.about
    documents = len(comparison.rows(ORIGINAL, comparison.lengths[0]))
    first = comparison.searches[0].best
    yield (
        "<p>ORoPE-style: of the ORoPE paper (AI Open 6, 2025) only the abstract could be read, so spaces and objective "
        "are derived from it and from published work around it, and its numbers are not claimed here.</p>"
        f"<p>No weights were trained. Each search tried ropes on {len(first['documents'])} documents of the split "
        f"search, its best ones were judged on the split selection, and what follows was measured on {documents} "
        f"documents of the split {about['split']}, which no search saw. The model was trained at "
        f"{about['train_length']:,} tokens. The objective of a document is the NLL of an answer that only the distant "
        f"context tells, plus half that of the tokens beyond the training length, each against YaRN as coded, in nats; "
        f"{html.escape(about['answers']['reason'])}. A rope is allowed if texts up to the training length cost no more "
        f"than a bound, by default what they cost with YaRN and 0.02 nats more.</p>"
        f"<p>Intervals are {share}: over documents by resampling them, with the seeds of a search averaged document by "
        f"document; over seeds by Student's t. Differences are paired. Green is better, red is worse, with an interval "
        f"that excludes zero; no colour is undecided.</p>"
    )
    said = "".join(f"<li>{words}</li>" for words in _words(comparison, ranks, carried, raced))
    yield f"<h2>In words</h2><ul>{said}</ul>"
    for factor, table in ranks.items():
        yield f"<h2>{factor:g} times the training length</h2>" + _standings_html(table, about["answers"]["retrieval"])
    yield "<h2>Searches at equal budget</h2>" + _rivals_html(raced)
    yield "<h2>At other lengths</h2>" + _transfer_html(carried)


def _words(
    comparison: Comparison, ranks: Mapping[float, pd.DataFrame], carried: pd.DataFrame, raced: pd.DataFrame
) -> Iterator[str]:
    for factor, table in ranks.items():
        yield _headline(factor, table)
    for factor in ranks:
        yield from _rival_words(factor, raced[raced["factor"] == factor])
    for factor in ranks:
        yield _transfer_words(factor, carried[carried["factor"] == factor])
    yield from _shape_words(comparison)


def _headline(factor: float, table: pd.DataFrame) -> str:
    made = table[~table["found"] & (table["method"] != ORIGINAL)].iloc[0]
    found = table[table["found"]]
    best = found.iloc[0]
    named = f"{best['method']} ({_seeds(best['seeds'])})"
    verdict = {
        "yes": "is better than",
        "no": "is worse than",
        "open": "cannot be told apart from",
    }[str(best["better"])]
    better = int((found["better"] == "yes").sum())
    answers = (
        f" It gets {best['accuracy']:.0%} of the answers' tokens right, the other {made['accuracy']:.0%}."
        if not math.isnan(best["accuracy"])
        else ""
    )
    return (
        f"<b>At {factor:g} times the training length</b>, the best searched rope, {named}, {verdict} the best "
        f"hand-made one, {made['method']}: {_interval(best, 'difference')} nats.{answers} Short texts cost "
        f"{best['short_cost']:+.3f} nats a token with it and {made['short_cost']:+.3f} with {made['method']}. {better} "
        f"of {len(found)} kinds of search beat every hand-made rope."
    )


def _rival_words(factor: float, raced: pd.DataFrame) -> Iterator[str]:
    if len(raced) < 2:
        return
    first, others = raced.iloc[0], raced.iloc[1:]
    parts = []
    for row in others.to_dict("records"):
        verdict = {"yes": "better", "no": "worse", "open": "undecided"}[str(row["better"])]
        overtaken = (
            f"reached by {first['method']} after {row['overtakes']:.0f} trials"
            if math.isfinite(row["overtakes"])
            else f"not reached by {first['method']}"
        )
        parts.append(f"{row['method']} {_interval(row, 'difference')} ({verdict}; on search documents {overtaken})")
    yield (
        f"At {factor:g} times, with {first['trials']:.0f} trials and {_seeds(first['seeds'])} each, on the test "
        f"documents and against {first['method']}: {'; '.join(parts)}."
    )


def _transfer_words(factor: float, carried: pd.DataFrame) -> str:
    others = carried[carried["at"] != factor]
    if others.empty:
        return f"What was found for {factor:g} times was measured at no other length."
    counts = others.groupby("at")["better"].value_counts().unstack(fill_value=0)
    said = [
        f"at {float(str(at)):g} times {row.get('yes', 0)} better, {row.get('no', 0)} worse, "
        f"{row.get('open', 0)} undecided"
        for at, row in counts.iterrows()
    ]
    return (
        f"Ropes found for {factor:g} times, against the best hand-made rope of any factor at other lengths: "
        f"{'; '.join(said)}."
    )


def _shape_words(comparison: Comparison) -> Iterator[str]:
    for factor in comparison.factors:
        bent = {
            method: sum(bool(np.any(np.diff(np.log(one.rope.factors)) < -1e-9)) for one in group)
            for method, group in comparison.methods(factor, found=True).items()
        }
        some = [f"{count} of {method}" for method, count in bent.items() if count]
        if some:
            yield (
                f"Not monotone at {factor:g} times, with a slower pair divided by less than a faster one: "
                f"{', '.join(some)}."
            )


def _standings_html(table: pd.DataFrame, answers: str) -> str:
    rows = []
    for row in table.to_dict("records"):
        answer = "" if answers == "none" else f"<td>{row['answer']:.3f}</td><td>{row['accuracy']:.0%}</td>"
        rows.append(
            f"<tr><td>{_name(row)}</td><td>{_cell(row, 'objective')}</td>"
            f"<td{verdict_class(row)}>{_cell(row, 'difference')}</td><td>{row['tail']:.3f}</td>{answer}"
            f"<td>{_cell(row, 'short_cost')}</td></tr>"
        )
    answer = "" if answers == "none" else "<th>answer<br><small>nats</small></th><th>answers right</th>"
    return (
        "<div class=wide><table><thead><tr><th>rope</th><th>objective<br><small>nats against YaRN</small></th>"
        "<th>against the best hand-made<br><small>nats</small></th><th>beyond the training length<br>"
        f"<small>nats a token</small></th>{answer}<th>cost on short texts<br><small>nats a token</small></th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _rivals_html(raced: pd.DataFrame) -> str:
    rows = [
        f"<tr><td>{row['method']} · {row['factor']:g}x</td><td>{row['seeds']}</td><td>{row['trials']:.0f}</td>"
        f"<td>{row['documents']:.0f}</td><td>{row['seconds']:.0f}</td><td>{row['proposing']:.0f}</td>"
        f"<td>{_cell(row, 'found')}</td><td>{_cell(row, 'tested')}</td>"
        f"<td{verdict_class(row)}>{_cell(row, 'difference')}</td></tr>"
        for row in raced.to_dict("records")
    ]
    first = html.escape(str(raced.iloc[0]["method"]))
    return (
        "<p>Means over seeds. Found: the best objective on the search documents. Tested: that of the chosen rope on "
        "the test documents. The first points, hand-made ropes where the space has them, count as trials of every "
        "search.</p>"
        "<div class=wide><table><thead><tr><th>search</th><th>seeds</th><th>trials</th><th>documents read</th>"
        "<th>seconds</th><th>of these proposing</th><th>found<br><small>nats against YaRN</small></th>"
        f"<th>tested<br><small>nats against YaRN</small></th><th>tested, against {first}</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _transfer_html(carried: pd.DataFrame) -> str:
    lengths = sorted(carried["at"].unique())
    against = dict(zip(carried["at"], carried["against"], strict=True))
    head = "".join(f"<th>{at:g}x<br><small>against {against[at]}</small></th>" for at in lengths)
    rows = []
    for (factor, method), group in carried.groupby(["factor", "method"], sort=False):
        by_length = {row["at"]: row for row in group.to_dict("records")}
        cells = "".join(
            f"<td{verdict_class(by_length[at])}>{_cell(by_length[at], 'difference')}</td>" for at in lengths
        )
        rows.append(f"<tr><td>{method}, found for {factor:g}x</td>{cells}</tr>")
    return (
        "<p>The objective at each length, against the hand-made rope, of any factor, that does best there on these "
        "very documents.</p>"
        f"<div class=wide><table><thead><tr><th>rope</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _name(row: Mapping[Any, Any] | pd.Series) -> str:
    seeds = f" <small>{_seeds(row['seeds'])}</small>" if row["found"] else ""
    return f"{'<b>' if row['found'] else ''}{html.escape(str(row['method']))}{'</b>' if row['found'] else ''}{seeds}"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def _interval(row: Mapping[Any, Any] | pd.Series, name: str) -> str:
    return f"{row[name]:+.3f} {bounds_text(row, name, '+.3f') or '(too few for an interval)'}"


def _cell(row: Mapping[Any, Any], name: str) -> str:
    if name not in row or math.isnan(row[name]):
        return ""
    bounds = bounds_text(row, name, "+.3f")
    return f"{row[name]:+.3f}" + (f"<br><small>{bounds}</small>" if bounds else "")

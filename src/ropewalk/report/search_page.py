"""Searches and what they found as a page: what was gained, over what, at which price, in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.report.html import bounds_text, interval_text, render
from ropewalk.report.tables import grouped
from ropewalk.search.results import ORIGINAL, Comparison


def searches_html(
    comparison: Comparison,
    ranks: Mapping[float, pd.DataFrame],
    carried: pd.DataFrame,
    raced: pd.DataFrame,
    confidence: float,
) -> str:
    """What searches say, as one self-contained page."""
    answered = comparison.about["answers"]["retrieval"] != "none"
    against = dict(zip(carried["at"], carried["against"], strict=True))
    return render(
        "search",
        "Searched ropes against hand-made ones",
        about=comparison.about,
        answered=answered,
        confidence=confidence,
        searched=len(comparison.searches[0].best["documents"]),
        documents=len(comparison.rows(ORIGINAL, comparison.lengths[0])),
        findings=list(_words(comparison, ranks, carried, raced)),
        standings={factor: table.to_dict("records") for factor, table in ranks.items()},
        rivals=raced.to_dict("records"),
        lengths=[f"{at:g}x\nagainst {against[at]}" for at in sorted(against)],
        transfer=grouped(carried.sort_values("at", kind="stable"), "method", "factor"),
        seeds=_seeds,
    )


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
        f"**At {factor:g} times the training length**, the best searched rope, {named}, {verdict} the best "
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


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def _interval(row: Mapping[Any, Any] | pd.Series, name: str) -> str:
    return interval_text(row, name) + ("" if bounds_text(row, name, "") else " (too few for an interval)")

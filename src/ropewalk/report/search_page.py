"""Searches and what they found as a page: what was gained, over what, at which price, in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.report.html import bounds_text, interval_text, render
from ropewalk.report.tables import grouped
from ropewalk.search.comparison import BY_HAND, WITHIN, Comparison
from ropewalk.search.effort import bounds, replacing, rivals
from ropewalk.search.standings import by_model, differences, resonant, standings, transfer
from ropewalk.search.value import REFERENCE


@dataclass(frozen=True)
class Tables:
    """What a comparison says, as tables."""

    standings: Mapping[float, pd.DataFrame]
    """by factor"""
    differences: pd.DataFrame
    rivals: pd.DataFrame
    replacing: pd.DataFrame
    transfer: pd.DataFrame
    resonant: pd.DataFrame

    @classmethod
    def of(cls, compared: Comparison, confidence: float) -> Tables:
        """All of them, with intervals of a confidence."""
        return cls(
            {factor: standings(compared, factor, confidence) for factor in compared.factors},
            differences(compared, confidence),
            rivals(compared, confidence),
            replacing(compared, confidence),
            transfer(compared, confidence),
            resonant(compared, confidence),
        )


def searches_html(compared: Comparison, tables: Tables, confidence: float) -> str:
    """What searches say, as one self-contained page."""
    about, carried = compared.first.about, tables.transfer
    against = dict(zip(carried["at"], carried["against"], strict=True))
    return render(
        "search",
        "Searched ropes against hand-made ones",
        about=about,
        answered=about["answers"]["retrieval"] != "none",
        confidence=confidence,
        reference=compared.reference,
        anchor=REFERENCE,
        within=WITHIN,
        models=compared.all_models,
        counted=len(compared.models),
        searched=len(compared.first.searches[0].best["documents"]),
        documents=compared.documents,
        findings=list(_words(compared, tables)),
        standings={factor: table.to_dict("records") for factor, table in tables.standings.items()},
        each={factor: by_model(compared, factor) for factor in compared.factors},
        rivals=tables.rivals.to_dict("records"),
        replacing=tables.replacing.to_dict("records"),
        resonant=[] if tables.resonant.empty else grouped(tables.resonant, "method"),
        lengths=[f"{at:g}x\nagainst {against[at]}" for at in sorted(against)],
        transfer=grouped(carried.sort_values("at", kind="stable"), "method", "factor"),
        seeds=_seeds,
        evaluations=_evaluations,
    )


def _words(compared: Comparison, tables: Tables) -> Iterator[str]:
    yield from _ability_words(compared)
    for factor, table in tables.standings.items():
        yield _headline(factor, table)
        yield from _tuned_words(compared, factor, tables)
    for factor in compared.factors:
        yield from _rival_words(factor, tables.rivals[tables.rivals["factor"] == factor])
    for factor in compared.factors:
        yield _transfer_words(factor, tables.transfer[tables.transfer["factor"] == factor])
    yield from _bound_words(compared)
    yield from _shape_words(compared)


def _ability_words(compared: Comparison) -> Iterator[str]:
    unable = [model for model in compared.all_models if not model.able]
    for model in unable:
        counts = "counts in no interval" if len(unable) < len(compared.all_models) else "decides nothing"
        yield f"**{model.name} {counts}**: {model.about['answers']['reason']}."


def _headline(factor: float, table: pd.DataFrame) -> str:
    made, best = table[table["group"].isin(["as coded", BY_HAND])].iloc[0], table[table["group"] == "found"].iloc[0]
    found = table[table["group"] == "found"]
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
        f"**At {factor:g} times the training length**, the best searched rope, {best['method']} "
        f"({_seeds(best['seeds'])}), {verdict} the best hand-made one, {made['method']} ({made['group']}): "
        f"{_interval(best, 'difference')} nats.{answers} Short texts cost {best['short_cost']:+.3f} nats a token with "
        f"it and {made['short_cost']:+.3f} with {made['method']}. {better} of {len(found)} kinds of search beat every "
        "hand-made rope."
    )


def _tuned_words(compared: Comparison, factor: float, tables: Tables) -> Iterator[str]:
    tuned = [model.tuned(factor) for model in compared.models]
    if None in tuned:
        return
    chosen = ", ".join(f"{one.contestant.method} ({one.best['origin']})" for one in tuned if one is not None)
    less, until = tables.differences, tables.replacing
    less = less[(less["factor"] == factor) & (less["against"] == BY_HAND)]
    until = until[(until["factor"] == factor) & (until["against"] == BY_HAND)]
    for row, took in zip(less.to_dict("records"), until.to_dict("records"), strict=True):
        yield (
            f"At {factor:g} times, {row['method']} is on the test documents {_interval(row, 'difference')} nats from "
            f"the rope tuned by hand, {chosen}. On the search documents it comes within {WITHIN:g} nats of that after "
            f"{_evaluations(took)}, {took['reached']:.0%} of searches ever; tuning by hand took {took['by_hand']:.0f}."
        )


def _rival_words(factor: float, raced: pd.DataFrame) -> Iterator[str]:
    raced = raced[raced["group"] == "found"]
    if len(raced) < 2:
        return
    first, others = raced.iloc[0], raced.iloc[1:]
    parts = []
    for row in others.to_dict("records"):
        if pd.isna(row["tested_difference"]):
            continue
        verdict = {"yes": "better", "no": "worse", "open": "undecided"}[str(row["better"])]
        equal = ", ".join(
            f"{interval_text(row, f'equal_{over}')} at as many {over}" for over in ("trials", "documents", "seconds")
        )
        parts.append(f"{row['method']} {_interval(row, 'tested_difference')} ({verdict}; on search documents {equal})")
    took = "; ".join(
        f"{row['method']} {row['trials']:.0f} trials, {row['documents']:.0f} documents read, {row['seconds']:.0f} s"
        for row in raced.to_dict("records")
    )
    yield f"At {factor:g} times, each search took: {took}."
    if parts:
        yield f"At {factor:g} times, on the test documents and against {first['method']}: {'; '.join(parts)}."


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


def _bound_words(compared: Comparison) -> Iterator[str]:
    places: dict[str, list[str]] = {}
    for (method, factor), name, bound, count, of in bounds(compared):
        places.setdefault(method, []).append(f"{name} {bound:.3g} ({count} of {of} at {factor:g}x)")
    if places:
        said = "; ".join(f"{method}: {', '.join(each)}" for method, each in places.items())
        yield f"Chosen ropes that lie on a bound of their space, beyond which better ones may lie: {said}."


def _shape_words(compared: Comparison) -> Iterator[str]:
    for factor in compared.factors:
        bent = {
            kind[0]: sum(
                bool(np.any(np.diff(np.log(one.rope.factors)) < -1e-9))
                for model in compared.models
                for one in model.kinds[kind]
            )
            for kind in compared.kinds(factor, "found")
        }
        some = [f"{count} of {method}" for method, count in bent.items() if count]
        if some:
            yield (
                f"Not monotone at {factor:g} times, with a slower pair divided by less than a faster one: "
                f"{', '.join(some)}."
            )


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def _evaluations(row: Mapping[Any, Any]) -> str:
    """How many evaluations it took, in words."""
    if not math.isfinite(row["evaluations"]):
        return "more evaluations than it had"
    return f"{interval_text(row, 'evaluations', '.0f')} evaluations"


def _interval(row: Mapping[Any, Any] | pd.Series, name: str) -> str:
    return interval_text(row, name) + ("" if bounds_text(row, name, "") else " (too few for an interval)")

"""A sweep of the base as a page: which law held, which did not, in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from ropewalk.intervals import Interval
from ropewalk.report.html import bounds_text, interval_text, render
from ropewalk.report.predictions import LAWS
from ropewalk.report.scaling_figures import base_text, key_text, usual
from ropewalk.rope import theory
from ropewalk.rope.prediction import BOUNDS, Setting, limits
from ropewalk.scaling.cells import Key
from ropewalk.scaling.measured import Measured, alike
from ropewalk.scaling.sweep import Sweep
from ropewalk.scaling.tables import far_difference, widest

CLOSE = 0.25
"""Share of a prediction by which a limit may miss it and still be called close."""


def sweep_html(sweep: Sweep) -> str:
    """What a sweep says, as one self-contained page."""
    setting = sweep.setting
    length, steps = usual(sweep.keys)
    return render(
        "scaling",
        "Scaling laws: measured and predicted limits",
        setting=setting,
        options=sweep.options,
        curves=sweep.measured[0].cell.curves,
        cells=len(sweep.measured),
        base=base_text(setting.base),
        length=length,
        steps=steps,
        thresholds=[f"{value:,.1f}" for value in theory.small_base_thresholds(setting.train_length)],
        several=sum(sweep.bases["seeds"] > 1),
        findings=list(_words(sweep)),
        bases=_base_rows(sweep),
        errors=sweep.errors.reset_index(names="law").to_dict("records"),
        laws=LAWS,
        slopes=[vars(slope) for slope in sweep.slopes],
        tuning=sweep.tuning.to_dict("records"),
        copied=_copied_rows(sweep),
        log_scaled=sweep.log_scaling.to_dict("records"),
        finite=math.isfinite,
        dropped=_dropped,
        factor=_factor,
    )


def _words(sweep: Sweep) -> Iterator[str]:
    """The findings, each a sentence that says what held up and what did not; bold is between two pairs of asterisks."""
    yield from _predictor_words(sweep)
    yield from _slope_words(sweep)
    yield from _base_words(sweep)
    for row in sweep.tuning.to_dict("records"):
        if math.isfinite(row["ratio"]):
            predicted = f"{row['predicted']:.2f}" if math.isfinite(row["predicted"]) else "nothing"
            yield (
                f"Tuning base {base_text(row['new_base'])} at {row['to_length']:,} tokens instead of "
                f"{row['from_length']:,} moves its limit by a factor of {row['ratio']:.2f}{_bounds(row, '')}"
                f"{_dropped(row['dropped'])}; the law says {predicted}. Seeds: {row['seeds']}."
            )
    yield from _retrieval_words(sweep)
    columns = ["new_base", "tune_length", "steps"]
    for _, rows in sweep.log_scaling.groupby(columns) if len(sweep.log_scaling) else ():
        key = Key.of({**rows.iloc[0].to_dict(), "log_scaling": False})
        said = [
            f"{row['difference']:+.3f}{_bounds(row, 'difference', 3)} at {row['start']:,} to {row['stop']:,} tokens"
            for row in rows.to_dict("records")
        ]
        yield f"Log-scaled attention changes the NLL of {key_text(key, sweep.keys)} by {'; '.join(said)}."


def _predictor_words(sweep: Sweep) -> Iterator[str]:
    errors = sweep.errors
    if not len(errors):
        return
    missed = {str(law): row for law, row in errors.to_dict("index").items() if law not in BOUNDS}
    best, *others = missed
    named = {law: f"{law} (by a factor of {_factor(row['factor'])})" for law, row in missed.items()}
    worse = [named[law] for law in others if missed[law]["worse"]]
    even = [f"{named[law]}{_carried(missed[law])}" for law in others if not missed[law]["worse"]]
    if even:
        yield (
            f"**No single predictor of the walls is best**: {named[best]} misses them least, and cannot be told "
            f"apart from {'; '.join(even)}."
        )
    else:
        yield f"**The best predictor of the walls** misses them least, whichever base is left out: {named[best]}."
    if worse:
        yield (
            "Laws of walls that fit worse, with an interval over documents that excludes zero whichever base is left "
            f"out: {', '.join(worse)}."
        )
    yield from _ratio_words(sweep, "hard wall", "Measured wall over the law's (discrete)")
    yield from _ratio_words(
        sweep, "middle", "In the middle the law says the tuning length and no more; measured limit over that"
    )


def _carried(row: Mapping[Any, Any]) -> str:
    """Which bases a lead hangs on."""
    if not row["carriers"]:
        return ""
    if row["bases"] == 1:
        return ", behind at one base, which is too few"
    return f", which falls behind only with {' and '.join(map(base_text, row['carriers']))} among the bases"


def _ratio_words(sweep: Sweep, regime: str, what: str) -> Iterator[str]:
    said, single = [], []
    for row in sweep.bases[(sweep.bases["regime"] == regime) & ~sweep.bases["log_scaling"]].to_dict("records"):
        if math.isnan(row["predicted"]):
            continue
        name = _words_of(row, sweep)
        if math.isinf(row["limit"]):
            said.append(f"{name} {_tokens(row['limit'])}{_censored(row)}")
            continue
        ratio = {"limit": row["limit"] / row["predicted"]}
        ratio |= {end: row[f"widest_{end}"] / row["predicted"] for end in ("low", "high")}
        said.append(f"{name} {ratio['limit']:.2f}{_bounds(ratio, '')}, {_closeness(ratio)}")
        if row["seeds"] == 1:
            single.append(name)
    if said:
        seeds = f" One seed only: {'; '.join(single)}." if single else ""
        yield f"{what}; close is within {100 * CLOSE:g} %: {'; '.join(said)}.{seeds}"


def _censored(row: Mapping[Any, Any]) -> str:
    """Of how many seeds a limit was never reached, where not of all."""
    return f" ({row['censored']} of {row['seeds']} seeds)" if 0 < row["censored"] < row["seeds"] else ""


def _closeness(ratio: Mapping[str, float]) -> str:
    """What an interval of measured over predicted says of being close."""
    if not math.isfinite(ratio["low"]):
        return "undecided"
    if ratio["low"] >= 1 - CLOSE and ratio["high"] <= 1 + CLOSE:
        return "close"
    return "**not close**" if ratio["low"] > 1 + CLOSE or ratio["high"] < 1 - CLOSE else "undecided"


def _slope_words(sweep: Sweep) -> Iterator[str]:
    said = {"agrees": "lies in both", "disagrees": "lies in **neither**", "undecided": "lies in one of them"}
    for slope in sweep.slopes:
        if math.isfinite(slope.low):
            points = "the original base and those with a wall" if slope.original else "the bases with a wall"
            values = vars(slope)
            yield (
                f"Tuned at {slope.tune_length:,} tokens, the limit grows with the base to the power {slope.value:.3f} "
                f"over {points} ({slope.bases}): interval of the regression{_bounds(values, '', 3)}, over documents"
                f"{_bounds(values, 'documents', 3)}{_dropped(slope.dropped)}; the law's {slope.discrete:.3f} "
                f"{said[slope.verdict]}."
            )


def _base_words(sweep: Sweep) -> Iterator[str]:
    """Which base is worst, and whether small ones are ordered as the law wants."""
    setting, found = sweep.setting, sweep.keys
    by_tuning: dict[tuple[int, int], list[Key]] = {}
    for key in found:
        if not key.log_scaling:
            by_tuning.setdefault((key.tune_length, key.steps), []).append(key)
    cost = {Key.of(row): row["far_degradation"] for row in sweep.bases.to_dict("records")}
    for (tuned, steps), keys in by_tuning.items():
        if len(keys) < 3:
            continue
        runner_up, worst = sorted(keys, key=lambda key: cost[key])[-2:]
        apart = far_difference(found[worst], found[runner_up], sweep.options)
        critical = theory.critical_base(setting.base, setting.train_length, tuned)
        surely = "" if apart.excludes_zero else " (undecided)"
        yield (
            f"Tuned at {tuned:,} tokens for {steps:,} steps, the worst base in the second half of the texts is "
            f"{base_text(worst.new_base)}{surely}, by {_interval(apart)} nats a token from "
            f"{base_text(runner_up.new_base)} (seeds in common: {_shared(found[worst], found[runner_up])}); by the "
            f"law it is the critical base, {critical:,.0f}."
        )
        small = [key for key in keys if found[key][0].cell.setting.regime == "soft"]
        said = []
        for smaller, larger in pairwise(small):
            more = far_difference(found[larger], found[smaller], sweep.options)
            verdict = ("holds" if more.mean > 0 else "**does not hold**") if more.excludes_zero else "is undecided"
            seeds = _shared(found[larger], found[smaller])
            pair = f"{base_text(larger.new_base)} less {base_text(smaller.new_base)}"
            said.append(f"{pair} {_interval(more)}, {verdict} (seeds in common: {seeds})")
        yield from _alike_words(sweep, small, keys)
        if said:
            yield (
                "Among small bases the law wants a slower decay for a smaller base; cost in the second half of the "
                f"texts (nats a token): {'; '.join(said)}."
            )


def _alike_words(sweep: Sweep, small: Sequence[Key], keys: Sequence[Key]) -> Iterator[str]:
    """Which small bases the limit does not tell from each other and from the middle."""
    rows = {Key.of(row): row for row in sweep.bases.to_dict("records")}
    middle = [key for key in keys if rows[key]["regime"] == "middle"]
    pairs = [*combinations(small, 2), *((one, other) for one in small for other in middle)]
    said = [
        " and ".join(base_text(key.new_base) for key in pair)
        for pair in pairs
        # Without an interval nothing is told apart.
        if not _apart(*({end: rows[key][f"widest_{end}"] for end in ("low", "high")} for key in pair))
    ]
    if said:
        yield (
            f"By the limit alone small bases ({', '.join(base_text(key.new_base) for key in small)}) cannot all be "
            f"told from each other and from the middle: the intervals of {'; '.join(said)} overlap."
        )


def _apart(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one["high"] < other["low"] or other["high"] < one["low"]


def _dropped(share: float) -> str:
    """How many resamples an interval leaves out; nothing where none."""
    if not share > 0:
        return ""
    return f" (without the {_percent(share)} of resamples in which a limit was never reached)"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def _shared(group: Sequence[Measured], other: Sequence[Measured]) -> int:
    return len(alike(group, other)[0])


def _interval(value: Interval) -> str:
    bounds = f" [{value.low:+.3f}, {value.high:+.3f}]" if math.isfinite(value.low) else ""
    return f"{value.mean:+.3f}{bounds}"


def _retrieval_words(sweep: Sweep) -> Iterator[str]:
    """Where low perplexity and copying part."""
    verdicts: dict[str, list[str]] = {"part": [], "together": [], "open": []}
    for row in _copied(sweep):
        verdicts[row["verdict"]].append(f"{_words_of(row, sweep)} ({_range(row['copied'], row['lost'])})")
    said = {
        "part": "Copying surely ends before perplexity breaks for base",
        "together": "Perplexity surely breaks first for base",
        "open": "The lengths tested leave it open for base",
    }
    words = [f"{said[verdict]} {'; '.join(names)}" for verdict, names in verdicts.items() if names]
    if words:
        yield (
            f"Perplexity and retrieval{' **part**' if verdicts['part'] else ''}. {'. '.join(words)}. In brackets "
            "the lengths of text, in tokens, between which copying ends; a verdict needs the whole bracket, with its "
            "interval, on one side of that of perplexity."
        )


def _range(low: float, high: float) -> str:
    return f"beyond {low:,.0f}" if math.isinf(high) else f"{low:,.0f} to {high:,.0f}"


def _copied(sweep: Sweep) -> list[dict[Any, Any]]:
    """Between which lengths copying ends and where perplexity breaks, by base, with a verdict from the intervals."""
    broken = {Key.of(row): row for row in sweep.bases.to_dict("records")}
    rows = []
    for row in sweep.retrieval.to_dict("records"):
        breaks, ends = broken[Key.of(row)], widest(row)
        if row["log_scaling"]:
            continue
        # Comparisons with a bound that is not known are false.
        verdict = "open"
        if ends["widest_high"] < breaks["widest_low"]:
            verdict = "part"
        elif ends["widest_low"] > breaks["widest_high"]:
            verdict = "together"
        rows.append({**row, "breaks": breaks, "verdict": verdict})
    return rows


def _retrieval_bound(setting: Setting) -> float:
    """The text length (tokens) up to which both bounds let a string be copied; infinite where neither says anything.

    Men et al. speak of a distance, and a copied string is twice as long.
    """
    predicted = limits(setting)
    law, distance = predicted["discrete"], predicted["similarity"]
    return min(math.inf if law is None else law, math.inf if distance is None else 2 * distance)


def _words_of(row: dict[Any, Any], sweep: Sweep) -> str:
    return key_text(Key.of(row), sweep.keys).removeprefix("base ")


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _tokens(value: float) -> str:
    return "beyond the longest text" if math.isinf(value) else f"{value:,.0f}"


def _bounds(row: Mapping[Any, Any], name: str, digits: int = 2) -> str:
    """An interval behind a number; nothing where there is none."""
    return f" {bounds_text(row, name, f'.{digits}f')}".rstrip()


def _base_rows(sweep: Sweep) -> list[list[str]]:
    others = sweep.limits.set_index(["cell", "rule"])["limit"]
    rows = []
    for row in sweep.bases.to_dict("records"):
        key = Key.of(row)
        cells = [one.cell.name for one in sweep.keys[key]]
        price = row.get("short_context_price", math.nan)
        rows.append(
            [
                key_text(key, sweep.keys),
                row["regime"],
                f"{_tokens(row['limit'])}{_censored(row)}\n{_bounds(row, '', 0)}\n{_over_seeds(row)}",
                *(
                    _tokens(float(np.exp(np.mean(np.log([others[cell, rule] for cell in cells])))))
                    for rule in sweep.options.rules[1:]
                ),
                "none" if math.isnan(row["predicted"]) else f"{row['predicted']:,.0f}",
                interval_text(row, "far_degradation", ".3f", "\n"),
                f"{price:+.3f}\n{_bounds(row, 'short_context_price', 3)}" if math.isfinite(price) else "",
            ]
        )
    return rows


def _over_seeds(row: Mapping[Any, Any]) -> str:
    return f"seeds{_bounds(row, 'seeds', 0)}" if math.isfinite(row["seeds_low"]) else ""


def _copied_rows(sweep: Sweep) -> list[list[str]]:
    rows = []
    for row in _copied(sweep):
        setting = sweep.keys[Key.of(row)][0].cell.setting
        bound = _retrieval_bound(setting)
        law, distance = (limits(setting)[name] for name in ("discrete", "similarity"))
        over = [row[name] / bound for name in ("copied", "lost")]
        rows.append(
            [
                key_text(Key.of(row), sweep.keys),
                f"{_range(row['copied'], row['lost'])}\n{_bounds(row, '', 0)}\n{_over_seeds(row)}",
                f"{_tokens(row['breaks']['limit'])}\n{_bounds(row['breaks'], '', 0)}",
                "none" if law is None else f"{law:,.0f}",
                "" if distance is None else f"{2 * distance:,.0f}",
                f"{over[0]:.2f} to {over[1]:.2f}" if math.isfinite(over[1]) and math.isfinite(bound) else "",
            ]
        )
    return rows

"""A sweep of the base as a page: which law held, which did not, in words and tables."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from ropewalk.intervals import Interval
from ropewalk.report.prediction import LAWS
from ropewalk.report.scaling_figures import base_text, key_text, usual
from ropewalk.report.tables import page
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
    title = "Scaling laws: measured and predicted limits"
    return page(title, title, "".join(_sections(sweep)))


def _sections(sweep: Sweep) -> Iterator[str]:
    setting, options = sweep.setting, sweep.options
    curves, share = sweep.measured[0].cell.curves, f"{100 * options.confidence:g} %"
    length, steps = usual(sweep.keys)
    thresholds = ", ".join(f"{value:,.1f}" for value in theory.small_base_thresholds(setting.train_length))
    yield (
        f"<p>One model, pre-trained at {setting.train_length:,} tokens with base {base_text(setting.base)} and head "
        f"dimension {setting.rotary_dim}, tuned with other bases ({len(sweep.measured)} cells; at {length:,} "
        f"tokens for {steps:,} steps where nothing else is said), and read to {curves.length:,} tokens on "
        f"{len(curves.documents)} held-out documents. The law (arXiv 2310.05209): critical dimension "
        f"{setting.critical_dimension} of {setting.rotary_dim}; bases below {thresholds} are small ones for tuning at "
        f"the pre-training length, ever better; those above the critical base hit a wall.</p>"
        f"<p>A limit is the first position where reading everything costs more than {options.rules[0]} against reading "
        f"only the last half to whole tuning length, as a mean over {options.smoothing} positions and all documents. "
        f"Intervals are {share}: over documents by resampling them for all cells together; for the "
        f"{sum(sweep.bases['seeds'] > 1)} of {len(sweep.bases)} rows with several seeds of the tuning (other batches, "
        f"same pre-trained weights) also over seeds, by Student's t of the logarithm, and verdicts go by what both "
        f"cover together. With one seed, what another would change is not known. A resample is noisier than the "
        f"whole, and a noisy curve crosses a threshold sooner: intervals over documents lean to the early side. What "
        f"compares two bases is paired on the documents and seeds that both have.</p>"
    )
    yield f"<h2>In words</h2><ul>{''.join(f'<li>{words}</li>' for words in _words(sweep))}</ul>"
    yield "<h2>Limit by base</h2>" + _base_html(sweep)
    if len(sweep.errors):
        yield "<h2>Predictors, best first</h2>" + _error_html(sweep)
    if sweep.slopes:
        yield "<h2>Slope of the logarithm of the limit over that of the base</h2>" + _slope_html(sweep)
    if len(sweep.tuning):
        yield "<h2>Longer tuning texts</h2>" + _tuning_html(sweep)
    if len(sweep.retrieval):
        yield "<h2>Copying against perplexity</h2>" + _copied_html(sweep)
    if len(sweep.log_scaling):
        yield "<h2>Log-scaled attention</h2>" + _log_html(sweep)


def _words(sweep: Sweep) -> Iterator[str]:
    """The findings, each a sentence that says what held up and what did not."""
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
            f"{row['difference']:+.3f}{_bounds(row, 'difference_', 3)} at {row['start']:,} to {row['stop']:,} tokens"
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
            f"<b>No single predictor of the walls is best</b>: {named[best]} misses them least, and cannot be told "
            f"apart from {'; '.join(even)}."
        )
    else:
        yield f"<b>The best predictor of the walls</b> misses them least, whichever base is left out: {named[best]}."
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
    return "<b>not close</b>" if ratio["low"] > 1 + CLOSE or ratio["high"] < 1 - CLOSE else "undecided"


def _slope_words(sweep: Sweep) -> Iterator[str]:
    said = {"agrees": "lies in both", "disagrees": "lies in <b>neither</b>", "undecided": "lies in one of them"}
    for slope in sweep.slopes:
        if math.isfinite(slope.low):
            points = "the original base and those with a wall" if slope.original else "the bases with a wall"
            values = vars(slope)
            yield (
                f"Tuned at {slope.tune_length:,} tokens, the limit grows with the base to the power {slope.value:.3f} "
                f"over {points} ({slope.bases}): interval of the regression{_bounds(values, '', 3)}, over documents"
                f"{_bounds(values, 'documents_', 3)}{_dropped(slope.dropped)}; the law's {slope.discrete:.3f} "
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
            verdict = ("holds" if more.mean > 0 else "<b>does not hold</b>") if more.excludes_zero else "is undecided"
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
            f"Perplexity and retrieval{' <b>part</b>' if verdicts['part'] else ''}. {'. '.join(words)}. In brackets "
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
    return html.escape(key_text(Key.of(row), sweep.keys).removeprefix("base "))


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _tokens(value: float) -> str:
    return "beyond the longest text" if math.isinf(value) else f"{value:,.0f}"


def _bounds(row: dict[Any, Any], name: str, digits: int = 2) -> str:
    low, high = (row[f"{name}{end}"] for end in ("low", "high"))
    if not (math.isfinite(low) or math.isfinite(high)):
        return ""
    return f" [{low:.{digits}f}, {'∞' if math.isinf(high) else f'{high:.{digits}f}'}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _small(text: str) -> str:
    return f"<br><small>{text.strip()}</small>" if text.strip() else ""


def _base_html(sweep: Sweep) -> str:
    others = sweep.limits.set_index(["cell", "rule"])["limit"]
    rows = []
    for row in sweep.bases.to_dict("records"):
        key = Key.of(row)
        seeds = f"seeds{_bounds(row, 'seeds_', 0)}" if math.isfinite(row["seeds_low"]) else ""
        price = row.get("short_context_price", math.nan)
        rows.append(
            [
                html.escape(key_text(key, sweep.keys)),
                row["regime"],
                f"{_tokens(row['limit'])}{_censored(row)}{_small(_bounds(row, '', 0))}{_small(seeds)}",
                *(
                    _tokens(float(np.exp(np.mean(np.log([others[one.cell.name, rule] for one in sweep.keys[key]])))))
                    for rule in sweep.options.rules[1:]
                ),
                "none" if math.isnan(row["predicted"]) else f"{row['predicted']:,.0f}",
                f"{row['far_degradation']:.3f}{_small(_bounds(row, 'far_degradation_', 3))}",
                f"{price:+.3f}{_small(_bounds(row, 'short_context_price_', 3))}" if math.isfinite(price) else "",
            ]
        )
    head = [
        "base",
        "regime",
        f"limit ({sweep.options.rules[0]})",
        *sweep.options.rules[1:],
        "predicted",
        "cost in the second half",
        "price of short texts",
    ]
    return _table(head, rows) + (
        "<p class=note>Limits in tokens. Cost in the second half: nats a token of reading everything against the last "
        "tokens. Price of short texts: NLL of the first tokens, to the length of pre-training, over that of the "
        "original base tuned alike, paired over documents.</p>"
    )


def _copied_html(sweep: Sweep) -> str:
    rows = []
    for row in _copied(sweep):
        setting = sweep.keys[Key.of(row)][0].cell.setting
        bound = _retrieval_bound(setting)
        law, distance = (limits(setting)[name] for name in ("discrete", "similarity"))
        over = [row[name] / bound for name in ("copied", "lost")]
        seeds = f"seeds{_bounds(row, 'seeds_', 0)}" if math.isfinite(row["seeds_low"]) else ""
        rows.append(
            [
                html.escape(key_text(Key.of(row), sweep.keys)),
                f"{_range(row['copied'], row['lost'])}{_small(_bounds(row, '', 0))}{_small(seeds)}",
                f"{_tokens(row['breaks']['limit'])}{_small(_bounds(row['breaks'], '', 0))}",
                "none" if law is None else f"{law:,.0f}",
                "" if distance is None else f"{2 * distance:,.0f}",
                f"{over[0]:.2f} to {over[1]:.2f}" if math.isfinite(over[1]) and math.isfinite(bound) else "",
            ]
        )
    head = [
        "base",
        "copying ends between",
        "perplexity breaks at",
        "scaling law",
        "Men et al., twice",
        "over the smaller bound",
    ]
    return _table(head, rows) + (
        "<p class=note>Copying ends: lengths of text (tokens) between which copy accuracy first falls below one half, "
        "from 0 where the shortest gap is not copied; nothing between them was tested. Intervals resample the strings, "
        "which all seeds have in common, and reach from bracket to bracket; where there are several seeds, also what "
        "their own brackets cover. Men et al.: "
        "the distance at which a query stops preferring similar keys at this base; a copied string is twice as long, "
        "so it is doubled here. Neither paper puts the two bounds together; the last column does.</p>"
    )


def _error_html(sweep: Sweep) -> str:
    rows = []
    for law, row in sweep.errors.to_dict("index").items():
        behind = "best" if row["behind"] == 0 else f"{row['behind']:+.3f}{_small(_bounds(row, 'behind_', 3))}"
        ratio = f"{row['ratio']:.3g}" if math.isfinite(row["ratio"]) else "censored"
        error = f"{row['error']:.3f}{_small(_bounds(row, '', 3))}"
        carriers = ", ".join(map(base_text, row["carriers"]))
        name = f"{law}{_small(html.escape(LAWS[str(law)]))}"
        rows.append([name, error, _factor(row["factor"]), ratio, behind, carriers])
    head = [
        "law",
        "mean |ln(measured/predicted)|",
        "misses by a factor of",
        "measured over predicted",
        "behind the best law of walls",
        "no longer, without base",
    ]
    settings, bases = (int(sweep.errors[name].iloc[0]) for name in ("settings", "bases"))
    return _table(head, rows) + (
        f"<p class=note>Over {settings} settings of {bases} bases whose regime is a hard wall; each base counts once. "
        "Intervals resample documents alone; so few bases cannot be resampled, and a lead counts only if it outlives "
        "the loss of any one of them. A limit that was never reached counts by "
        "what a prediction falls short of the longest text. Similarity, aliasing and stability are bounds of another "
        "kind: they say what a base cannot do, not where perplexity breaks. A prediction below the tuning length "
        "counts as the tuning length.</p>"
    )


def _slope_html(sweep: Sweep) -> str:
    rows = [
        [
            f"{slope.tune_length:,} tokens, {slope.steps:,} steps",
            f"{slope.bases}{', the original with them' if slope.original else ''}"
            + (f"; {slope.censored} censored left out" if slope.censored else ""),
            f"{slope.value:.3f}",
            _bounds(vars(slope), "", 3),
            _bounds(vars(slope), "documents_", 3) + _small(_dropped(slope.dropped)),
            f"{slope.discrete:.3f}",
            f"{slope.continuous:.3f}",
            f"{slope.band:.3f}",
        ]
        for slope in sweep.slopes
    ]
    laws = ["law, discrete", "law, continuous", "frequency band"]
    return _table(["tuned at", "bases", "measured", "regression", "over documents", *laws], rows)


def _tuning_html(sweep: Sweep) -> str:
    rows = [
        [
            f"{base_text(row['new_base'])}, {row['steps']:,} steps",
            f"{row['from_length']:,} to {row['to_length']:,}",
            f"{row['ratio']:.2f}{_bounds(row, '')}{_small(_dropped(row['dropped']))}"
            if math.isfinite(row["ratio"])
            else "beyond the longest text",
            f"{row['predicted']:.2f}" if math.isfinite(row["predicted"]) else "none",
        ]
        for row in sweep.tuning.to_dict("records")
    ]
    return _table(["base", "tuning length (tokens)", "limit grows by a factor of", "predicted"], rows)


def _log_html(sweep: Sweep) -> str:
    rows = [
        [
            f"{base_text(row['new_base'])}, tuned at {row['tune_length']:,}, {row['steps']:,} steps",
            f"{row['start']:,} to {row['stop']:,}",
            f"{row['difference']:+.4f}{_bounds(row, 'difference_', 4)}",
        ]
        for row in sweep.log_scaling.to_dict("records")
    ]
    return _table(["base", "positions (tokens)", "NLL with it less without (nats a token)"], rows)

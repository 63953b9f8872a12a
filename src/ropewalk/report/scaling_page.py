"""A sweep of the base as a page: which law held, which did not, in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ropewalk.report.html import bounds_text, render
from ropewalk.report.predictions import LAWS
from ropewalk.report.scaling_figures import base_text, key_text, usual
from ropewalk.rope import theory
from ropewalk.rope.prediction import BOUNDS, Setting, limits
from ropewalk.scaling.cells import Key
from ropewalk.scaling.estimates import Estimate
from ropewalk.scaling.measured import setting_of
from ropewalk.scaling.predictors import Error, Slope
from ropewalk.scaling.sweep import Sweep
from ropewalk.scaling.tables import far_difference

CLOSE = 0.25
"""Share of a prediction by which a limit may miss it and still be called close."""


def sweep_html(sweep: Sweep) -> str:
    """What a sweep says, as one self-contained page."""
    setting = sweep.setting
    length, steps = usual(sweep.keys)
    main = sweep.options.rules[0]
    return render(
        "scaling",
        "Scaling laws: measured and predicted limits",
        setting=setting,
        options=sweep.options,
        curves=sweep.measured[0].cell.curves,
        parameters=sweep.measured[0].cell.parameters,
        models=sweep.models,
        cells=len(sweep.measured),
        base=base_text(setting.base),
        length=length,
        steps=steps,
        thresholds=[f"{value:,.1f}" for value in theory.small_base_thresholds(setting.train_length)],
        able=list(_able_words(sweep)),
        findings=list(_words(sweep)),
        bases=_base_rows(sweep),
        errors=[error for error in sweep.errors if error.rule == main],
        laws=LAWS,
        slopes=sweep.slopes,
        tuning=sweep.tuning,
        dynamic=_dynamic_rows(sweep),
        dynamic_lengths=sorted({one.length for one in sweep.dynamic}),
        cause=sweep.cause,
        copied=_copied_rows(sweep),
        log_scaled=sweep.log_scaling,
        base_text=base_text,
        factor=_factor,
        said_with=_with,
    )


def _able_words(sweep: Sweep) -> Iterator[str]:
    """Which models and cells count."""
    options = sweep.options
    if sweep.competence:
        said = "; ".join(f"{model} {value:.2f}" for model, value in sweep.competence.items())
        yield (
            f"Before tuning, the second half of the length of pre-training is read better than the first, by at least "
            f"{options.context_use:g} nats a token for a model that is to count: {said}."
        )
    if len(sweep.counted) == len(sweep.measured):
        able = all(value >= options.context_use for value in sweep.competence.values())
        yield "All cells count." if able else "**No model is able enough**; what follows is shown, and decides nothing."
        return
    out = [one.cell for one in sweep.measured if one not in sweep.counted]
    said = "; ".join(f"{cell.name} ({sweep.tuning_losses[cell.name]:+.2f})" for cell in out)
    yield (
        f"**Left out, {len(out)} of {len(sweep.measured)} cells**: of models that are not able enough, or that lost "
        f"more than {options.tuning_loss:g} nats a token within the tuning length against the best base tuned at it "
        f"(in brackets): {said}."
    )


def _words(sweep: Sweep) -> Iterator[str]:
    """The findings, each a sentence that says what held up and what did not; bold is between two pairs of asterisks."""
    yield from _predictor_words(sweep)
    yield from _slope_words(sweep)
    yield from _base_words(sweep)
    yield from _cause_words(sweep)
    for one in sweep.tuning:
        if one.rule == sweep.options.rules[0]:
            predicted = "nothing" if one.predicted is None else f"{one.predicted:.2f}"
            yield (
                f"Tuning base {base_text(one.key.new_base)} at {one.key.tune_length:,} tokens instead of "
                f"{one.from_length:,} moves its limit by a factor of {_with(one.ratio)}; the law says {predicted} "
                f"({one.ratio.repetitions})."
            )
    yield from _retrieval_words(sweep)
    for key in dict.fromkeys(one.key for one in sweep.log_scaling):
        said = [
            f"{_with(one.difference, '+.3f')} at {one.start:,} to {one.stop:,} tokens"
            for one in sweep.log_scaling
            if one.key == key
        ]
        name = key_text(key._replace(log_scaling=False), sweep.keys)
        yield f"Log-scaled attention changes the NLL of {name} by {'; '.join(said)}."


def _predictor_words(sweep: Sweep) -> Iterator[str]:
    for rule in sweep.options.rules:
        errors = [one for one in sweep.errors if one.rule == rule and one.law not in BOUNDS]
        if not errors:
            continue
        best, *others = errors
        named = {one.law: f"{one.law} (by a factor of {_factor(one.factor)})" for one in errors}
        worse = [named[one.law] for one in others if one.worse]
        even = [f"{named[one.law]}{_carried(one)}" for one in others if not one.worse]
        if even:
            said = (
                f"**no single predictor of the walls is best**: {named[best.law]} misses them least, and cannot be "
                f"told apart from {'; '.join(even)}"
            )
        else:
            said = (
                f"**the best predictor of the walls** misses them least, whichever base is left out: {named[best.law]}"
            )
        if worse:
            said += f". Surely worse, whichever base is left out: {', '.join(worse)}"
        yield f"By the rule of {rule}, {said}."
    yield from _ratio_words(sweep, "hard wall", "Measured wall over the law's (discrete)")
    yield from _ratio_words(
        sweep, "middle", "In the middle the law says the tuning length and no more; measured limit over that"
    )


def _carried(error: Error) -> str:
    """Which bases a lead hangs on."""
    if not error.carriers:
        return ""
    if error.bases == 1:
        return ", behind at one base, which is too few"
    return f", which falls behind only with {' and '.join(map(base_text, error.carriers))} among the bases"


def _ratio_words(sweep: Sweep, regime: str, what: str) -> Iterator[str]:
    said = []
    for row in sweep.bases:
        if row.setting.regime != regime or row.key.log_scaling or row.predicted is None:
            continue
        ratios = [limit.per(row.predicted) for limit in row.limits.values()]
        each = ", ".join("beyond" if math.isinf(ratio.value) else _with(ratio) for ratio in ratios)
        said.append(f"{_name(row.key, sweep)} {each}: {_closeness(ratios)}")
    if said:
        rules = ", ".join(sweep.options.rules)
        yield f"{what}, by {rules}; close is within {100 * CLOSE:g} % by all of them: {'; '.join(said)}."


def _closeness(ratios: Sequence[Estimate]) -> str:
    """What intervals of measured over predicted say of being close, by all rules together."""
    if all(ratio.low >= 1 - CLOSE and ratio.high <= 1 + CLOSE for ratio in ratios):
        return "close"
    if all(ratio.low > 1 + CLOSE or ratio.high < 1 - CLOSE for ratio in ratios):
        return "**not close**"
    return "undecided"


def _slope_words(sweep: Sweep) -> Iterator[str]:
    by_tuning: dict[tuple[int, int], list[Slope]] = {}
    for slope in sweep.slopes:
        by_tuning.setdefault((slope.tune_length, slope.steps), []).append(slope)
    for (tuned, _), found in by_tuning.items():
        said = [
            f"{_with(slope.found, '.3f')} by {slope.rule} over {slope.bases} bases, {slope.verdict}"
            for slope in found
            if math.isfinite(slope.found.low)
        ]
        if said:
            yield (
                f"Tuned at {tuned:,} tokens, the limit grows with the base to the power {'; '.join(said)}. The law "
                f"says {found[0].discrete:.3f}; intervals are over {found[0].found.over}."
            )


def _base_words(sweep: Sweep) -> Iterator[str]:
    """Which base is worst, and whether small ones are ordered as the law wants."""
    setting, found = sweep.setting, sweep.keys
    by_tuning: dict[tuple[int, int], list[Key]] = {}
    for key in found:
        if not key.log_scaling:
            by_tuning.setdefault((key.tune_length, key.steps), []).append(key)
    cost = {row.key: row.far.value for row in sweep.bases}
    for (tuned, steps), keys in by_tuning.items():
        if len(keys) < 3:
            continue
        runner_up, worst = sorted(keys, key=lambda key: cost[key])[-2:]
        apart = far_difference(found[worst], found[runner_up], sweep.options)
        critical = theory.critical_base(setting.base, setting.train_length, tuned)
        if apart is not None:
            surely = "" if apart.excludes_zero else " (undecided)"
            yield (
                f"Tuned at {tuned:,} tokens for {steps:,} steps, the worst base in the second half of the texts is "
                f"{base_text(worst.new_base)}{surely}, by {_with(apart, '+.3f')} nats a token from "
                f"{base_text(runner_up.new_base)} ({apart.repetitions}); by the law it is the critical base, "
                f"{critical:,.0f}."
            )
        said = []
        for one in sweep.contrasts:
            if one.what == "smaller" and one.key in keys:
                verdict = "is undecided"
                if one.far.excludes_zero:
                    verdict = "holds" if one.far.value > 0 else "**does not hold**"
                pair = f"{base_text(one.key.new_base)} less {base_text(one.other)}"
                said.append(f"{pair} {_with(one.far, '+.3f')}, {verdict} ({one.far.repetitions})")
        if said:
            yield (
                "Among small bases the law wants a slower decay for a smaller base; cost in the second half of the "
                f"texts (nats a token): {'; '.join(said)}."
            )


def _cause_words(sweep: Sweep) -> Iterator[str]:
    cause = sweep.cause
    if cause is None or cause.mended is None:
        return
    yield (
        f"**Which pairs fail** beyond the length of pre-training, before any tuning: dividing the pairs from the "
        f"critical one ({cause.critical}) on by {cause.divisor:g} mends {100 * (cause.beyond or 0):.0f} % of what "
        f"reading everything costs, dividing those before it {100 * (cause.within or 0):.0f} %: a difference of "
        f"{_with(cause.mended)} of the whole ({cause.mended.repetitions})."
    )


def _with(found: Estimate, form: str = ".2f") -> str:
    """A number with its interval, where there is one."""
    if math.isnan(found.low):
        return format(found.value, form)
    high = "∞" if math.isinf(found.high) else format(found.high, form)
    return f"{'beyond' if math.isinf(found.value) else format(found.value, form)} [{found.low:{form}}, {high}]"


def _retrieval_words(sweep: Sweep) -> Iterator[str]:
    """Where low perplexity and copying part."""
    verdicts: dict[str, list[str]] = {"part": [], "together": [], "open": []}
    for row in _copied(sweep):
        name = _name(Key.of(row), sweep)
        verdicts[row["verdict"]].append(f"{name} ({_range(row['copied'], row['lost'])})")
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
    broken = {row.key: row.limits[sweep.options.rules[0]] for row in sweep.bases}
    rows = []
    for row in sweep.retrieval.to_dict("records"):
        breaks = broken[Key.of(row)]
        if row["log_scaling"]:
            continue
        # Comparisons with a bound that is not known are false.
        verdict = "open"
        if row["high"] < breaks.low:
            verdict = "part"
        elif row["low"] > breaks.high:
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


def _name(key: Key, sweep: Sweep) -> str:
    return key_text(key, sweep.keys).removeprefix("base ")


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _tokens(found: Estimate) -> str:
    """A limit with its interval."""
    if math.isinf(found.value):
        return "beyond the longest text"
    return (
        f"{found.value:,.0f}" if math.isnan(found.low) else f"{found.value:,.0f}\n[{found.low:,.0f}, {found.high:,.0f}]"
    )


def _base_rows(sweep: Sweep) -> list[list[str]]:
    return [
        [
            key_text(row.key, sweep.keys),
            row.setting.regime,
            *(_tokens(limit) for limit in row.limits.values()),
            "none" if row.predicted is None else f"{row.predicted:,.0f}",
            _small(row.far),
            "" if row.price is None else _small(row.price, "+.3f"),
            f"{row.far.n_models} × {row.far.n_seeds}",
        ]
        for row in sweep.bases
    ]


def _small(found: Estimate, form: str = ".3f") -> str:
    """A number with its interval in small print."""
    return _with(found, form).replace(" [", "\n[", 1)


def _dynamic_rows(sweep: Sweep) -> list[list[str]]:
    """Every base against dynamic NTK, a column a length."""
    lengths = sorted({one.length for one in sweep.dynamic})
    found = {(one.key, one.length): one.difference for one in sweep.dynamic}
    rows = []
    for row in sweep.bases:
        cells = [found.get((row.key, length)) for length in lengths]
        if any(cells):
            wall = "none" if row.predicted is None else f"{row.predicted:,.0f}"
            shown = ["" if cell is None else _small(cell, "+.3f") for cell in cells]
            rows.append([key_text(row.key, sweep.keys), wall, *shown])
    return rows


def _copied_rows(sweep: Sweep) -> list[list[str]]:
    rows = []
    for row in _copied(sweep):
        setting = setting_of(sweep.keys[Key.of(row)])
        bound = _retrieval_bound(setting)
        law, distance = (limits(setting)[name] for name in ("discrete", "similarity"))
        over = [row[name] / bound for name in ("copied", "lost")]
        rows.append(
            [
                key_text(Key.of(row), sweep.keys),
                f"{_range(row['copied'], row['lost'])}\n{bounds_text(row, '', '.0f')}",
                _tokens(row["breaks"]),
                "none" if law is None else f"{law:,.0f}",
                "" if distance is None else f"{2 * distance:,.0f}",
                f"{over[0]:.2f} to {over[1]:.2f}" if math.isfinite(over[1]) and math.isfinite(bound) else "",
            ]
        )
    return rows

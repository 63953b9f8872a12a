"""What the laws say of one setting, in words for a terminal. Nothing here needs a library of tables or figures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from ropewalk.rope import theory

LAWS = {
    "discrete": "the scaling law: period of the first pair not covered (Liu et al.)",
    "continuous": "the same without rounding up to whole pairs",
    "last covered pair": "the same for the pair before",
    "3 periods": "the same where three turns count as trained (LongRoPE2)",
    "10 periods": "the same where ten do: where LongRoPE2 starts its search",
    "frequency band": "the band's angle in the place of a whole turn (Frequency Bands; inferred)",
    "similarity": "a query prefers similar keys up to here (Men et al.)",
    "aliasing": "the slowest pair repeats itself from here on (phase modulation)",
    "stability": "the slowest pair's cosine stays positive up to here (phase modulation)",
}
"""What each predictor of ``ropewalk.rope.prediction.limits`` says."""


def prediction_text(result: Mapping[str, Any]) -> str:
    """What :func:`ropewalk.rope.prediction.predict` found, for a terminal."""
    d, trained, tuned = result["head_dim"], result["train_length"], result["tune_length"]
    new, critical = result["new_base"], result["critical_dimension"] // 2
    printed, exact = (result["small_base_thresholds"][key] for key in ("printed", "exact"))
    lines = [
        f"head dimension {d} · base {number_text(result['base'])} · pre-trained at {trained:,} tokens",
        f"tuned at {tuned:,} tokens with base {number_text(new)}",
        "",
        f"critical dimension   {2 * critical} of {d}: {_covered(result['periods'], critical, trained)}",
        f"  after tuning       {result['critical_dimension_tuned']}",
        f"critical base        {number_text(result['critical_base'])} for tuning at {tuned:,} tokens",
        f"small bases          {' / '.join(map(number_text, printed))} as printed in the paper",
        f"                     {' / '.join(map(number_text, exact))} for the slowest pair that there is",
        f"regime               {_regime(result)}",
        f"predicted limit      {_limit(result)}",
        "",
        "how far each law would have it (tokens)",
    ]
    lines += [f"  {name:<18}{reach_text(name, result['limits'][name]):>12}   {words}" for name, words in LAWS.items()]
    lines += ["", "turns that must be trained"]
    for turns, row in result["required_periods"].items():
        lines.append(f"  {turns:>3}   critical dimension {row['critical_dimension']:>4}")
    drift = result["slowest_pair_drift"]
    lines += [
        "",
        f"frequency band       {_band(result)}",
        f"slowest pair         turns {drift:.3g} rad within the tuning length; its meaning holds up to pi/2",
    ]
    if "target" in result:
        target = result["target"]
        discrete, similarity = target["base_discrete"], target["base_similarity_fit"]
        lines += [
            "",
            f"base for {target['length']:,} tokens",
            f"  {'discrete':<18}{number_text(discrete) if discrete else 'none':>12}   (T/2pi)^(d/critical dimension)",
            f"  {'continuous':<18}{number_text(target['base_continuous']):>12}   the critical base of that length",
            f"  {'similarity':<18}{number_text(similarity):>12}   fit of Men et al., a necessary one",
        ]
    for title in ("notes", "warnings"):
        for note in result[title]:
            mark = "note: " if title == "notes" else "warning: "
            lines += ["", *textwrap.wrap(note, 110, initial_indent=mark, subsequent_indent=" " * len(mark))]
    return "\n".join(lines)


def _covered(periods: list[float], critical: int, trained: int) -> str:
    if critical == 0:
        return f"no pair turned fully; the fastest has a period of {periods[0]:,.1f} tokens"
    last = f"{critical} pairs turned fully, the last in {periods[critical - 1]:,.0f} of {trained:,} tokens"
    return last + (f"; the next needs {periods[critical]:,.0f}" if critical < len(periods) else "; there is no other")


def _regime(result: Mapping[str, Any]) -> str:
    match result["regime"]:
        case "hard wall":
            if result["limit"] is None:
                return "hard wall by its base, but no wall: pre-training turned every pair fully"
            return "hard wall: sound up to the limit, and broken after it"
        case "middle":
            return "middle: sound as far as it was tuned"
    below = sum(result["new_base"] <= threshold for threshold in result["small_base_thresholds"]["printed"])
    return f"soft: a slow decay without a wall (below threshold {below} of 3)"


def _band(result: Mapping[str, Any]) -> str:
    pair, pairs, base = result["frequency_band"]["pair"], result["head_dim"] // 2, number_text(result["base"])
    if pair > pairs - 1:
        return f"none: at base {base} even the slowest pair turns further within the length of pre-training"
    return f"pair {pair:.1f} of {pairs} at base {base}: faster ones tell places apart, slower ones act as not rotated"


def _limit(result: Mapping[str, Any]) -> str:
    if result["limit"] is None:
        return "none: the law names no limit here"
    return f"{result['limit']:,.0f} tokens ({result['limit'] / result['train_length']:.1f} × pre-training)"


def reach_text(law: str, value: float | None) -> str:
    """How far a law would have it, in tokens."""
    return f"> {theory.SIMILARITY_MOST:,}" if law == "similarity" and value is None else _tokens(value)


def _tokens(value: float | None) -> str:
    return "none" if value is None else f"{value:,.0f}"


def number_text(value: float | None) -> str:
    """A number for a reader, without decimals where it is large."""
    if value is None:
        return "none"
    return f"{value:,.0f}" if value >= 1000 or float(value).is_integer() else f"{value:,.1f}"

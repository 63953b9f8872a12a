"""The claims of Scaling Laws of RoPE-based Extrapolation (arXiv 2310.05209).

The paper names no threshold of its maximum supported context, so that limits are read by several rules. What depends on
them is one case with an interval over the rules too: a claim that only some of them bear out is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ropewalk.report.scorecard.claim import (
    ANY,
    COMPUTED,
    PRINT,
    Claim,
    Competence,
    Evidence,
    Experiment,
    above,
    below,
    between,
    equal,
    never,
)
from ropewalk.report.scorecard.reading import Case, cases, evidence, number, row_of
from ropewalk.rope import theory
from ropewalk.rope.prediction import Setting, limits
from ropewalk.scores import Score

DIM, BASE, TRAIN = 128, 10_000.0, 4096
"""LLaMA-2: head dimension, base, pre-training length in tokens."""
PRINTED = {"beta_1": 2608, "beta_2": 1304, "beta_3": 652}
CLOSE = between(0.75, 1.25)
FAR_BEYOND = 4
"""Times the wall that texts are long where its base has surely failed: 100K tokens are that for base 100,000."""
STEADY_BASE, STEADY_FROM = 500 / TRAIN, 51_200 / TRAIN
"""The base that is steady in the end, and from which length on, over the tuning length."""


def _thresholds() -> list[Evidence]:
    values = theory.small_base_thresholds(TRAIN)
    return [
        Evidence.exact(value / printed, name) for (name, printed), value in zip(PRINTED.items(), values, strict=True)
    ]


def _fixed_point() -> list[Evidence]:
    length = limits(Setting(DIM, BASE, TRAIN, TRAIN, BASE))["discrete"]
    assert length is not None
    return [Evidence.exact(length / TRAIN)]


def _printed_wall() -> list[Evidence]:
    ratio = theory.wall(DIM, BASE, TRAIN, 1e6) / 131_072
    return [replace(Evidence.exact(ratio, "perplexity 7.07 at 131,072 tokens, 76.8 at 262,144"), confidence=0.95)]


def _measured(experiment: Experiment, case: Case, where: str) -> Evidence:
    """A number of a sweep, with what its models are able to do."""
    setting = experiment.setting
    known = [row.value for row in experiment.scores.select(quantity="competence") if row.value is not None]
    needed = setting["competence_needed"]
    # Models below it do not count where there are others.
    counted = [value for value in known if value >= needed] or known
    competence = Competence(setting["competence"], min(counted), needed) if counted else None
    return evidence(experiment, case, where, competence)


def _by_all_rules(found: Iterable[Evidence]) -> list[Evidence]:
    """Cases that differ in their rule alone as one, which covers the intervals of all."""
    together: dict[str, list[Evidence]] = {}
    for one in found:
        together.setdefault(one.where, []).append(one)
    return [_covering(same) for same in together.values()]


def _covering(same: Sequence[Evidence]) -> Evidence:
    first = same[0]
    if any(math.isnan(one.low) for one in same):
        return replace(first, low=math.nan, high=math.nan)
    freedoms = [one.freedom for one in same if one.freedom is not None]
    return replace(
        first,
        low=min(one.low for one in same),
        high=max(one.high for one in same),
        over=f"{first.over}, and {len(same)} rules of a limit" if len(same) > 1 else first.over,
        freedom=min(freedoms, default=None),
    )


def _limits(experiment: Experiment, regime: str) -> Sequence[Case]:
    return cases(experiment, quantity="limit", regime=regime, log_scaled=None)


def _base_of(case: Case) -> str:
    row = row_of(case)
    return f"base {row.base:,.10g}, tuned at {row.tune_length:,.0f} tokens for {row.steps:,.0f} steps"


def _walls(experiment: Experiment) -> list[Evidence]:
    return _by_all_rules(
        _measured(experiment, case, _base_of(case)).per(
            number(experiment, quantity="predicted_limit", law="discrete", **_base(row_of(case)))
        )
        for case in _limits(experiment, "hard wall")
    )


def _middle(experiment: Experiment) -> list[Evidence]:
    """Bases that surely are not small ones: the paper has none between the first threshold and four times as much."""
    return _by_all_rules(
        _measured(experiment, case, _base_of(case)).per(float(row_of(case).tune_length or math.nan))
        for case in _limits(experiment, "middle")
        if _number(row_of(case).base) > 4 * theory.small_base_thresholds(_length(row_of(case)))[0]
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _length(row: Score) -> int:
    assert row.tune_length is not None
    return row.tune_length


def _base(row: Score) -> dict[str, Any]:
    """The columns that tell bases apart."""
    return {name: getattr(row, name) for name in ("base", "tune_length", "steps", "log_scaled")}


def _slope(experiment: Experiment) -> list[Evidence]:
    """The slope less the law's."""
    found = []
    for case in cases(experiment, quantity="slope"):
        row = row_of(case)
        sweep = {"tune_length": row.tune_length, "steps": row.steps, "rule": row.rule}
        law = number(experiment, quantity="predicted_slope", law="discrete", **sweep)
        where = f"tuned at {row.tune_length:,.0f} tokens for {row.steps:,.0f} steps"
        found.append(_measured(experiment, case, where).less(law))
    return _by_all_rules(found)


def _worst_base(experiment: Experiment) -> list[Evidence]:
    train = experiment.setting["train_length"]
    return [
        _measured(experiment, case, _base_of(case))
        for case in cases(experiment, quantity="far_degradation_less_original", tune_length=train)
    ]


def _worst_base_moves(experiment: Experiment) -> list[Evidence]:
    """At each longer tuning length the base nearest to the critical one."""
    setting = experiment.setting
    nearest: dict[int, tuple[float, Case]] = {}
    for case in cases(experiment, quantity="far_degradation_less_original"):
        row = row_of(case)
        if _length(row) > setting["train_length"]:
            critical = theory.critical_base(setting["base"], setting["train_length"], _length(row))
            apart = abs(math.log(_number(row.base) / critical))
            if _length(row) not in nearest or apart < nearest[_length(row)][0]:
                nearest[_length(row)] = (apart, case)
    return [_measured(experiment, case, _base_of(case)) for _, case in nearest.values()]


def _first_worse(experiment: Experiment) -> list[Evidence]:
    """From the original base up: the first step to a larger one, and the last, which is to lead down."""
    setting = experiment.setting
    steps: dict[int, list[Case]] = {}
    for case in cases(experiment, quantity="far_degradation_less_next"):
        row = row_of(case)
        if _length(row) > setting["train_length"] and _number(row.against_base) >= setting["base"]:
            steps.setdefault(_length(row), []).append(case)
    found = []
    for some in steps.values():
        if len(some) > 1:
            first, *_, last = sorted(some, key=lambda case: _number(row_of(case).base))
            down = _measured(experiment, last, f"{_base_of(last)}, gain on the next smaller base")
            found.append(_measured(experiment, first, f"{_base_of(first)}, loss on the next smaller base"))
            found.append(replace(down, value=-down.value, low=-down.high, high=-down.low))
    return found


def _thresholds_gain(experiment: Experiment) -> list[Evidence]:
    """The next base above each threshold of small bases, less the largest one below it."""
    found = []
    for case in cases(experiment, quantity="far_degradation_less_next"):
        row = row_of(case)
        for k, threshold in enumerate(theory.small_base_thresholds(_length(row)), 1):
            if _number(row.against_base) <= threshold < _number(row.base):
                where = f"beta_{k}: base {row.base:,.10g} less {row.against_base:,.10g}"
                found.append(_measured(experiment, case, where))
    return found


def _small_bases(experiment: Experiment) -> list[Evidence]:
    return _by_all_rules(
        _measured(experiment, case, f"base {row_of(case).base:,.10g} over {row_of(case).against_base:,.10g}")
        for case in cases(experiment, quantity="limit_over_smaller")
    )


def _tuning(experiment: Experiment, *, walls: bool) -> list[Evidence]:
    """What a longer tuning text does to the limit, over what the law says of it."""
    found = []
    for case in cases(experiment, quantity="limit_ratio"):
        row = row_of(case)
        law = {**_base(row), "against_length": row.against_length, "rule": row.rule}
        predicted = experiment.scores.one(quantity="predicted_limit_ratio", **law)
        if predicted is not None and predicted.value is not None and (predicted.value == 1) == walls:
            where = f"base {row.base:,.10g}, {row.against_length:,.0f} to {row.tune_length:,.0f} tokens"
            found.append(_measured(experiment, case, where).per(predicted.value))
    return _by_all_rules(found)


def _log_scaling(experiment: Experiment) -> list[Evidence]:
    """Log-scaled attention in the last doubling of the position, by base."""
    last: dict[float | None, Case] = {}
    for case in cases(experiment, quantity="log_scaling_difference"):
        row = row_of(case)
        if row.base not in last or (row.stop or 0) > (row_of(last[row.base]).stop or 0):
            last[row.base] = case
    return [
        _measured(experiment, case, f"base {base:,.10g}, tokens {row_of(case).start:,.0f} to {row_of(case).stop:,.0f}")
        for base, case in last.items()
    ]


def _dynamic(experiment: Experiment, *, within: bool) -> list[Evidence]:
    """Bases with a wall against dynamic NTK, in texts that end before it; or far beyond it."""
    found = []
    for case in cases(experiment, quantity="nll_less_dynamic_ntk", regime="hard wall"):
        row = row_of(case)
        wall = number(experiment, quantity="predicted_limit", law="discrete", **_base(row))
        length = row.length or 0
        if (row.tune_length or 0) < length <= wall if within else length >= FAR_BEYOND * wall:
            found.append(_measured(experiment, case, f"{_base_of(case)}, {length:,} tokens"))
    return found


def _steady_base(experiment: Experiment) -> list[Evidence]:
    return [
        _measured(experiment, case, f"{_base_of(case)}, {row_of(case).length:,} tokens")
        for case in cases(experiment, quantity="nll_less_dynamic_ntk", regime="soft")
        if _number(row_of(case).base) <= STEADY_BASE * _length(row_of(case))
        and (row_of(case).length or 0) >= STEADY_FROM * _length(row_of(case))
    ]


def _cause(experiment: Experiment) -> list[Evidence]:
    return [_measured(experiment, case, "") for case in cases(experiment, quantity="mended_share")]


CLAIMS = [
    Claim(
        "scaling-laws/critical-dimension",
        "lemma 1",
        "92 of LLaMA-2's 128 dimensions turned once or more in pre-training.",
        "critical dimension, base 10,000, 4,096 tokens",
        equal(92),
        "computed",
        COMPUTED,
        None,
        lambda: [Evidence.exact(theory.critical_dimension(DIM, BASE, TRAIN))],
    ),
    Claim(
        "scaling-laws/thresholds",
        "theorem 3",
        "For tuning at 4,096 tokens the three small bases are 2,608, 1,304 and 652.",
        "2T/pi, T/pi and T/2pi over the printed numbers",
        equal(1, 0.001),
        "computed",
        COMPUTED,
        None,
        _thresholds,
    ),
    Claim(
        "scaling-laws/code-llama",
        "theorem 3",
        "A base of 1,000,000 is above what LLaMA-2 needs for 100K tokens.",
        "critical base for 102,400 tokens",
        below(1e6),
        "computed",
        COMPUTED,
        None,
        lambda: [Evidence.exact(theory.critical_base(BASE, TRAIN, 102_400))],
    ),
    Claim(
        "scaling-laws/million-base",
        "theorem 2",
        "By the law, LLaMA-2 tuned with base 1,000,000 reads more than 100K tokens.",
        "length by the law (tokens)",
        above(102_400),
        "computed",
        COMPUTED,
        None,
        lambda: [Evidence.exact(theory.wall(DIM, BASE, TRAIN, 1e6))],
    ),
    Claim(
        "scaling-laws/fixed-point",
        "theorem 3",
        "With the base and the length of pre-training, the length by the law is that length.",
        "length by the law over 4,096 tokens",
        equal(1, 0.01),
        "computed",
        COMPUTED,
        None,
        _fixed_point,
    ),
    Claim(
        "scaling-laws/printed-wall",
        "section 5",
        "LLaMA-2 tuned at 16K with base 1,000,000 breaks between 128K and 256K tokens, where the law puts its wall.",
        "length by the law over the longest of the table that is read well, within 25 %",
        CLOSE,
        "recomputed from print",
        PRINT,
        None,
        _printed_wall,
    ),
    Claim(
        "scaling-laws/walls",
        "theorem 2",
        "A model tuned with a larger base fails where the law puts its wall.",
        "measured limit over predicted, within 25 % by every rule of a limit",
        CLOSE,
        "measured",
        ANY,
        "scaling",
        _walls,
    ),
    Claim(
        "scaling-laws/slope",
        "theorem 2",
        "The wall grows with the base to the power of the critical dimension over the head dimension.",
        "slope of ln limit over ln base, less the law's, by every rule of a limit",
        between(-0.05, 0.05),
        "measured",
        ANY,
        "scaling",
        _slope,
    ),
    Claim(
        "scaling-laws/worst-base",
        "section 3",
        "Tuned at the pre-training length, the base of pre-training is the worst of all.",
        "what reading on costs in the second half of the texts, each base less the original (nats a token)",
        below(0),
        "measured",
        ANY,
        "scaling",
        _worst_base,
    ),
    Claim(
        "scaling-laws/worst-base-moves",
        "theorem 3",
        "Tuned on longer texts, the base of pre-training is no longer the worst: the critical base is worse.",
        "what reading on costs in the second half of the texts, critical base less the original (nats a token)",
        above(0),
        "measured",
        ANY,
        "scaling",
        _worst_base_moves,
    ),
    Claim(
        "scaling-laws/first-worse-then-better",
        "theorem 3",
        "Tuned on longer texts, extrapolation first gets worse with a larger base, then better.",
        "what reading on costs in the second half of the texts, loss by the first larger base and gain by the last "
        "(nats a token)",
        above(0),
        "measured",
        ANY,
        "scaling",
        _first_worse,
    ),
    Claim(
        "scaling-laws/gain-below-thresholds",
        "theorem 1",
        "Below each of the three thresholds of small bases extrapolation is better than above it.",
        "what reading on costs in the second half of the texts, base above less base below (nats a token)",
        above(0),
        "measured",
        ANY,
        "scaling",
        _thresholds_gain,
    ),
    Claim(
        "scaling-laws/smaller-is-flatter",
        "theorem 1",
        "Among small bases, the smaller decays more slowly.",
        "limit of the larger small base over that of the smaller, by every rule of a limit",
        below(1),
        "measured",
        ANY,
        "scaling",
        _small_bases,
    ),
    Claim(
        "scaling-laws/middle",
        "theorem 3",
        "Between the small bases, of which it is said that they read on, and the critical base a model reads as far as "
        "it was tuned, and no further.",
        "measured limit over tuning length for bases above 4 beta_1, within 25 % by every rule of a limit",
        CLOSE,
        "measured",
        ANY,
        "scaling",
        _middle,
    ),
    Claim(
        "scaling-laws/wall-stays",
        "theorem 3",
        "A longer tuning text does not move the wall of a base above the critical one.",
        "limit after over before, within 25 % by every rule of a limit",
        CLOSE,
        "measured",
        ANY,
        "scaling",
        lambda experiment: _tuning(experiment, walls=True),
    ),
    Claim(
        "scaling-laws/middle-moves",
        "theorem 3",
        "In the middle, a longer tuning text moves the limit in proportion.",
        "limit after over before, over the ratio of the lengths, within 25 % by every rule of a limit",
        CLOSE,
        "measured",
        ANY,
        "scaling",
        lambda experiment: _tuning(experiment, walls=False),
    ),
    Claim(
        "scaling-laws/log-scaling",
        "section 5",
        "Log-scaled attention helps a small base far beyond the tuning length.",
        "NLL with it less without, in the last doubling of the position (nats a token)",
        below(0),
        "measured",
        ANY,
        "scaling",
        _log_scaling,
    ),
    Claim(
        "scaling-laws/dynamic-ntk-within",
        "section 3",
        "Within its wall a tuned larger base is better than dynamic NTK.",
        "NLL of texts that end before the wall by the law, tuned base less dynamic NTK (nats a token)",
        below(0),
        "measured",
        ANY,
        "scaling",
        lambda experiment: _dynamic(experiment, within=True),
    ),
    Claim(
        "scaling-laws/dynamic-ntk-beyond",
        "section 3",
        "Far beyond its wall a tuned larger base is worse than dynamic NTK.",
        f"NLL of texts of {FAR_BEYOND} times the wall by the law or more, tuned base less dynamic NTK (nats a token)",
        above(0),
        "measured",
        ANY,
        "scaling",
        lambda experiment: _dynamic(experiment, within=False),
    ),
    Claim(
        "scaling-laws/steady-base",
        "section 3",
        "Tuned at 4K, base 500 is better than dynamic NTK from 50K tokens on.",
        "NLL of texts of 12.5 times the tuning length or more, base of 0.122 times it or less, less dynamic NTK (nats "
        "a token)",
        below(0),
        "measured",
        ANY,
        "scaling",
        _steady_base,
    ),
    Claim(
        "scaling-laws/critical-cause",
        "lemma 1",
        "The pairs beyond the critical dimension are what fails beyond the length of pre-training.",
        "share of the cost of reading on that dividing these pairs takes away, less that of dividing the others",
        above(0.5),
        "measured",
        ANY,
        "scaling",
        _cause,
    ),
    Claim(
        "scaling-laws/table-to-a-million",
        "section 5",
        "Tuned at 16K, base 500 decays slowly from 128K to 1M tokens, while base 1,000,000 breaks.",
        "perplexity at 1,048,576 tokens, base 500 less base 1,000,000",
        below(0),
        "measured",
        "LLaMA-2 7B, read to a million tokens",
        None,
        never,
    ),
    Claim(
        "scaling-laws/million-tokens",
        "section 5",
        "LLaMA-2 tuned at 16K with base 500 and log-scaled attention reads a million tokens at a perplexity of 19.",
        "perplexity at 1,048,576 tokens",
        between(17, 21),
        "measured",
        "LLaMA-2 7B, read to a million tokens",
        None,
        never,
    ),
]

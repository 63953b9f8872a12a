"""The claims of Scaling Laws of RoPE-based Extrapolation (arXiv 2310.05209)."""

from __future__ import annotations

import math
from typing import Any

from ropewalk.report.scorecard.claim import (
    ANY,
    COMPUTED,
    NO_STAGE,
    Claim,
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
from ropewalk.scores import Score

DIM, BASE, TRAIN = 128, 10_000.0, 4096
"""LLaMA-2: head dimension, base, pre-training length in tokens."""
PRINTED = {"beta_1": 2608, "beta_2": 1304, "beta_3": 652}
CLOSE = between(0.75, 1.25)


def _thresholds() -> list[Evidence]:
    values = theory.small_base_thresholds(TRAIN)
    return [
        Evidence.exact(value / printed, name) for (name, printed), value in zip(PRINTED.items(), values, strict=True)
    ]


def _covered_angles() -> list[Evidence]:
    """The angle of the slowest pair there is, at each threshold, over the one that it is to cover."""
    values = theory.small_base_thresholds(TRAIN)
    return [
        Evidence.exact(TRAIN * base ** (-(DIM - 2) / DIM) / angle, name)
        for name, base, angle in zip(PRINTED, values, theory.COVERED_ANGLES, strict=True)
    ]


def _updated_dimension() -> list[Evidence]:
    pairs = math.ceil(theory.critical_index(DIM, 500.0, TRAIN))
    return [Evidence.exact(2 * pairs, "base 500, tuned at 4,096 tokens")]


def _walls(experiment: Experiment) -> list[Evidence]:
    return [
        _limit(experiment, case, number(experiment, quantity="predicted_limit", law="discrete", **_base(row_of(case))))
        for case in cases(experiment, quantity="limit", regime="hard wall", log_scaled=None)
    ]


def _middle(experiment: Experiment) -> list[Evidence]:
    return [
        _limit(experiment, case, float(row_of(case).tune_length or math.nan))
        for case in cases(experiment, quantity="limit", regime="middle", log_scaled=None)
    ]


def _base(row: Score) -> dict[str, Any]:
    """The columns that tell bases apart."""
    return {name: getattr(row, name) for name in ("base", "tune_length", "steps", "log_scaled")}


def _limit(experiment: Experiment, case: Case, predicted: float) -> Evidence:
    """Measured over predicted, with what both intervals cover together; infinite where no limit was reached."""
    row = row_of(case)
    where = f"base {row.base:,.10g}, tuned at {row.tune_length:,.0f}"
    return evidence(experiment, case, where).per(predicted)


def _slope(experiment: Experiment) -> list[Evidence]:
    """The slope less the law's, with what the intervals of the regression and over documents cover together."""
    found = []
    for case in cases(experiment, quantity="slope", with_original=None):
        row = row_of(case)
        sweep = {"tune_length": row.tune_length, "steps": row.steps, "with_original": None}
        law = number(experiment, quantity="predicted_slope", law="discrete", **sweep)
        where = f"{row.n_bases:.0f} bases, tuned at {row.tune_length:,.0f}"
        found.append(evidence(experiment, case, where).less(law))
    return found


def _worst_base(experiment: Experiment) -> list[Evidence]:
    train = experiment.setting["train_length"]
    return [
        evidence(experiment, case, f"base {row_of(case).base:,.10g}")
        for case in cases(experiment, quantity="far_degradation_less_original", tune_length=train)
    ]


def _small_bases(experiment: Experiment) -> list[Evidence]:
    return [
        evidence(experiment, case, f"base {row_of(case).base:,.10g} less {row_of(case).against_base:,.10g}")
        for case in cases(experiment, quantity="far_degradation_less_smaller")
    ]


def _tuning(experiment: Experiment, *, walls: bool) -> list[Evidence]:
    """What a longer tuning text does to the limit, over what the law says of it."""
    found = []
    for case in cases(experiment, quantity="limit_ratio"):
        row = row_of(case)
        law = {**_base(row), "against_length": row.against_length, "quantity": "predicted_limit_ratio"}
        predicted = experiment.scores.one(**law)
        if predicted is not None and predicted.value is not None and (predicted.value == 1) == walls:
            where = f"base {row.base:,.10g}, {row.against_length:,.0f} to {row.tune_length:,.0f} tokens"
            found.append(evidence(experiment, case, where).per(predicted.value))
    return found


def _log_scaling(experiment: Experiment) -> list[Evidence]:
    """Log-scaled attention in the last doubling of the position, by base."""
    last: dict[float | None, Case] = {}
    for case in cases(experiment, quantity="log_scaling_difference"):
        row = row_of(case)
        if row.base not in last or (row.stop or 0) > (row_of(last[row.base]).stop or 0):
            last[row.base] = case
    return [
        evidence(
            experiment, case, f"base {base:,.10g}, tokens {row_of(case).start:,.0f} to {row_of(case).stop:,.0f}"
        )
        for base, case in last.items()
    ]


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
        "scaling-laws/covered-angles",
        "theorem 1",
        "At these bases the slowest pair turns by 90, 180 and 360 degrees within the tuning length.",
        "angle of the slowest pair that a head of 128 dimensions has, over the wanted one",
        equal(1, 0.01),
        "computed",
        COMPUTED,
        None,
        _covered_angles,
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
        "LLaMA-2 tuned with base 1,000,000 reads more than 100K tokens.",
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
        "With the base of pre-training the length by the law is the pre-training length.",
        "length by the law over 4,096 tokens",
        equal(1, 0.01),
        "computed",
        COMPUTED,
        None,
        lambda: [Evidence.exact(theory.wall(DIM, BASE, TRAIN, BASE) / TRAIN)],
    ),
    Claim(
        "scaling-laws/updated-dimension",
        "theorem 3",
        "The critical dimension that tuning updates is a number of the head's dimensions.",
        "2 ceil(d/2 log_b(T/2pi)), head dimension 128",
        between(0, DIM),
        "computed",
        COMPUTED,
        None,
        _updated_dimension,
    ),
    Claim(
        "scaling-laws/walls",
        "theorem 2",
        "A model tuned with a larger base fails where the law puts its wall.",
        "measured limit over predicted, within 25 %",
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
        "slope of ln limit over ln base, less the law's",
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
        "scaling-laws/smaller-is-flatter",
        "theorem 1",
        "Among small bases, the smaller decays more slowly.",
        "what reading on costs in the second half of the texts, larger less smaller base (nats a token)",
        above(0),
        "measured",
        ANY,
        "scaling",
        _small_bases,
    ),
    Claim(
        "scaling-laws/middle",
        "theorem 3",
        "Between the small bases and the critical base a model reads as far as it was tuned, and no further.",
        "measured limit over tuning length, within 25 %",
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
        "limit after over before, within 25 %",
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
        "limit after over before, over the ratio of the lengths, within 25 %",
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
        "scaling-laws/against-dynamic-ntk",
        "section 3",
        "Within its wall a tuned larger base is better than dynamic NTK; beyond, worse.",
        "NLL, tuned base less dynamic NTK (nats a token)",
        below(0),
        "measured",
        NO_STAGE,
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

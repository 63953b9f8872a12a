"""The claims of ORoPE (AI Open 6, 2025), of which only the abstract could be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ropewalk.report.scorecard.claim import ANY, COMPUTED, Claim, Evidence, Experiment, above, below, between, never
from ropewalk.report.scorecard.reading import cases, evidence
from ropewalk.rope import default_rope, methods
from ropewalk.rope.diagnostics import g_w1, r_ker
from ropewalk.search.results import ORIGINAL

LLAMA2 = default_rope(128, 10_000.0, 4096)
FACTOR = 4.0
HAND_MADE = (
    methods.pi,
    methods.ntk,
    methods.ntk_critical,
    methods.ntk_by_parts,
    methods.yarn,
    methods.yarn_written,
    methods.llama3,
    methods.mrrope_uni,
    methods.mrrope_pro,
)
"""Methods that lengthen a rope by a factor, for every length alike; none is fitted to anything."""
PUBLISHED = {2: 21.9, 4: 32.1, 8: 41.2}
"""Gain over baselines in percent of a metric that the abstract does not name, at 8K, 16K and 32K."""


def _beats_hand_made(factor: float) -> Callable[[Experiment], list[Evidence]]:
    def measure(experiment: Experiment) -> list[Evidence]:
        return [
            evidence(experiment, case, method)
            for method in _found(experiment, factor)
            for case in cases(experiment, quantity="difference", method=method, factor=factor, at=None)
        ]

    return measure


def _beats_none(experiment: Experiment) -> list[Evidence]:
    """Objective of what was found less that of the rope of pre-training, with the widest bounds that both allow."""
    found = []
    for factor in dict.fromkeys(row.factor for row in experiment.scores.select(quantity="objective")):
        [original] = cases(experiment, quantity="objective", method=ORIGINAL, factor=factor)
        none = evidence(experiment, original, ORIGINAL)
        for method in _found(experiment, factor):
            [searched] = cases(experiment, quantity="objective", method=method, factor=factor)
            one = evidence(experiment, searched, f"{method}, {factor:g}x")
            low, high = one.low - none.high, one.high - none.low
            found.append(replace(one, value=one.value - none.value, low=low, high=high))
    return found


def _found(experiment: Experiment, factor: float | None) -> list[str]:
    """The methods by which Bayesian optimisation with a Gaussian process found a rope for a factor."""
    rows = experiment.scores.select(quantity="objective", factor=factor)
    # What was made by hand has no seeds.
    found = dict.fromkeys(row.method for row in rows if row.n_seeds)
    return [method for method in found if method is not None and method.startswith("gp/")]


def _mismatch() -> list[Evidence]:
    """How much more new angles extrapolation meets than the worst hand-made method."""
    length = round(FACTOR * LLAMA2.original_length)
    others = [g_w1(method(LLAMA2, factor=FACTOR), length) for method in HAND_MADE]
    return [Evidence.exact(g_w1(LLAMA2, length) - max(others))]


def _resolution() -> list[Evidence]:
    """How much more resolution interpolation loses than any other hand-made method."""
    pi, *others = (r_ker(method(LLAMA2, factor=FACTOR)) for method in HAND_MADE)
    return [Evidence.exact(pi - max(others))]


CLAIMS = [
    Claim(
        "orope/global-mismatch",
        "abstract",
        "Without extension, long texts show angles whose distribution training never had.",
        "g_w1 of the plain rope less the largest of the hand-made ones, LLaMA-2 at 4x (radians)",
        above(0),
        "computed",
        COMPUTED,
        None,
        _mismatch,
    ),
    Claim(
        "orope/local-resolution",
        "abstract",
        "Interpolating all pairs alike costs resolution between neighbours.",
        "r_ker of position interpolation less the largest of the others, LLaMA-2 at 4x",
        above(0),
        "computed",
        COMPUTED,
        None,
        _resolution,
    ),
    *(
        Claim(
            f"orope/beats-hand-made-{factor}x",
            "abstract",
            f"A rope found by Bayesian optimisation, without training, beats every hand-made one at {factor} times the "
            "training length.",
            "objective on documents that no search saw, less that of the best hand-made rope (nats)",
            below(0),
            "measured",
            ANY,
            "search",
            _beats_hand_made(factor),
        )
        for factor in PUBLISHED
    ),
    Claim(
        "orope/reads-longer",
        "abstract",
        "The found rope reads longer texts than the model did before, without training.",
        "objective on documents that no search saw, less that of the rope of pre-training (nats)",
        below(0),
        "measured",
        ANY,
        "search",
        _beats_none,
    ),
    *(
        Claim(
            f"orope/gain-{factor}x",
            "abstract",
            f"The gain over the baselines is up to {percent} % at {factor} times the training length.",
            "not named in the abstract",
            between(-math.inf, percent),
            "measured",
            "the paper's metric, which could not be read",
            None,
            never,
        )
        for factor, percent in PUBLISHED.items()
    ),
]

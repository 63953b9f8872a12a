"""The claims of ORoPE (AI Open 6, 2025), of which only the abstract could be read."""

from __future__ import annotations

import math
from collections.abc import Callable

from ropewalk.report.scorecard.claim import ANY, COMPUTED, Claim, Evidence, Experiment, above, below, between, never
from ropewalk.report.scorecard.reading import over_documents
from ropewalk.rope import default_rope
from ropewalk.rope.diagnostics import g_w1, r_ker
from ropewalk.search.results import ORIGINAL, hand_made

LLAMA2 = default_rope(128, 10_000.0, 4096)
FACTOR = 4.0
PUBLISHED = {2: 21.9, 4: 32.1, 8: 41.2}
"""Gain over baselines in percent of a metric that the abstract does not name, at 8K, 16K and 32K."""


def _beats_hand_made(factor: str) -> Callable[[Experiment], list[Evidence]]:
    def measure(experiment: Experiment) -> list[Evidence]:
        return [
            over_documents(experiment, (factor, "standings", method), "difference", method)
            for method in _found(experiment, factor)
        ]

    return measure


def _beats_none(experiment: Experiment) -> list[Evidence]:
    """Objective of what was found less that of the rope of pre-training, with the widest bounds that both allow."""
    found = []
    for factor in (key for key in experiment.scores if key != "setting"):
        for method in _found(experiment, factor):
            one, none = (
                over_documents(experiment, (factor, "standings", name), "objective", factor)
                for name in (method, ORIGINAL)
            )
            low, high = one.low - none.high, one.high - none.low
            found.append(Evidence(one.value - none.value, low, high, f"{method}, {factor}", one.key))
    return found


def _found(experiment: Experiment, factor: str) -> list[str]:
    """What Bayesian optimisation with a Gaussian process found for a factor, written like 4x."""
    rows = experiment.scores.get(factor, {"standings": {}})["standings"]
    return [method for method, row in rows.items() if row["found"] and method.startswith("gp/")]


def _mismatch() -> list[Evidence]:
    """How much more new angles extrapolation meets than the worst hand-made method."""
    length = round(FACTOR * LLAMA2.original_length)
    others = [g_w1(rope, length) for name, rope in hand_made(LLAMA2, FACTOR).items() if name != "dynamic-ntk"]
    return [Evidence.exact(g_w1(LLAMA2, length) - max(others))]


def _resolution() -> list[Evidence]:
    """How much more resolution interpolation loses than any other hand-made method."""
    ropes = hand_made(LLAMA2, FACTOR)
    losses = {name: r_ker(rope) for name, rope in ropes.items() if name != "dynamic-ntk"}
    return [Evidence.exact(losses.pop("pi") - max(losses.values()))]


CLAIMS = [
    Claim(
        "orope/global-mismatch",
        "abstract",
        "Without extension, long texts show angles whose distribution training never had.",
        "g_w1 of the plain rope less the largest of the hand-made ones, LLaMA-2 at 4x (radians)",
        above(0),
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
            ANY,
            "search",
            _beats_hand_made(f"{factor}x"),
        )
        for factor in PUBLISHED
    ),
    Claim(
        "orope/reads-longer",
        "abstract",
        "The found rope reads longer texts than the model did before, without training.",
        "objective on documents that no search saw, less that of the rope of pre-training (nats)",
        below(0),
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
            "the paper's metric, which could not be read",
            None,
            never,
        )
        for factor, percent in PUBLISHED.items()
    ),
]

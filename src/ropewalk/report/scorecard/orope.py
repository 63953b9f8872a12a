"""The claims of ORoPE (AI Open 6, 2025), of which only the abstract could be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ropewalk.report.scorecard.claim import ANY, Claim, Competence, Evidence, Experiment, above, below, between, never
from ropewalk.report.scorecard.reading import cases, evidence, row_of
from ropewalk.search.results import ORIGINAL

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


def _cause(task: str, quantity: str) -> Callable[[Experiment], list[Evidence]]:
    """A number of the regressions over ropes of a Sobol sequence, at every factor."""

    def measure(experiment: Experiment) -> list[Evidence]:
        about = experiment.setting
        worst = min(
            number for row in experiment.scores.select(quantity="competence") if (number := row.value) is not None
        )
        able = Competence(about["competence"], worst, about["competence_needed"])
        return [
            evidence(experiment, case, f"{row_of(case).factor:g}x", able)
            for case in cases(experiment, quantity=quantity, task=task, method="sobol")
        ]

    return measure


CLAIMS = [
    Claim(
        "orope/global-mismatch",
        "abstract",
        "A global mismatch of distributions is a cause of loss beyond the training length.",
        "nats a token beyond the training length for one standard deviation more mismatch of angles (g_w1, our "
        "reading), the distortion of the local kernel held equal",
        above(0),
        "measured",
        ANY,
        "causes",
        _cause("tail", "nats_by_g_w1"),
    ),
    Claim(
        "orope/local-resolution",
        "abstract",
        "A loss of local resolution is a cause of loss, on near text.",
        "rank correlation of the distortion of the local kernel (r_ker, our reading) with what a rope costs texts up "
        "to the training length",
        above(0),
        "measured",
        ANY,
        "causes",
        _cause("short", "rank_correlation"),
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

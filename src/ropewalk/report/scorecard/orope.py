"""The claims of ORoPE (AI Open 6, 2025), of which only the abstract could be read."""

from __future__ import annotations

from collections.abc import Callable

from ropewalk.report.scorecard.claim import ANY, Claim, Competence, Evidence, Experiment, above, below, never
from ropewalk.report.scorecard.reading import cases, evidence, number, row_of
from ropewalk.search.comparison import BY_HAND, ORIGINAL

PUBLISHED = {2: ("8K", 21.9), 4: ("16K", 32.1), 8: ("32K", 41.2)}
"""Tokens, and the gain over baselines in percent of a metric that the abstract does not name. Nor does it name the
length of training: 4K, of which these are 2, 4 and 8 times, is inferred."""


def _against(other: str, factor: float | None = None) -> Callable[[Experiment], list[Evidence]]:
    """Objective of ropes found by Bayesian optimisation less that of another rope, on documents that no search saw."""

    def measure(experiment: Experiment) -> list[Evidence]:
        return [
            evidence(experiment, case, f"{row_of(case).method}, {row_of(case).factor:g}x", _able(experiment))
            for case in cases(experiment, quantity="difference", against=other, at=None)
            if _bayesian(row_of(case).method) and factor in (None, row_of(case).factor)
        ]

    return measure


def _tuning_replaced(experiment: Experiment) -> list[Evidence]:
    """Evaluations of a search until it is as good as the rope tuned by hand, over those that the tuning took."""
    found = []
    for case in cases(experiment, quantity="evaluations", against=BY_HAND):
        row = row_of(case)
        if _bayesian(row.method):
            about = {"method": row.method, "factor": row.factor, "against": BY_HAND}
            taken = evidence(experiment, case, f"{row.method}, {row.factor:g}x", _able(experiment))
            found.append(taken.per(number(experiment, quantity="by_hand", **about)))
    return found


def _bayesian(method: str | None) -> bool:
    """Whether a rope was found by Bayesian optimisation with a Gaussian process."""
    return method is not None and method.startswith("gp/")


def _able(experiment: Experiment) -> Competence | None:
    """What the least able of the models that count reaches; all count where none is able."""
    reached = [float(row.value or 0.0) for row in experiment.scores.select(quantity="competence")]
    if not reached:
        return None
    needed = experiment.setting["competence_needed"]
    able = [value for value in reached if value >= needed]
    return Competence(experiment.setting["competence"], min(able or reached), needed)


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
            f"A rope found by Bayesian optimisation, without training, beats the baselines at {length} tokens, taken "
            f"for {factor} times the training length.",
            "objective on documents that no search saw, less that of the best hand-made rope, coded or tuned (nats)",
            below(0),
            "measured",
            ANY,
            "search",
            _against("best hand-made", factor),
        )
        for factor, (length, _) in PUBLISHED.items()
    ),
    Claim(
        "orope/less-manual-tuning",
        "abstract",
        "Changes of RoPE need much tuning by hand, which Bayesian optimisation spares.",
        "evaluations until within 0.02 nats of the best rope tuned by hand, on the documents of the search, over those "
        "that the tuning took",
        below(1),
        "measured",
        ANY,
        "search",
        _tuning_replaced,
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
        _against(ORIGINAL),
    ),
    *(
        Claim(
            f"orope/gain-{factor}x",
            "abstract",
            f"The gain over the baselines is up to {percent} % at {length} tokens.",
            "gain in percent of a metric that the abstract does not name",
            above(0),
            "measured",
            "the paper's metric, which could not be read",
            None,
            never,
            percent,
        )
        for factor, (length, percent) in PUBLISHED.items()
    ),
]

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from ropewalk.extending.measurements import Measured
from ropewalk.extending.recommendation import FEWEST, WORTH, recommend

BOUND = 0.05
RNG = np.random.default_rng(0)
LEVEL = RNG.normal(3, 1, 64)
"""Documents differ by far more than ropes do."""


def found(
    ropes: dict[str, tuple[float, float]], *, documents: int = 12, noise: float = 0.01, seed: int = 0
) -> Measured:
    """Ropes with given gains and costs, and noise that is theirs: only the tail speaks, there are no answers."""
    rng = np.random.default_rng(seed)
    names = ("native", *ropes)
    gains, costs = zip((0.0, 0.0), *ropes.values(), strict=True)
    level = LEVEL[:documents]
    tail = np.stack([level - gain + rng.normal(0, noise, documents) for gain in gains])
    short = np.stack([level + cost + rng.normal(0, noise / 10, documents) for cost in costs])
    nothing = np.full_like(tail, math.nan)
    return Measured(names, tuple(f"d{i}" for i in range(documents)), short, tail, nothing, nothing)


def asked(ropes, **how):
    return recommend(found(ropes, **how), BOUND, 0.95)


def verdicts(said):
    return {one.name: one.verdict for one in said.judged}


def test_what_helps_and_costs_little_is_used():
    said = asked({"a": (1.0, 0.01), "b": (0.5, 0.01)})
    assert (said.answer, said.rope, said.ties) == ("use", "a", ())
    assert verdicts(said) == {"a": "use", "b": "use"}


def test_what_costs_too_much_is_never_recommended_whatever_it_gains():
    said = asked({"dear": (5.0, 0.08), "cheap": (0.3, 0.02)})
    assert (said.answer, said.rope) == ("use", "cheap")
    assert verdicts(said)["dear"] == "too dear"
    assert asked({"dear": (5.0, 0.08)}).answer == "too dear"
    for seed in range(50):
        said = asked({"a": (1.0, 0.049 + 0.01 * seed / 50)}, seed=seed)
        if said.rope is not None:
            assert said.judged[0].cost.high <= BOUND


def test_nothing_to_gain_is_left_alone():
    said = asked({"a": (0.0, 0.01), "b": (-0.5, 0.2)}, noise=0.002)
    assert (said.answer, said.rope) == ("leave it", None)
    # What is sure to gain, and sure to gain next to nothing, is not worth another rope.
    assert asked({"a": (WORTH / 2, 0.0)}, noise=0.001).answer == "leave it"


def test_intervals_that_leave_it_open_say_undecided():
    assert asked({"a": (0.05, 0.01)}, noise=1.0).answer == "undecided"
    at_the_bound = [asked({"a": (1.0, BOUND)}, seed=seed).answer for seed in range(100)]
    # Each of the two other verdicts is wrong in 5 % of the cases.
    assert at_the_bound.count("undecided") > 80
    assert {at_the_bound.count("use") > 12, at_the_bound.count("too dear") > 12} == {False}
    # One open rope keeps the question open, though another one is surely of no use.
    assert asked({"a": (0.05, 0.0), "b": (-9.0, 0.0)}, noise=1.0).answer == "undecided"


def test_few_documents_decide_nothing():
    ropes = {"a": (5.0, 0.0)}
    for documents in range(FEWEST):
        assert asked(ropes, documents=documents).answer == "undecided"
    assert asked(ropes, documents=FEWEST).answer == "use"


def test_ropes_that_cannot_be_told_apart_are_named():
    said = asked({"a": (1.0, 0.01), "b": (1.0, 0.01), "c": (0.2, 0.01)}, noise=0.1)
    assert {said.rope, *said.ties} == {"a", "b"}


def test_comparisons_are_counted_and_corrected_for():
    """With scipy's own interval at Bonferroni's level."""
    table = found({"a": (1.0, 0.01), "b": (0.5, 0.02), "c": (0.1, 0.03)})
    said = recommend(table, BOUND, 0.95)
    assert said.comparisons == 3
    for k, one in enumerate(said.judged, start=1):
        for interval, values in (
            (one.gain, table.tail[0] - table.tail[k]),
            (one.cost, table.short[k] - table.short[0]),
        ):
            wanted = ttest_1samp(values, 0).confidence_interval(1 - 2 * 0.05 / 3)
            assert (interval.low, interval.high) == pytest.approx(tuple(wanted))


def test_a_rope_without_use_is_rarely_recommended():
    """The chance that any of five is, where none helps, is 5 % at most."""
    wrong = sum(asked(dict.fromkeys("abcde", (0.0, 0.0)), noise=0.5, seed=seed).answer == "use" for seed in range(400))
    assert wrong / 400 <= 0.05

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ropewalk.intervals import student
from ropewalk.report.scorecard.claim import (
    ANY,
    COMPUTED,
    Claim,
    Competence,
    Evidence,
    Experiment,
    above,
    below,
    between,
    equal,
)
from ropewalk.report.scorecard.verdict import Tried, detectable, holm, inside, judge, outside
from ropewalk.scores import Scores

STUDY = Experiment("study", "reports/posgen/e/scores.json", Scores({"stage": "posgen", "experiment": "e"}, ()))


def claim(region, effect=None, kind="measured"):
    return Claim("resonance/x", "", "X.", "", region, kind, ANY, "posgen", list, effect)


def measured(value, low, high, **about):
    return Evidence(value, low, high, **({"confidence": 0.95, "over": "seeds", "n_seeds": 30} | about))


def only(region, *cases, **about):
    (finding,) = judge([Tried(claim(region, **about), STUDY, cases)])
    return finding


@pytest.mark.parametrize(
    ("region", "bounds", "verdict"),
    [
        (above(0), (0.1, 0.2), "reproduced"),
        (above(0), (-0.1, 0.2), "undecided"),
        (above(0), (-0.2, -0.1), "not reproduced"),
        (below(0), (-0.2, -0.1), "reproduced"),
        (between(0.75, 1.25), (0.76, 1.24), "reproduced"),
        (between(0.75, 1.25), (1.2, 1.3), "undecided"),
        (between(0.75, 1.25), (1.26, 1.3), "not reproduced"),
        (between(0.75, 1.25), (math.nan, math.nan), "no verdict"),
        # Seeds that all gave the same number.
        (below(1), (0.25, 0.25), "no verdict"),
    ],
)
def test_alone_a_finding_is_decided_by_where_its_whole_interval_lies(region, bounds, verdict):
    assert only(region, measured(sum(bounds) / 2, *bounds)).verdict == verdict


def test_what_is_computed_has_no_chance_in_it():
    claims = [
        Claim("resonance/x", "", "X.", "", region, "computed", COMPUTED, None, list)
        for region in (equal(92), above(92))
    ]
    yes, no = judge([Tried(one, None, (Evidence.exact(92),)) for one in claims])
    assert (yes.verdict, yes.chance, yes.family) == ("reproduced", None, None)
    assert no.verdict == "not reproduced"


def test_probabilities_beyond_an_interval_are_those_of_student():
    values = np.array([0.9, 0.2, 0.7, 0.4, 0.5])
    found = student(values)
    case = measured(found.mean, found.low, found.high, n_seeds=5)
    for end in (0.0, 0.3, 0.8):
        theirs = stats.ttest_1samp(values, end, alternative="greater").pvalue
        assert outside(case, above(end)) == pytest.approx(theirs)
        assert inside(case, above(end)) == pytest.approx(1 - theirs)


def test_the_visible_effect_is_seen_four_times_in_five():
    rng, effect = np.random.default_rng(0), None
    seen = []
    for _ in range(2000):
        values = rng.normal(effect or 0, 1.0, 12)
        if effect is None:
            # Of a sample whose deviation is just that of the population.
            values = (values - values.mean()) / values.std(ddof=1)
            found = student(values)
            effect = detectable(measured(found.mean, found.low, found.high, n_seeds=12), 1)
            continue
        found = student(values)
        seen.append(found.low > 0)
    assert np.mean(seen) == pytest.approx(0.8, abs=0.03)


def test_a_claim_about_several_cases_needs_them_all_and_shows_the_one_that_decides():
    good, open_ = measured(-1, -1.5, -0.5, where="a"), measured(-0.1, -0.3, 0.1, where="b")
    bad = measured(0.3, 0.2, 0.4, where="c")
    assert only(below(0), good, good).verdict == "reproduced"
    assert (only(below(0), good, open_).verdict, only(below(0), good, open_).decisive) == ("undecided", open_)
    assert (only(below(0), good, open_, bad).verdict, only(below(0), good, open_, bad).decisive) == (
        "not reproduced",
        bad,
    )
    assert only(below(0)).verdict == "not tried"


def test_one_bad_case_of_many_may_be_chance():
    barely = measured(0.11, 0.01, 0.21)
    rest = [measured(0.0, -0.1, 0.1)] * 9
    assert only(below(0), barely).verdict == "not reproduced"
    assert only(below(0), barely, *rest).verdict == "undecided"


def test_a_wrong_side_says_nothing_where_the_papers_effect_could_not_have_been_seen():
    wide = measured(-15.0, -25.0, -5.0)
    assert only(above(0), wide).verdict == "not reproduced"
    blind = only(above(0), wide, effect=5.7)
    assert blind.verdict == "not visible"
    assert "5.7" in blind.why
    assert only(above(0), wide, effect=30.0).verdict == "not reproduced"
    assert only(above(0), measured(2.0, -10.0, 14.0), effect=5.7).verdict == "not visible"
    assert only(above(0), measured(30.0, 20.0, 40.0), effect=5.7).verdict == "reproduced", "what is seen is seen"


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"n_seeds": 1}, "1 seed; 2 are the fewest"),
        ({"n_documents": 5}, "5 documents; 6 are the fewest"),
        ({"competence": Competence("accuracy in range", 0.8, 0.95)}, "not able enough"),
    ],
)
def test_too_little_gives_no_verdict_and_says_why(about, words):
    finding = only(above(0), measured(1.0, 0.9, 1.1, **about))
    assert finding.verdict == "no verdict"
    assert words in finding.why
    assert finding.decisive is not None, "it is shown"


def test_cases_that_decide_nothing_are_told_and_keep_a_claim_from_holding():
    unable = measured(1.0, 0.9, 1.1, competence=Competence("accuracy in range", 0.8, 0.95))
    able = replace(unable, competence=Competence("accuracy in range", 0.99, 0.95))
    finding = only(above(0), unable, able)
    assert finding.verdict == "undecided"
    assert "1 of 2 cases decide nothing" in finding.why
    assert only(below(0), unable, able).verdict == "not reproduced"


def test_holm_agrees_with_its_definition():
    # The example of Holm's rule: smallest against 0.05 / 4, next against 0.05 / 3, and so on, until one stands.
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert holm([0.02, 0.02, 0.02, 0.02], 0.05) == [False] * 4
    assert holm([], 0.05) == []


def test_more_findings_make_each_harder_to_decide():
    case = measured(1.0, 0.1, 1.9)
    alone = judge([Tried(claim(above(0)), STUDY, (case,))])
    among = judge([Tried(claim(above(0)), STUDY, (case,))] + [Tried(claim(above(0)), STUDY, (measured(0, -1, 1),))] * 9)
    assert (alone[0].verdict, among[0].verdict) == ("reproduced", "undecided")
    assert among[0].family == 10
    assert among[0].detectable > alone[0].detectable


def test_studies_in_which_nothing_differs_have_a_verdict_one_time_in_twenty():
    rng = np.random.default_rng(5)
    regions = [above(0), below(0)] * 10
    wrong = 0
    for _ in range(600):
        tried = []
        for region in regions:
            found = [student(rng.normal(0, 1, 5)) for _ in range(2)]
            cases = tuple(measured(one.mean, one.low, one.high, n_seeds=5) for one in found)
            tried.append(Tried(claim(region), STUDY, cases))
        wrong += any(one.verdict in ("reproduced", "not reproduced") for one in judge(tried))
    assert wrong / 600 < 0.05 + 0.02


def test_studies_are_corrected_each_for_itself():
    other = replace(STUDY, study="other")
    case = measured(1.0, 0.1, 1.9)
    tried = [Tried(claim(above(0)), STUDY, (case,)), *[Tried(claim(above(0)), other, (measured(0, -1, 1),))] * 9]
    assert judge(tried)[0].verdict == "reproduced"

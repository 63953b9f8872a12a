from __future__ import annotations

import math

import pytest

from ropewalk.scores import Score, number_rows

RULES = ("0.05 nats", "0.1 nats", "0.2 nats", "perplexity × 1.1")
COUNTS = {"n_documents": 36, "n_seeds": 2, "n_models": 3}
TUNED = {"tune_length": 128, "steps": 125}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # Figures of the paper, and closed forms worked out apart from this code.
        ("scaling-laws/critical-dimension", 92),
        ("scaling-laws/code-llama", 970_497),
        ("scaling-laws/million-base", 129_027),
        # Theorem 3: at the critical base the length is that of tuning.
        ("scaling-laws/fixed-point", 1),
        ("scaling-laws/printed-wall", 129_027 / 131_072),
    ],
)
def test_what_is_computed_agrees_with_the_paper_and_with_closed_forms(found, name, value):
    finding = found(name)
    assert finding.verdict == "reproduced"
    assert finding.decisive.value == pytest.approx(value, abs=0.01, rel=2e-3)


def about(value, half, quantity, **columns):
    """A row with an interval over all that varies."""
    ends = {"documents, seeds and models": (value - half, value + half)}
    return number_rows(quantity, value, intervals=ends, confidence=0.95, freedom=10.0, **COUNTS, **columns)


def rules(values, half, quantity, **columns):
    """A row a rule."""
    return [
        row
        for rule, value in zip(RULES, values, strict=True)
        for row in about(value, half, quantity, rule=rule, **columns)
    ]


@pytest.fixture
def scaling(experiment):
    def made(*rows, able=(0.5, 0.4, 0.05)):
        setting = {"rotary_dim": 64, "base": 1e4, "train_length": 128, "longest": 2048, "documents": 36}
        setting |= {"competence": "use of context", "competence_needed": 0.1}
        models = [Score(quantity="competence", value=value, model=f"m{i}") for i, value in enumerate(able)]
        return experiment("scaling", setting, models, *rows)

    return made


def walls(values, half=10.0):
    base = {"base": 1e5, **TUNED}
    yield from rules(values, half, "limit", regime="hard wall", **base)
    yield from number_rows("predicted_limit", 329.0, law="discrete", regime="hard wall", **base)


def test_a_wall_is_where_the_law_puts_it_by_every_rule_or_undecided(found, scaling):
    close = found("scaling-laws/walls", scaling(walls([340, 350, 360, 390])))
    assert close.verdict == "reproduced"
    [case] = close.evidence
    assert (case.low, case.high) == pytest.approx((330 / 329, 400 / 329))
    assert case.over == "documents, seeds and models, and 4 rules of a limit"
    assert (case.competence.value, case.competence.holds) == (0.4, True), "the model below it does not count"
    assert found("scaling-laws/walls", scaling(walls([350, 350, 350, 560]))).verdict == "undecided"
    assert found("scaling-laws/walls", scaling(walls([600, 610, 620, 640]))).verdict == "not reproduced"
    assert found("scaling-laws/walls", scaling(walls([340, 350, 360, 390]), able=(0.01,))).verdict == "no verdict"


def test_a_wall_that_was_never_met_is_beyond_the_law(found, scaling):
    base = {"base": 1e5, "regime": "hard wall", **TUNED}
    never = number_rows("limit", math.inf, intervals={"documents and seeds": (2000.0, math.inf)}, rule="0.05 nats",
                        confidence=0.95, **COUNTS, **base)  # fmt: skip
    predicted = number_rows("predicted_limit", 329.0, law="discrete", **base)
    finding = found("scaling-laws/walls", scaling(never, predicted))
    assert finding.verdict == "not reproduced"
    assert math.isinf(finding.decisive.value)


def test_slopes_are_held_against_the_law_by_every_rule(found, scaling):
    law = [row for rule in RULES for row in number_rows("predicted_slope", 0.344, law="discrete", rule=rule, **TUNED)]
    close = found("scaling-laws/slope", scaling(rules([0.35, 0.36, 0.35, 0.34], 0.02, "slope", **TUNED), law))
    assert close.verdict == "reproduced"
    flips = found("scaling-laws/slope", scaling(rules([0.35, 0.36, 0.40, 0.43], 0.02, "slope", **TUNED), law))
    assert flips.verdict == "undecided"
    assert flips.evidence[0].high == pytest.approx(0.45 - 0.344)


def test_small_bases_are_ordered_by_every_rule_or_not(found, scaling):
    small = {"base": 40.0, "against_base": 20.0, **TUNED}
    for values, verdict in (
        ([0.7] * 4, "reproduced"),
        ([1.3] * 4, "not reproduced"),
        ([0.7, 0.7, 1.3, 1.3], "undecided"),
    ):
        assert (
            found(
                "scaling-laws/smaller-is-flatter", scaling(rules(values, 0.05, "limit_over_smaller", **small))
            ).verdict
            == verdict
        )


def test_a_gain_is_asked_for_across_each_threshold(found, scaling):
    steps = [(1000.0, 81.0, 0.3), (81.0, 40.0, 0.2), (40.0, 20.0, 0.1), (1e4, 1000.0, -1.0)]
    rows = [about(value, 0.02, "far_degradation_less_next", base=base, against_base=other, **TUNED)
            for base, other, value in steps]  # fmt: skip
    finding = found("scaling-laws/gain-below-thresholds", scaling(*rows))
    assert [case.where.split(":")[0] for case in finding.evidence] == ["beta_1", "beta_2", "beta_3"]
    assert finding.verdict == "reproduced"


def test_bases_that_may_be_small_ones_are_not_in_the_middle(found, scaling):
    middle = [rules([130, 130, 135, 140], 5, "limit", base=base, regime="middle", **TUNED) for base in (300.0, 1000.0)]
    [case] = found("scaling-laws/middle", scaling(*middle)).evidence
    assert case.where.startswith("base 1,000,"), "300 is below 4 times 81"


def test_the_worst_base_moves_and_larger_ones_are_better_again(found, scaling):
    longer = {"tune_length": 256, "steps": 125}
    rows = [about(value, 0.05, "far_degradation_less_original", base=base, against_base=1e4, **longer)
            for base, value in ((83_149.0, 0.9), (1e6, 0.2))]  # fmt: skip
    rows += [about(value, 0.05, "far_degradation_less_next", base=base, against_base=other, **longer)
             for base, other, value in ((83_149.0, 1e4, 0.9), (1e6, 83_149.0, -0.7), (1e4, 1e3, 0.5))]  # fmt: skip
    scores = scaling(*rows)
    assert found("scaling-laws/worst-base-moves", scores).decisive.value == 0.9
    assert found("scaling-laws/worst-base-moves", scores).verdict == "reproduced"
    turn = found("scaling-laws/first-worse-then-better", scores)
    assert sorted(case.value for case in turn.evidence) == [0.7, 0.9]
    assert turn.verdict == "reproduced"
    assert found("scaling-laws/worst-base", scores).verdict == "not tried", "that is about the pre-training length"


def test_dynamic_ntk_is_beaten_within_a_wall_and_beats_far_beyond(found, scaling):
    base = {"base": 1e5, "regime": "hard wall", **TUNED}
    predicted = number_rows("predicted_limit", 329.0, law="discrete", **base)
    rows = [about(value, 0.02, "nll_less_dynamic_ntk", length=length, **base)
            for length, value in ((256, -0.3), (512, 0.1), (2048, 0.4))]  # fmt: skip
    small = [about(value, 0.02, "nll_less_dynamic_ntk", base=15.0, regime="soft", length=length, **TUNED)
             for length, value in ((1024, 0.1), (2048, -0.2))]  # fmt: skip
    scores = scaling(predicted, *rows, *small)
    for name, value in (("within", -0.3), ("beyond", 0.4)):
        finding = found(f"scaling-laws/dynamic-ntk-{name}", scores)
        assert [case.value for case in finding.evidence] == [value]
        assert finding.verdict == "reproduced"
    steady = found("scaling-laws/steady-base", scores)
    assert [case.value for case in steady.evidence] == [-0.2], "50K tokens are 12.5 times 4,096"


def test_the_critical_dimension_is_a_cause_where_dividing_its_pairs_mends_most(found, scaling):
    assert found("scaling-laws/critical-cause", scaling(about(0.9, 0.1, "mended_share"))).verdict == "reproduced"
    assert found("scaling-laws/critical-cause", scaling(about(0.3, 0.1, "mended_share"))).verdict == "not reproduced"
    assert found("scaling-laws/critical-cause", scaling()).verdict == "not tried"


def test_longer_tuning_texts_are_held_against_the_law_by_every_rule(found, scaling):
    rows = []
    for base, predicted, value in ((3e5, 1.0, 1.02), (1e4, 2.0, 2.1)):
        columns = {"base": base, "against_length": 128, "tune_length": 256, "steps": 125}
        rows.append(rules([value] * 4, 0.05, "limit_ratio", **columns))
        rows += [
            number_rows("predicted_limit_ratio", predicted, law="discrete", rule=rule, **columns) for rule in RULES
        ]
    scores = scaling(*rows)
    assert found("scaling-laws/wall-stays", scores).decisive.value == pytest.approx(1.02)
    assert found("scaling-laws/middle-moves", scores).decisive.value == pytest.approx(1.05)

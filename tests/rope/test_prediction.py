from __future__ import annotations

import json

import pytest

from ropewalk.errors import UserError
from ropewalk.rope.prediction import Setting, limits, predict


def llama2(new_base: float, tuned: int = 4096) -> Setting:
    return Setting(128, 10_000.0, 4096, tuned, new_base)


def test_the_headline_of_the_paper():
    found = predict(llama2(1e6, 16_384), 131_072)
    assert found["critical_dimension"] == 92
    assert found["critical_dimension_tuned"] == 74
    assert found["critical_base"] == pytest.approx(71_738.44, abs=0.01)
    assert found["regime"] == "hard wall"
    assert found["limit"] == pytest.approx(129_027, abs=1)
    assert found["limit_continuous"] == pytest.approx(104_580, abs=1)
    assert found["small_base_thresholds"]["printed"] == pytest.approx([10_430.4, 5_215.2, 2_607.6], abs=0.05)
    assert found["target"]["base_discrete"] == pytest.approx(1.022e6, rel=1e-3)
    assert found["target"]["base_continuous"] == pytest.approx(1_378_414, abs=1)
    assert found["required_periods"]["1"]["critical_dimension"] == 92
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_exact_thresholds_of_the_slowest_pair():
    exact = predict(llama2(1e6))["small_base_thresholds"]["exact"]
    assert exact == pytest.approx([2954.4, 1461.0, 722.5], abs=0.05)
    small = predict(Setting(32, 10_000.0, 128, 128, 50.0))["small_base_thresholds"]["exact"]
    assert small == pytest.approx([109, 52, 25], abs=0.5)


# arXiv 2310.05209, the reference behaviour around the critical base and the thresholds.
@pytest.mark.parametrize(
    ("base", "tuned", "regime", "limit"),
    [
        (10_000, 4096, "middle", 4096),
        (10_001, 4096, "hard wall", 4712),
        (2_600, 4096, "soft", None),
        (2_610, 4096, "middle", 4096),
        (71_738, 16_384, "middle", 16_384),
        (71_739, 16_384, "hard wall", 19_420),
        (500, 16_384, "soft", None),
    ],
)
def test_regimes(base, tuned, regime, limit):
    found = predict(llama2(base, tuned))
    assert found["regime"] == regime
    assert found["limit"] == (None if limit is None else pytest.approx(limit, abs=1))


def test_continuous_readings_never_fall_short_of_the_tuning_length():
    assert limits(llama2(72_000, 16_384))["last covered pair"] == 16_384


def test_inconsistencies_are_said_in_words():
    notes = " ".join(predict(llama2(1e6, 16_384), 131_072)["notes"])
    assert "the limit is 129,027 by the one and 104,580 by the other, 23 % apart" in notes
    assert "12,080 in the place of 10,430" in notes
    assert "stops preferring similar keys at a distance of 27,115 tokens (Men et al.), before the 129,027" in notes
    assert "two inverses of one law" in notes
    assert "comes out as 134, more than the head has; it is held at 128" in " ".join(predict(llama2(500))["notes"])
    assert "names no limit" in " ".join(predict(llama2(500))["notes"])
    assert "a wall at 4,712 would come out" in " ".join(predict(llama2(10_000))["notes"])


def test_small_bases_get_no_limit_anywhere():
    found = predict(llama2(500))
    assert found["limit"] is None
    walls = ("discrete", "continuous", "last covered pair", "3 periods", "10 periods", "frequency band")
    assert all(found["limits"][law] is None for law in walls)
    said = " ".join(found["notes"])
    assert "before the tuning length, 4,096" in said
    assert "no pair is left whose meaning does not depend on the position" in said
    assert "would come out" not in " ".join(predict(llama2(3000))["notes"]), "1,983 tokens lie within the tuning length"


def test_the_exact_thresholds_are_said_where_they_decide_otherwise():
    # The paper's own 2608 lies above 2 * 4096 / pi = 2607.6 and below (2 * 4096 / pi) ** (128 / 126) = 2954.4.
    between = "Base 2,608 lies between the two: in the middle by the printed threshold"
    assert between in " ".join(predict(llama2(2608))["notes"])
    for base in (2607, 2955):
        assert "lies between the two" not in " ".join(predict(llama2(base))["notes"])
    # log_652(4096 / 2 pi) * 64 = 63.998: the pair 64 that no head has turns short of a whole turn.
    notes = " ".join(predict(llama2(652))["notes"])
    assert "rounding 63.998 up to 64: base 652 lies above the printed threshold for it, 651.9" in notes
    for base in (651, 723):
        assert "by rounding" not in " ".join(predict(llama2(base))["notes"])


def test_limits_that_are_held_at_the_tuning_length_are_named_with_what_the_formulas_give():
    notes = " ".join(predict(llama2(72_000, 16_384))["notes"])
    # 2 pi 72000^(90/128), and with L/3 and L/10 in the place of L: 2 pi 72000^(76/128) and 2 pi 72000^(60/128).
    assert "held at 16,384. By the formulas: last covered pair 16,349, 3 periods 4,811, 10 periods 1,189." in notes
    assert "held at" not in " ".join(predict(llama2(1e7))["notes"])


def test_a_model_whose_every_pair_was_covered_has_no_wall_and_no_band():
    found = predict(Setting(64, 500.0, 4096, 4096, 1e6))
    assert found["frequency_band"]["pair"] == pytest.approx(36.15, abs=0.01), "of 32"
    assert found["limits"]["frequency band"] is found["limit"] is None


def test_a_similarity_that_does_not_end_is_not_a_number():
    found = predict(llama2(1e12))
    assert found["limits"]["similarity"] is None
    assert "up to 4,194,304 tokens (Men et al.): similarity names no limit" in " ".join(found["notes"])


def test_formulas_outside_their_premises_warn():
    assert not predict(llama2(1e6))["warnings"]
    covered = predict(Setting(128, 500.0, 4096, 4096, 1e6))
    assert "turned every pair fully" in " ".join(covered["warnings"])
    assert covered["limit"] is None
    apart = " ".join(predict(Setting(64, 1e4, 128, 128, 1e6))["warnings"])
    assert "the limit is 726 by the first pair that was not covered and 471 by the last that was" in apart
    assert "fit of the similarity bound" in " ".join(predict(Setting(64, 1e4, 128, 128, 1e6), 1024)["warnings"])
    assert "by less a token than float32 resolves" in " ".join(predict(llama2(1e7))["warnings"])
    assert "itself a small one" in " ".join(predict(Setting(128, 2000.0, 4096, 4096, 1e6))["warnings"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((127, 1e4, 4096, 4096, 1e6), "rotary_dim is 127; expected an even number"),
        ((128, 1.0, 4096, 4096, 1e6), "base is 1; expected a number above 1"),
        ((128, 1e4, 4096, 4096, 0.5), "new_base is 0.5; expected a number above 1"),
        ((128, 1e4, 4096, 2048, 1e6), "tune_length is 2048; expected at least the pre-training length, 4096"),
        ((128, 1e4, 6, 6, 1e6), "expected more than 2 pi tokens"),
        ((128, float("nan"), 4096, 4096, 1e6), "base is nan"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(UserError, match=message):
        Setting(*values)


def test_a_target_below_the_training_length_is_refused():
    with pytest.raises(UserError, match="target_length is 1000; expected at least the pre-training length"):
        predict(llama2(1e6), 1000)

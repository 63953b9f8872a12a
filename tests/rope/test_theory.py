from __future__ import annotations

import math

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.rope import Rope, methods
from ropewalk.rope.theory import (
    BAND_ANGLE,
    COVERED_ANGLES,
    aliasing_length,
    band_limit,
    base_for_length,
    critical_base,
    critical_dimension,
    critical_index,
    critical_pairs,
    drift,
    regime,
    similarity_base,
    similarity_length,
    small_base_thresholds,
    stability_length,
    wall,
)


def test_llama2(llama2: Rope) -> None:
    assert critical_dimension(128, 10_000, 4096) == 92
    assert critical_pairs(llama2) == 46
    assert critical_pairs(llama2, 16_384) == 55
    assert critical_pairs(methods.pi(llama2, factor=4), 16_384) == 46
    assert critical_pairs(methods.p_rope(llama2, p=0.25)) == 16


# arXiv 2310.05209: the critical dimension after tuning, clamped to the head.
@pytest.mark.parametrize(
    ("length", "base", "dimension"),
    [
        (4096, 500, 128),
        (4096, 652, 128),
        (4096, 1304, 116),
        (4096, 2608, 106),
        (16_384, 500, 128),
        (16_384, 2608, 128),
        (16_384, 10_000, 110),
        (16_384, 71_738, 92),
        (6, 10_000, 0),
    ],
)
def test_critical_dimension(length: int, base: float, dimension: int) -> None:
    assert critical_dimension(128, base, length) == dimension


def test_critical_dimension_counts_periods(llama2: Rope) -> None:
    for periods in (0.25, 1.0, 2.0, 10.0):
        assert critical_dimension(128, 10_000, 4096, periods) == 2 * (llama2.turns >= periods).sum()


def test_critical_dimension_of_a_whole_logarithm_is_not_rounded_up() -> None:
    # With T = 2 pi b^(k/8) the logarithm is k exactly, give or take the last bits.
    for base in (10.0, 700.0, 10_000.0):
        for k in range(9):
            assert critical_dimension(16, base, 1, periods=base ** (-k / 8) / (2 * 3.141592653589793)) == 2 * k


@pytest.mark.parametrize(
    ("target", "base"),
    [
        (4096, 10_000),
        (8192, 26_784.03),
        (12_288, 47_661.46),
        (16_384, 71_738.44),
        (32_768, 192_144.5),
        (102_400, 970_497),
        (131_072, 1_378_414),
        (1_048_576, 26.49e6),
    ],
)
def test_critical_base(target: int, base: float) -> None:
    assert critical_base(10_000, 4096, target) == pytest.approx(base, rel=2e-4 if target > 10**6 else 1e-6)


def test_critical_base_of_other_models() -> None:
    assert critical_base(10_000, 2048, 16_384) == pytest.approx(273_768, abs=1)  # SmolVLM's 273k


def test_bad_inputs_are_named() -> None:
    with pytest.raises(UserError, match="target_length is 6"):
        critical_base(10_000, 4096, 6)
    with pytest.raises(UserError, match="base is 1"):
        critical_dimension(128, 1.0, 4096)
    with pytest.raises(UserError, match="periods is 0"):
        critical_dimension(128, 10_000, 4096, 0)


# arXiv 2310.05209: T_extra = 2 pi b^(92/128) for LLaMA-2.
@pytest.mark.parametrize(
    ("base", "limit"),
    [
        (10_000, 4711.7),
        (20_000, 7754),
        (40_000, 12_762),
        (60_000, 17_080),
        (80_000, 21_003),
        (100_000, 24_656),
        (120_000, 28_109),
        (160_000, 34_565),
        (200_000, 40_578),
        (400_000, 66_782),
        (600_000, 89_377),
        (1e6, 129_027),
        (2e6, 212_347),
    ],
)
def test_walls_of_llama2(base: float, limit: float) -> None:
    assert wall(128, 10_000, 4096, base) == pytest.approx(limit, abs=0.6)


def test_readings_of_the_wall() -> None:
    assert wall(128, 10_000, 4096, 1e6, reading="continuous") == pytest.approx(104_580, abs=1)
    assert wall(128, 10_000, 4096, 1e6, reading="last covered pair") == pytest.approx(103_980, abs=10)
    assert wall(128, 10_000, 4096, 10_000, reading="continuous") == pytest.approx(4096)
    small = [wall(64, 10_000, 128, 1e6, reading=r) for r in ("discrete", "continuous", "last covered pair")]
    assert small == pytest.approx([726, 578, 471], abs=1)
    few = [wall(32, 10_000, 128, 1e6, reading=r) for r in ("discrete", "continuous", "last covered pair")]
    assert few == pytest.approx([1117, 578, 471], abs=1)


def test_the_wall_is_the_period_of_the_first_pair_that_was_not_covered(llama2: Rope) -> None:
    longer = methods.abf(llama2, new_base=1e6)
    assert wall(128, 10_000, 4096, 1e6) == pytest.approx(longer.wavelengths[46])
    assert wall(128, 10_000, 4096, 1e6, reading="last covered pair") == pytest.approx(longer.wavelengths[45])


def test_a_model_whose_pairs_all_turned_has_no_wall() -> None:
    assert wall(128, 500, 4096, 1e6) == math.inf


def test_the_base_for_a_length_inverts_the_wall() -> None:
    assert base_for_length(128, 10_000, 4096, 102_400) == pytest.approx(725_000, rel=1e-2)
    assert base_for_length(128, 10_000, 4096, 131_072) == pytest.approx(1.022e6, rel=1e-3)
    assert base_for_length(128, 10_000, 4096, 16_384) == pytest.approx(56_600, rel=1e-2)
    assert base_for_length(128, 10_000, 4096, 4096) == pytest.approx(8230, abs=5)
    for target in (5000, 129_027):
        assert wall(128, 10_000, 4096, base_for_length(128, 10_000, 4096, target)) == pytest.approx(target)


def test_critical_bases_in_use() -> None:
    # The bases that koboldcpp chooses for Llama-2 and Llama-3.
    assert critical_base(500_000, 8192, 16_384) == pytest.approx(1_776_948.05, abs=0.05)
    assert critical_base(10_000, 128, 256) == pytest.approx(83_149, abs=1)


@pytest.mark.parametrize(
    ("tuned", "printed"),
    [(4096, (2607.6, 1303.8, 651.9)), (16_384, (10_430.4, 5215.2, 2607.6)), (128, (81.5, 40.7, 20.4))],
)
def test_small_base_thresholds(tuned: int, printed: tuple[float, ...]) -> None:
    assert small_base_thresholds(tuned) == pytest.approx(printed, abs=0.06)


def test_exact_thresholds_turn_the_slowest_pair_by_the_angle() -> None:
    for rotary_dim in (32, 64, 128):
        for base, angle in zip(small_base_thresholds(4096, rotary_dim), COVERED_ANGLES, strict=True):
            assert drift(rotary_dim, base, 4096) == pytest.approx(angle)
    assert small_base_thresholds(128, 64) == pytest.approx((93.9, 45.9, 22.5), abs=0.06)


# LongRoPE2, arXiv 2502.20082: theoretical critical dimensions of Phi3-mini and LLaMA3-8B, in pairs.
def test_critical_dimensions_of_longrope2() -> None:
    assert critical_dimension(96, 10_000, 2048) == 2 * 31
    assert critical_dimension(128, 500_000, 8192) == 2 * 35
    assert wall(128, 10_000, 4096, 1e6, periods=10) < wall(128, 10_000, 4096, 1e6, periods=3) < 129_027


# arXiv 2405.14591: where the sum of cosines is first negative; computed with another program.
@pytest.mark.parametrize(
    ("rotary_dim", "base", "length"),
    [
        (128, 500, 171),
        (128, 652, 247),
        (128, 1304, 349),
        (128, 2608, 479),
        (128, 1e4, 1707),
        (128, 1e5, 7757),
        (128, 1e6, 27_115),
        (64, 41, 23),
        (64, 1e4, 725),
        (64, 1e5, 3616),
        (64, 1e6, 6235),
    ],
)
def test_similarity_lengths(rotary_dim: int, base: float, length: int) -> None:
    assert similarity_length(rotary_dim, base) == length


def test_similarity_length_is_the_first_negative_of_the_sum() -> None:
    sums = [sum(math.cos(m * 300.0 ** (-2 * i / 16)) for i in range(8)) for m in range(200)]
    assert similarity_length(16, 300.0) == next(m for m, value in enumerate(sums) if value < 0)
    assert similarity_length(16, 1e9, most=100) is None


def test_similarity_base_lies_near_the_published_ones() -> None:
    for length, base in ((4_000, 2.7e4), (32_000, 6.4e5), (1_000_000, 5.1e8)):
        assert similarity_base(length) == pytest.approx(base, rel=0.6)


def test_frequency_band() -> None:
    x = np.linspace(0.5, 10, 200_001)
    score = 0.5 + np.sin(2 * x) / (4 * x) - np.square(np.sin(x) / x)
    assert pytest.approx(x[score.argmax()], abs=1e-4) == BAND_ANGLE
    assert critical_index(128, 10_000, 4096, BAND_ANGLE) == pytest.approx(48.8, abs=0.05)
    assert band_limit(10_000, 4096, 10_000) == pytest.approx(4096)
    # The pair that turned by the angle at 4,096 tokens does so at the limit under the new base.
    index = critical_index(128, 10_000, 4096, BAND_ANGLE)
    assert band_limit(10_000, 4096, 1e6) * 1e6 ** (-2 * index / 128) == pytest.approx(BAND_ANGLE)


def test_bounds_of_phase_modulation() -> None:
    assert aliasing_length(651.9) == pytest.approx(4096, abs=0.1), "the third threshold, turned round"
    assert stability_length(1000) == pytest.approx(1000 * math.pi / 2)
    assert math.cos(drift(128, 1000, stability_length(1000)) / 1000 ** (2 / 128)) == pytest.approx(0, abs=1e-9)


def test_faults_of_the_law_are_named() -> None:
    with pytest.raises(UserError, match="rotary_dim is 63; expected an even number"):
        wall(63, 10_000, 4096, 1e6)
    with pytest.raises(UserError, match=r"new_base is 1; expected a number above 1"):
        wall(64, 10_000, 4096, 1.0)
    with pytest.raises(UserError, match="original_length is 6; expected more than 2 pi"):
        wall(64, 10_000, 6, 1e6)
    with pytest.raises(UserError, match="tune_length is 100; expected at least the pre-training length, 128"):
        regime(10_000, 128, 1e6, 100)

from __future__ import annotations

import pytest

from ropewalk.errors import UserError
from ropewalk.rope import Rope, methods
from ropewalk.rope.theory import critical_base, critical_dimension, critical_pairs


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

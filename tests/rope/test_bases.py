from __future__ import annotations

import numpy as np
import pytest

from ropewalk.rope import Rope, apply, methods


def test_ntk_divides_the_ends_by_one_and_by_the_factor(llama2: Rope) -> None:
    factors = methods.ntk(llama2, factor=4).factors
    assert factors[0] == 1
    assert factors[-1] == pytest.approx(4)
    equal_base = methods.abf(llama2, new_base=10_000 * 4 ** (128 / 126))
    np.testing.assert_allclose(methods.ntk(llama2, factor=4).inv_freq, equal_base.inv_freq, rtol=1e-12)


def test_ntk_critical_bases(llama2: Rope) -> None:
    def base(factor: float, inverse: str) -> float:
        return float(apply(llama2, "ntk_critical", factor=factor, inverse=inverse).inv_freq[1] ** -64)

    # arXiv 2310.05209: 16K, 100K and 128K under both inverses of the law.
    assert base(4, "continuous") == pytest.approx(71_738.44, abs=0.01)
    assert base(25, "continuous") == pytest.approx(970_497, abs=1)
    assert base(32, "continuous") == pytest.approx(1_378_414, abs=1)
    assert base(4, "discrete") == pytest.approx(56_628, abs=1)
    assert base(25, "discrete") == pytest.approx(725_005, abs=1)
    assert base(32, "discrete") == pytest.approx(1_022_122, abs=1)
    assert base(1.01, "discrete") == pytest.approx(10_000)
    # Under the discrete base the first pair that never made a turn has exactly the target as its period.
    assert methods.ntk_critical(llama2, factor=4, inverse="discrete").wavelengths[46] == pytest.approx(16_384)

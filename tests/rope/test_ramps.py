from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from ropewalk.rope import Rope, methods


def test_yarn_as_coded_and_as_written(llama2: Rope) -> None:
    coded = methods.yarn(llama2, factor=4).factors
    changed = np.flatnonzero(~np.isclose(coded, 1))
    assert changed[0] == 21  # the ramp of LLaMA-2 starts at index 20 and ends at 46
    assert not np.isclose(coded[45], 4)
    assert coded[46:] == pytest.approx(4)
    # At s = 32 the ramp in turns makes the factor of a pair with r turns exactly 32 / r.
    written = methods.yarn_written(llama2, factor=32)
    between = (llama2.turns > 1) & (llama2.turns < 32)
    np.testing.assert_allclose(written.factors[between], 32 / llama2.turns[between])
    assert written.attention_factor == pytest.approx(1 + 0.1 * math.log(32))
    parts = methods.ntk_by_parts(llama2, factor=32)
    assert np.array_equal(parts.inv_freq, written.inv_freq)
    assert parts.attention_factor == 1


def test_yarn_written_with_wavelengths_averages_wavelengths(posgen: Rope) -> None:
    rope = methods.yarn_written(posgen, factor=4, alpha=1, beta=2, mixing="wavelength")
    keep = 64 / posgen.wavelengths[7] - 1
    assert 0 < keep < 1
    assert rope.wavelengths[7] == pytest.approx(posgen.wavelengths[7] * (keep + 4 * (1 - keep)))


def test_mrrope_exponents(llama2: Rope) -> None:
    uni = np.log(methods.mrrope_uni(llama2, factor=8).factors) / math.log(8)
    pro = np.log(methods.mrrope_pro(llama2, factor=8).factors) / math.log(8)
    t = np.clip(np.arange(64) - 20, 0, 26)
    np.testing.assert_allclose(uni, t / 26, atol=1e-12)
    np.testing.assert_allclose(pro, t * (t + 1) / (26 * 27), atol=1e-12)
    assert methods.mrrope_pro(llama2, factor=8).attention_factor == pytest.approx(1.2079, abs=1e-4)


def test_ramp_is_monotone_after_pairs_were_stopped(llama2: Rope) -> None:
    rope = methods.yarn(methods.p_rope(llama2, p=0.75), factor=4)
    assert all(a >= b for a, b in pairwise(rope.inv_freq))
    assert np.count_nonzero(rope.inv_freq) == 48

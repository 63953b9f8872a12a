"""Tables that other projects' own tests hold, computed here: numbers alone, with where they stand."""

from __future__ import annotations

import numpy as np

from ropewalk.rope import methods

# transformers, tests/utils/test_modeling_rope_utils.py, of LlamaConfig: head dimension 128, base 10,000, 2,048 tokens.
LLAMA = methods.default_rope(128, 10_000.0, 2048)
FIRST = [1.0000e00, 8.6596e-01, 7.4989e-01, 6.4938e-01, 5.6234e-01, 4.8697e-01, 4.2170e-01, 3.6517e-01, 3.1623e-01]
FIRST += [2.7384e-01, 2.3714e-01, 2.0535e-01, 1.7783e-01, 1.5399e-01, 1.3335e-01, 1.1548e-01, 1.0000e-01]
LAST = [2.7384e-04, 2.3714e-04, 2.0535e-04, 1.7783e-04, 1.5399e-04, 1.3335e-04, 1.1548e-04, 1.0000e-04, 8.6596e-05]
LAST += [7.4989e-05, 6.4938e-05, 5.6234e-05, 4.8697e-05, 4.2170e-05, 3.6517e-05, 3.1623e-05, 2.7384e-05, 2.3714e-05]
LAST += [2.0535e-05, 1.7783e-05, 1.5399e-05, 1.3335e-05, 1.1548e-05]
YARN = [8.3479e-02, 6.9590e-02, 5.7925e-02, 4.8136e-02, 3.9931e-02, 3.3061e-02, 2.7315e-02, 2.2515e-02, 1.8512e-02]
YARN += [1.5177e-02, 1.2403e-02, 1.0101e-02, 8.1924e-03, 6.6143e-03, 5.3120e-03, 4.2400e-03, 3.3599e-03, 2.6396e-03]
YARN += [2.0520e-03, 1.5746e-03, 1.1882e-03, 8.7713e-04, 6.2810e-04, 4.3007e-04]
LLAMA3 = [8.6596e-02, 7.4989e-02, 6.4938e-02, 5.6234e-02, 4.8697e-02, 4.2170e-02, 3.6517e-02, 3.1623e-02, 2.7384e-02]
LLAMA3 += [2.3714e-02, 2.0535e-02, 1.7783e-02, 1.5399e-02, 1.3335e-02, 1.0730e-02, 7.7785e-03, 5.6009e-03, 3.9991e-03]
LLAMA3 += [2.8248e-03, 1.9675e-03, 1.3449e-03, 8.9549e-04, 5.7363e-04, 3.4539e-04]


def test_yarn_by_ten_is_that_of_transformers():
    rope = methods.yarn(LLAMA, factor=10.0)
    np.testing.assert_allclose(rope.inv_freq, FIRST + YARN + LAST, rtol=6e-5)


def test_llama_3_by_ten_is_that_of_transformers():
    rope = methods.llama3(LLAMA, factor=10.0, low_freq_factor=1.0, high_freq_factor=4.0)
    np.testing.assert_allclose(rope.inv_freq, FIRST + LLAMA3 + LAST, rtol=6e-5)


def test_a_ramp_without_length_is_a_step():
    """Kimi K2: both ends of YaRN's ramp at one turn; pairs up to 19 stay, all others are divided by the factor."""
    rope = methods.yarn(methods.default_rope(64, 50_000.0, 4096), factor=32.0, beta_fast=1.0, beta_slow=1.0)
    np.testing.assert_allclose(rope.factors, [1.0] * 20 + [32.0] * 12, rtol=1e-12)
    for method, ends in ((methods.ntk_by_parts, {"alpha": 1.0, "beta": 1.0}), (methods.yarn_written, {"beta": 1.0})):
        step = method(methods.default_rope(64, 50_000.0, 4096), factor=32.0, **ends)
        assert set(np.round(step.factors, 9)) == {1.0, 32.0}
        assert (np.diff(step.factors) >= 0).all()


def test_a_ramp_that_starts_before_the_first_pair_ends_where_torchtitan_has_it():
    """torchtitan, tests/unit_tests/test_rope.py: at 64 tokens pair 0 is left alone and pair 17 is divided whole."""
    rope = methods.yarn(methods.default_rope(128, 10_000.0, 64), factor=40.0)
    assert rope.factors[0] == 1.0
    np.testing.assert_allclose(rope.factors[17:], 40.0, rtol=1e-12)
    assert rope.factors[16] < 40.0

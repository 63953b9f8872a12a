from __future__ import annotations

import numpy as np
import pytest
import torch

from ropewalk.errors import UserError
from ropewalk.rope import Rope, methods


def test_resonance_rounds_llama2(llama2: Rope) -> None:
    wavelengths = methods.resonance(llama2).wavelengths
    assert np.round(wavelengths[:12]).astype(int).tolist() == [6, 7, 8, 10, 11, 13, 15, 17, 20, 23, 26, 31]
    np.testing.assert_allclose(wavelengths, np.round(wavelengths), rtol=1e-14)
    assert len(set(np.round(wavelengths))) == 64


def test_resonance_rounds_half_to_even_at_least_one_and_leaves_zero() -> None:
    rope = Rope(10, 10.0, 64, 2 * np.pi / np.array([2.5, 3.5, 0.25, np.inf, 7.4]))
    assert methods.resonance(rope).wavelengths.tolist() == pytest.approx([2, 4, 1, np.inf, 7])
    assert methods.resonance(rope).inv_freq[3] == 0


def test_resonance_yarn_of_the_released_posgen_code(posgen: Rope) -> None:
    # The code scales by 257/65 with an original length of 257, ramp 2 to 1 turns.
    rope = Rope(64, 10_000.0, 257, posgen.inv_freq)
    rope = methods.resonance(methods.yarn(rope, factor=257 / 65, beta_fast=2, beta_slow=1))
    expected = [6, 8, 11, 15, 20, 26, 35, 47, 63, 84, 112, 198, 396, 1048, 1397]
    assert np.round(rope.wavelengths[:15]).astype(int).tolist() == expected


def test_longrope_is_dynamic_only_where_the_factors_differ(llama2: Rope) -> None:
    long, short = [3.0] * 64, [1.5] * 64
    static = methods.longrope(llama2, long_factor=long)
    assert static.static
    assert static.factors == pytest.approx(3)
    assert static.attention_factor == 1
    assert methods.longrope(llama2, long_factor=long, short_factor=long).static
    rope = methods.longrope(llama2, long_factor=long, short_factor=short, attention_factor=1.1)
    assert not rope.static
    assert rope.factors == pytest.approx(1.5)
    assert rope.at(4096).factors == pytest.approx(1.5)
    assert rope.at(4097).factors == pytest.approx(3)
    assert rope.attention_factor == rope.at(4097).attention_factor == 1.1


def test_cope_multiplies_as_its_authors_do():
    """hrlics/CoPE: 20 of 64 pairs, a half cosine from 1 to 0 over torch's linspace."""
    table = methods.default_rope(128, 5e5, 8192)
    theta = torch.linspace(0.0, torch.pi, steps=20, dtype=torch.float64)
    wanted = table.inv_freq[-20:] * (0.5 * (1.0 + theta.cos())).numpy()
    found = methods.cope(table, clipped=20)
    np.testing.assert_allclose(found.inv_freq[-20:], wanted, rtol=1e-12, atol=1e-20)
    np.testing.assert_array_equal(found.inv_freq[:-20], table.inv_freq[:-20])
    # The control: what p-RoPE stops.
    hard = methods.cope(table, clipped=16, hard=True)
    np.testing.assert_array_equal(hard.inv_freq, methods.p_rope(table, p=0.75).inv_freq)
    with pytest.raises(UserError, match="clipped is 65; expected at most 64"):
        methods.cope(table, clipped=65)


def test_drope_turns_nothing_and_warms_by_its_temperature():
    table = methods.default_rope(64, 1e4, 2048)
    found = methods.drope(table, factor=4.0, temperature=0.4)
    assert not found.inv_freq.any()
    # cos and sin are multiplied by it, so that logits are by its square.
    assert found.attention_factor**2 == pytest.approx(1 + 0.4 * np.log(4))
    assert methods.drope(table).attention_factor == 1.0
    with pytest.raises(UserError, match="keeps 1 \\+ c ln s above 0"):
        methods.drope(table, factor=4.0, temperature=-1.0)

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from ropewalk.rope import Rope, angles, cos_sin, methods


def test_resonance_yarn_table_keeps_float32_precision_at_32k(llama2: Rope) -> None:
    rope = methods.resonance(methods.yarn(llama2, factor=8))
    positions = np.arange(32_768)
    cos, sin = cos_sin(rope, positions)
    # Exact: a whole wavelength w makes the angle a fraction of a turn with a denominator of w.
    whole = np.round(rope.wavelengths).astype(np.int64)
    exact = 2 * np.pi * ((positions[:, None] % whole) / whole)
    scale = rope.attention_factor
    assert cos.dtype == sin.dtype == np.float32
    assert np.abs(cos - scale * np.cos(exact)).max() < 1.2e-7
    assert np.abs(sin - scale * np.sin(exact)).max() < 1.2e-7
    naive = np.cos(np.outer(positions.astype(np.float32), rope.inv_freq.astype(np.float32)))
    assert np.abs(naive - np.cos(exact)).max() > 1e-3  # what this room avoids


def test_a_whole_wavelength_repeats_to_the_bit(llama2: Rope) -> None:
    rope = methods.resonance(llama2)
    for pair in (0, 11, 45):
        period = round(rope.wavelengths[pair])
        near, far = angles(rope, np.arange(period)), angles(rope, np.arange(period) + 10**6 * period)
        assert np.array_equal(near[:, pair], far[:, pair])


def test_other_wavelengths_are_reduced_correctly(llama2: Rope) -> None:
    position = 131_071
    turn = Fraction(2 * np.pi)
    reduced = [float(Fraction(position) * Fraction(frequency) % turn) for frequency in llama2.inv_freq.tolist()]
    (row,) = angles(llama2, [position])
    np.testing.assert_allclose(np.cos(row), np.cos(reduced), atol=1e-9)
    assert row.min() >= 0
    assert row.max() < 2 * np.pi


def test_pairs_that_do_not_rotate_and_the_attention_factor(llama2: Rope) -> None:
    rope = methods.yarn(methods.p_rope(llama2, p=0.5), factor=4)
    cos, sin = cos_sin(rope, [0, 7, 5000], np.float64)
    assert cos.shape == sin.shape == (3, 64)
    assert (cos[:, 32:] == rope.attention_factor).all()
    assert not sin[:, 32:].any()
    assert cos**2 + sin**2 == pytest.approx(np.full((3, 64), rope.attention_factor**2))


def test_importing_the_room_stays_light() -> None:
    heavy = "('torch', 'transformers', 'scipy', 'matplotlib')"
    code = f"import sys, ropewalk.rope.diagnostics; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

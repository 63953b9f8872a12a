from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.rope import Rope, apply, methods
from ropewalk.rope.diagnostics import (
    feature_gap,
    g_arc,
    g_w1,
    phase_error,
    r_fisher,
    r_ker,
    summary,
    wavelength_lcm,
)

# Gap per pair for PosGen's geometry (64 dimensions, 64 tokens trained, 256 tested), and its sum over the nine pairs
# that turn at least once in training.
GAPS = {
    "rope": (
        [0.0708, 0.0796, 0.0752, 0.1276, 0.1093, 0.0076, 0.0596, 0.0625, 0.0496, 0.758, 1.261, 1.575, 1.755, 1.862],
        0.642,
    ),
    "resonance": ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0.731, 1.247, 1.575, 1.758, 1.862], 0),
    "yarn": ([0.0708, 0.0796, 0.0752, 0.1276, 0.1093, 0.0076, 0.0385, 1.499, 1.839], 3.846),
    "resonance yarn": ([0, 0, 0, 0, 0, 0, 0, 1.492, 1.838], 3.330),
}


def test_feature_gap_of_posgen(posgen: Rope) -> None:
    # The YaRN rows are the ramp in turns that averages wavelengths, the form in which Resonance RoPE states YaRN.
    yarn = methods.yarn_written(posgen, factor=4, alpha=1, beta=2, mixing="wavelength")
    ropes = {
        "rope": posgen,
        "resonance": methods.resonance(posgen),
        "yarn": yarn,
        "resonance yarn": methods.resonance(yarn),
    }
    for name, (expected, total) in GAPS.items():
        gaps = feature_gap(ropes[name], 64, 256)
        for gap, value in zip(gaps, expected, strict=False):
            assert gap == pytest.approx(value, abs=5.1e-4 if value > 0.5 else 5.1e-5), name
        assert gaps[:9].sum() == pytest.approx(total, abs=5.1e-4), name


def test_resonance_closes_the_gap_exactly(llama2: Rope) -> None:
    assert not feature_gap(methods.resonance(llama2), 4096, 8192)[:46].any()


def test_feature_gap_against_brute_force(posgen: Rope) -> None:
    rope = methods.ntk(posgen, factor=3)
    seen, met = (np.exp(1j * np.outer(np.arange(*ends), rope.inv_freq)) for ends in ((0, 50), (50, 120)))
    brute = np.abs(seen[:, None] - met[None]).min(axis=0).max(axis=0)
    np.testing.assert_allclose(feature_gap(rope, 50, 120), brute, atol=1e-12)
    seen = np.exp(1j * np.outer(np.arange(50), posgen.inv_freq))
    brute = np.abs(seen[:, None] - met[None]).min(axis=0).max(axis=0)
    np.testing.assert_allclose(feature_gap(rope, 50, 120, trained=posgen), brute, atol=1e-12)


def test_feature_gap_of_a_dynamic_rope_compares_the_two_lengths(posgen: Rope) -> None:
    dynamic = methods.dynamic_ntk(posgen, factor=4)
    swapped = feature_gap(methods.ntk(posgen, factor=13), 64, 256, trained=posgen)
    np.testing.assert_allclose(feature_gap(dynamic, 64, 256), swapped, atol=1e-12)


def test_joint_period_of_llama2(llama2: Rope) -> None:
    assert wavelength_lcm(llama2) == wavelength_lcm(methods.resonance(llama2))
    assert float(wavelength_lcm(llama2)) == pytest.approx(7.058e51, rel=1e-4)
    assert wavelength_lcm(llama2, 9) == 6 * 7 * 4
    assert wavelength_lcm(llama2, 1) == 1


# LLaMA-2, uniform weights: G_arc, G_W1, R_fisher, R_ker at s = 4, then at s = 8.
SCORES: dict[str, tuple[float, ...]] = {
    "default": (0.1275, 0.258, 0, 0, 0.172, 0.333, 0, 0),
    "pi": (0, 0.0015, 0.9375, 0.144, 0, 0.0015, 0.984, 0.202),
    "ntk": (0.024, 0.060, 0.114, 0.041, 0.033, 0.083, 0.161, 0.057),
    "ntk_critical": (0, 0.039, 0.152, 0.054, 0, 0.054, 0.209, 0.073),
    "yarn": (0, 0.019, 0.0005, 0.011, 0, 0.026, 0.0006, 0.012),
    "mrrope_uni": (0, 0.014, 0.0007, 0.016, 0, 0.019, 0.0010, 0.021),
    "mrrope_pro": (0, 0.019, 0.0002, 0.006, 0, 0.024, 0.0003, 0.008),
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("factor", [4, 8])
def test_scores_of_llama2(llama2: Rope, name: str, factor: int) -> None:
    params: dict[str, Any] = {} if name == "default" else {"factor": factor}
    rope = apply(llama2, name, **params)
    length = 4096 * factor
    arc, w1, fisher, ker = SCORES[name][:4] if factor == 4 else SCORES[name][4:]
    assert g_arc(rope, length) == pytest.approx(arc, abs=5.1e-4)
    assert g_w1(rope, length) == pytest.approx(w1, abs=5.1e-4 if w1 > 0.002 else 5.1e-5)
    assert r_fisher(rope) == pytest.approx(fisher, abs=5.1e-4 if fisher > 0.002 else 5.1e-5)
    assert r_ker(rope) == pytest.approx(ker, abs=5.1e-4)


def test_scores_vanish_for_the_trained_rope(posgen: Rope) -> None:
    rounded = methods.resonance(posgen)
    assert g_w1(rounded, 64) > 0.01  # few angles against many
    assert g_w1(rounded, 64, trained=rounded) == 0
    assert g_arc(rounded, 64, trained=rounded) == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_phase_error_against_torch(llama2: Rope, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    rope = methods.pi(llama2, factor=5)
    stored = torch.from_numpy(rope.inv_freq.copy()).float().to(getattr(torch, dtype)).double().numpy()
    expected = 32_768 * np.abs(stored - rope.inv_freq).max()
    assert phase_error(rope, np.arange(32_769), dtype) == pytest.approx(expected, rel=1e-3)  # type: ignore[arg-type]


def test_phase_error_orders_the_types(llama2: Rope) -> None:
    assert phase_error(llama2, 0, "bfloat16") == 0
    assert phase_error(llama2, 32_768, "float32") < 1e-3 < 1 < phase_error(llama2, 32_768, "bfloat16")
    with pytest.raises(UserError, match="dtype is 'int8'"):
        phase_error(llama2, 1, "int8")  # type: ignore[arg-type]


def test_summary_is_json(llama2: Rope) -> None:
    row = summary(methods.p_rope(methods.yarn(llama2, factor=2), p=0.5), 8192)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["method"] == "yarn + p_rope"
    assert row["rotating_pairs"] == row["pre_critical_pairs"] == 32
    assert row["critical_dimension"] == 92
    assert summary(methods.p_rope(llama2, p=0), 8192)["slowest_wavelength"] == 0


def test_lengths_are_checked(llama2: Rope) -> None:
    with pytest.raises(UserError, match="test_length is 4096"):
        feature_gap(llama2, 4096, 4096)
    with pytest.raises(UserError, match="length is 0"):
        g_w1(llama2, 0)

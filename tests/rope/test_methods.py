from __future__ import annotations

import inspect
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ropewalk.errors import UserError
from ropewalk.rope import METHODS, Rope, apply, default_rope, methods

DIMENSIONS = (32, 64, 96, 128, 256)
GEOMETRIES = [
    (d, base, length)
    for d in DIMENSIONS
    for base, length in ((10_000.0, 4096), (500_000.0, 8192), (100.0, 64), (100.0, 4096))
]
SCALED_BY_FACTOR = [
    name
    for name, method in METHODS.items()
    if "factor" in inspect.signature(method).parameters
    and name not in ("longrope", "drope", "self_extend", "leaky_rerope")
]


def transformers_table(
    kind: str, rope: Rope, seq_len: int | None = None, **parameters: Any
) -> tuple[np.ndarray[Any, Any], float]:
    config = LlamaConfig(
        head_dim=rope.rotary_dim,
        hidden_size=rope.rotary_dim,
        num_attention_heads=1,
        max_position_embeddings=rope.original_length,
        rope_parameters={"rope_type": kind, "rope_theta": rope.base, **parameters},
    )
    inv_freq, attention_factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=seq_len)
    return inv_freq.double().numpy(), attention_factor


def assert_same(rope: Rope, reference: tuple[np.ndarray[Any, Any], float]) -> None:
    # The reference is computed in float32.
    np.testing.assert_allclose(rope.inv_freq, reference[0], rtol=3e-6)
    assert rope.attention_factor == pytest.approx(reference[1], rel=1e-12)


@pytest.mark.parametrize(("d", "base", "length"), GEOMETRIES)
@pytest.mark.parametrize("factor", [1.0, 7.5])
def test_equal_to_transformers(d: int, base: float, length: int, factor: float) -> None:
    rope = default_rope(d, base, length)
    original = {"factor": factor, "original_max_position_embeddings": length}
    assert_same(methods.pi(rope, factor=factor), transformers_table("linear", rope, factor=factor))
    assert_same(methods.yarn(rope, factor=factor), transformers_table("yarn", rope, **original))
    ends = {"beta_fast": 20.0, "beta_slow": 1.5, "truncate": False, "attention_factor": 1.25}
    assert_same(methods.yarn(rope, factor=factor, **ends), transformers_table("yarn", rope, **original, **ends))
    bands = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    assert_same(methods.llama3(rope, factor=factor), transformers_table("llama3", rope, **original, **bands))
    for seq_len in (length // 2, length, 3 * length):
        assert_same(
            methods.dynamic_ntk(rope, factor=factor, length=seq_len),
            transformers_table("dynamic", rope, seq_len, factor=factor),
        )
    divisors = {"long_factor": list(np.linspace(1, 9, d // 2)), "short_factor": list(np.linspace(1, 2, d // 2))}
    for seq_len in (length, length + 1):
        assert_same(
            methods.longrope(rope, **divisors, factor=factor, length=seq_len),
            transformers_table("longrope", rope, seq_len, **original, **divisors),
        )


def test_p_rope_equals_transformers_proportional(llama2: Rope) -> None:
    for p in (0.0, 0.3, 0.75, 1.0):
        reference = transformers_table("proportional", llama2, partial_rotary_factor=p)
        assert_same(methods.p_rope(llama2, p=p), reference)


def test_yarn_after_a_new_base_is_yarn_of_that_base(llama2: Rope) -> None:
    composed = methods.yarn(methods.abf(llama2, new_base=500_000.0), factor=8)
    assert_same(
        composed,
        transformers_table(
            "yarn", default_rope(128, 500_000.0, 4096), factor=8.0, original_max_position_embeddings=4096
        ),
    )


@pytest.mark.parametrize("name", SCALED_BY_FACTOR)
def test_factor_one_changes_nothing(llama2: Rope, name: str) -> None:
    same = apply(llama2, name, factor=1)
    np.testing.assert_allclose(same.inv_freq, llama2.inv_freq, rtol=1e-14)
    assert same.attention_factor == 1


@pytest.mark.parametrize("name", SCALED_BY_FACTOR)
def test_factor_below_one_is_refused(llama2: Rope, name: str) -> None:
    for factor in (0.5, float("nan"), "4", None):
        with pytest.raises(UserError, match=f"{name}: factor is"):
            apply(llama2, name, factor=factor)


def test_every_parameter_is_recorded_documented_and_annotated(llama2: Rope) -> None:
    required = {"factor": 2.0, "new_base": 20_000.0, "p": 0.5, "long_factor": [2.0] * 64, "which": "all"}
    required |= {"clipped": 20, "window": 16, "group": 8, "chunk": 512, "shift": 100}
    for name, method in METHODS.items():
        parameters = list(inspect.signature(method).parameters.values())
        needed = {p.name: required[p.name] for p in parameters[1:] if p.default is p.empty or p.name == "group"}
        step = apply(llama2, name, **needed).steps[-1]
        assert step.method == name
        # A factor becomes a group, which is what is recorded.
        becomes = {"factor"} if "group" in needed else set()
        assert list(step.params) == [p.name for p in parameters[1:] if p.name not in becomes]
        doc = inspect.getdoc(method) or ""
        assert all(p.annotation is not p.empty and f"    {p.name}: " in doc for p in parameters), name


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


def test_order_of_composition_matters_and_is_kept(llama2: Rope) -> None:
    rounded_last = methods.resonance(methods.pi(llama2, factor=2.5))
    rounded_first = methods.pi(methods.resonance(llama2), factor=2.5)
    assert np.array_equal(np.round(rounded_last.wavelengths), np.round(2.5 * llama2.wavelengths))
    assert rounded_first.wavelengths[0] == pytest.approx(15)
    assert rounded_last.wavelengths[0] == pytest.approx(16)
    twice = methods.yarn(methods.yarn(llama2, factor=2), factor=3)
    assert twice.attention_factor == pytest.approx((1 + 0.1 * math.log(2)) * (1 + 0.1 * math.log(3)))
    assert (twice.base, twice.original_length) == (llama2.base, llama2.original_length)


def test_dynamic_rope_follows_the_length_through_later_steps(llama2: Rope) -> None:
    rope = methods.log_scaling(methods.resonance(methods.dynamic_ntk(llama2, factor=2)), length=512)
    assert not rope.static
    assert rope.at(4096).wavelengths == pytest.approx(np.round(llama2.wavelengths))
    long = rope.at(16_384)
    assert long.wavelengths == pytest.approx(np.round(methods.ntk(llama2, factor=7).wavelengths))
    assert long.static
    assert long.at(8192) is long
    assert rope.at(8192) != long
    assert long.log_scaling_length == 512  # not the current length


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


def test_a_static_step_does_not_make_a_dynamic_rope_static(llama2: Rope) -> None:
    rope = methods.longrope(methods.dynamic_ntk(llama2, factor=2), long_factor=[1.0] * 64)
    assert not rope.static


def test_log_scaling_keeps_the_table(llama2: Rope) -> None:
    rope = methods.log_scaling(llama2)
    assert rope.log_scaling_length == 4096
    assert np.array_equal(rope.inv_freq, llama2.inv_freq)


def test_the_layers_of_a_rope_survive_what_comes_after(llama2: Rope) -> None:
    rope = methods.yarn(methods.layers(llama2, which="local"), factor=4)
    assert rope.layers == "local"
    assert np.array_equal(rope.inv_freq, methods.yarn(llama2, factor=4).inv_freq)
    dynamic = methods.layers(methods.dynamic_ntk(llama2, factor=2), which="all")
    assert dynamic.at(20_000).layers == "all"


def test_ramp_is_monotone_after_pairs_were_stopped(llama2: Rope) -> None:
    rope = methods.yarn(methods.p_rope(llama2, p=0.75), factor=4)
    assert all(a >= b for a, b in pairwise(rope.inv_freq))
    assert np.count_nonzero(rope.inv_freq) == 48


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("yran", {"factor": 2}, "method is 'yran'.*did you mean 'yarn'"),
        ("yarn", {"factr": 2}, "yarn has no parameter 'factr'.*did you mean 'factor'"),
        ("resonance", {"factor": 2}, "resonance has no parameter 'factor'; expected no parameter"),
        ("pi", {}, "pi needs the parameter 'factor'"),
        ("yarn", {"factor": 2, "beta_fast": 1, "beta_slow": 2}, "beta_slow is 2; expected at most beta_fast"),
        ("yarn", {"factor": 2, "truncate": "no"}, "truncate is 'no'"),
        ("yarn", {"factor": 2, "attention_factor": 0}, "attention_factor is 0"),
        ("yarn_written", {"factor": 2, "mixing": "x"}, "mixing is 'x'"),
        ("llama3", {"factor": 2, "high_freq_factor": 0.5}, "low_freq_factor is 1; expected at most"),
        ("ntk_critical", {"factor": 2, "inverse": "x"}, "inverse is 'x'"),
        ("abf", {"new_base": 1}, "new_base is 1"),
        ("p_rope", {"p": 1.5}, "p is 1.5"),
        ("longrope", {"long_factor": [1.0]}, "long_factor has shape"),
        ("longrope", {"long_factor": [1.0] * 63 + [0.0]}, r"long_factor\[63\] is 0"),
        ("dynamic_ntk", {"factor": 2, "length": 0}, "length is 0"),
        ("log_scaling", {"length": 1}, "length is 1"),
        ("layers", {"which": "first"}, "which is 'first'; expected one of global, local, all"),
    ],
)
def test_bad_inputs_are_named(llama2: Rope, name: str, params: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        apply(llama2, name, **params)


def test_tables_too_small_for_a_method_are_named() -> None:
    with pytest.raises(UserError, match="rotary_dim is 2"):
        methods.ntk(default_rope(2, 10_000.0, 64), factor=2)
    with pytest.raises(UserError, match="1 rotating pairs"):
        methods.yarn(default_rope(2, 10_000.0, 64), factor=2)
    for inverse in ("continuous", "discrete"):
        with pytest.raises(UserError, match="original_length is 4"):
            apply(default_rope(64, 10_000.0, 4), "ntk_critical", factor=2, inverse=inverse)


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

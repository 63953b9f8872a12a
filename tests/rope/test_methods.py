from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
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


def test_a_static_step_does_not_make_a_dynamic_rope_static(llama2: Rope) -> None:
    rope = methods.longrope(methods.dynamic_ntk(llama2, factor=2), long_factor=[1.0] * 64)
    assert not rope.static


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

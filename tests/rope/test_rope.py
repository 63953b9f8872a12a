from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.rope import Rope, Step, apply, default_rope
from ropewalk.rope.methods import METHODS

FACTORS = [1.0 + i / 7 for i in range(64)]
EXAMPLES = {
    name: {"factor": 3.7}
    for name in METHODS
    if name not in ("default", "abf", "longrope", "log_scaling", "resonance", "layers")
} | {
    "default": {},
    "abf": {"new_base": 123_456.7},
    "longrope": {"long_factor": FACTORS, "short_factor": [1.0] * 64, "factor": 4.0},
    "p_rope": {"p": 0.3},
    "switched": {},
    "cope": {"clipped": 20},
    "drope": {"factor": 4.0, "temperature": 0.3},
    "self_extend": {"window": 64, "group": 8},
    "leaky_rerope": {"window": 64, "group": 8.0},
    "dual_chunk": {"chunk": 512, "window": 64},
    "string": {"shift": 1024, "window": 64},
    "log_scaling": {},
    "layers": {"which": "local"},
    "resonance": {},
}


@pytest.mark.parametrize("name", METHODS)
def test_json_round_trip_is_exact(llama2: Rope, tmp_path: Path, name: str) -> None:
    rope = apply(llama2, name, **EXAMPLES[name])
    rope.save(tmp_path / "rope.json")
    loaded = Rope.load(tmp_path / "rope.json")
    assert loaded == rope
    assert hash(loaded) == hash(rope)
    assert loaded.inv_freq.tobytes() == rope.inv_freq.tobytes()
    assert loaded.at(20_000).inv_freq.tobytes() == rope.at(20_000).inv_freq.tobytes()
    assert Rope.from_json(json.loads(json.dumps(rope.to_json()))) == rope
    assert rope.to_json()["format"] == "ropewalk.rope/1"


def test_two_ropes_are_equal_by_value_only(llama2: Rope) -> None:
    assert llama2 == default_rope(128, 10_000.0, 4096)
    assert llama2 != default_rope(128, 10_000.0, 8192)
    assert llama2 != apply(llama2, "default")  # it was made in another way
    nudged = llama2.inv_freq.copy()
    nudged[5] = np.nextafter(nudged[5], 1)
    assert llama2 != Rope(128, 10_000.0, 4096, nudged)


def test_rope_cannot_be_changed(llama2: Rope) -> None:
    with pytest.raises(ValueError, match="read-only"):
        llama2.inv_freq[0] = 2.0
    with pytest.raises(FrozenInstanceError):
        llama2.base = 5.0  # type: ignore[misc]
    mine = np.ones(2)
    Rope(4, 10.0, 8, mine)
    mine[0] = 3.0  # the caller's array stays the caller's


def test_properties(llama2: Rope) -> None:
    rope = Rope(128, 10_000.0, 4096, np.append(llama2.inv_freq[:-1] / 4, 0.0))
    assert rope.pairs == 64
    assert rope.wavelengths[0] == pytest.approx(8 * np.pi)
    assert rope.wavelengths[-1] == np.inf
    assert rope.factors[:-1] == pytest.approx(4.0)
    assert rope.factors[-1] == np.inf
    assert rope.turns[0] == pytest.approx(4096 / (8 * np.pi))
    assert rope.turns[-1] == 0
    assert np.array_equal(rope.original_inv_freq, llama2.inv_freq)
    assert llama2.wavelengths[-1] == pytest.approx(54_410.14, abs=0.01)


def test_static_rope_is_the_same_at_every_length(llama2: Rope) -> None:
    assert llama2.at(10**6) is llama2


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"rotary_dim": 127}, "rotary_dim is 127"),
        ({"rotary_dim": 0}, "rotary_dim is 0"),
        ({"rotary_dim": 128.0}, "rotary_dim is 128.0"),
        ({"rotary_dim": 64}, "another dimension"),
        ({"base": 1.0}, "base is 1"),
        ({"base": "x"}, "base is 'x'"),
        ({"base": float("nan")}, "base is nan"),
        ({"original_length": 0}, "original_length is 0"),
        ({"attention_factor": 0.0}, "attention_factor is 0"),
        ({"log_scaling_length": 1}, "log_scaling_length is 1"),
        ({"inv_freq": [float("nan")] * 64}, r"inv_freq\[0\] is nan"),
        ({"inv_freq": [1.0] * 63 + [-1.0]}, r"inv_freq\[63\] is -1.0"),
        ({"inv_freq": [float("inf")] * 64}, r"inv_freq\[0\] is inf"),
        ({"inv_freq": "fast"}, "inv_freq is 'fast'"),
        ({"static": "no"}, "static is 'no'"),
        ({"layers": "first"}, "layers is 'first'; expected one of global, local, all"),
        ({"steps": [{"name": "pi"}]}, "steps is"),
        ({"steps": None}, "steps is None"),
        ({"format": "other/1"}, "format is 'other/1'"),
    ],
)
def test_bad_values_are_named(llama2: Rope, changed: dict[str, object], names: str) -> None:
    with pytest.raises(UserError, match=names):
        Rope.from_json(llama2.to_json() | changed)


def test_a_file_says_nothing_of_layers_where_they_are_the_usual_ones(llama2: Rope) -> None:
    """So files of ropes that were made before a rope could be for other layers are read, and are written alike."""
    assert "layers" not in llama2.to_json()
    assert Rope.from_json(llama2.to_json()).layers == "global"
    assert apply(llama2, "layers", which="all").to_json()["layers"] == "all"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": "ropewalk.rope/1", "base": 10000.0}'])
def test_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rope.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"rope\.json"):
        Rope.load(path)
    with pytest.raises(UserError, match=r"missing\.json"):
        Rope.load(tmp_path / "missing.json")


@pytest.mark.parametrize("base", [1.0, 0.0, -3.0])
def test_default_rope_refuses_a_base_without_a_table(base: float) -> None:
    with pytest.raises(UserError, match="base is"):
        default_rope(64, base, 128)


def test_steps_tell_how_a_rope_was_made(llama2: Rope) -> None:
    rope = apply(apply(llama2, "pi", factor=2), "resonance")
    assert rope.steps == (Step("pi", {"factor": 2.0}), Step("resonance", {}))

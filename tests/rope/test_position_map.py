"""Each map against its definition, pair by pair, in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ropewalk.errors import UserError
from ropewalk.rope import Rope, apply, default_rope
from ropewalk.rope.position_map import PositionMap

LENGTH = 200
TABLE = default_rope(16, 1e4, 64)


def self_extend(i, j, window, group):
    """Jin et al., section 3: grouped beyond the neighbours, shifted so that both meet."""
    return i - j if i - j < window else i // group - j // group + window - window // group


def leaky_rerope(i, j, window, group):
    return i - j if i - j < window else window + (i - j - window) / group


def dual_chunk(i, j, window, chunk):
    """An et al., section 3: intra-chunk, successive-chunk and inter-chunk attention, with c = chunk + window."""
    largest = chunk + window - 1
    ahead = i // chunk - j // chunk
    if ahead == 0:
        return i % chunk - j % chunk
    if ahead == 1:
        positions = [*range(chunk, chunk + window), *[largest] * (chunk - window)]
        return positions[i % chunk] - j % chunk
    return largest - j % chunk


def string(i, j, window, shift):
    return i - j if i - j < shift else i - j - shift + window


@pytest.mark.parametrize(
    ("kind", "definition", "window", "group"),
    [
        ("self_extend", self_extend, 16, 4),
        ("self_extend", self_extend, 10, 3),
        ("leaky_rerope", leaky_rerope, 16, 4.0),
        ("leaky_rerope", leaky_rerope, 0, 2.5),
        ("dual_chunk", dual_chunk, 8, 24),
        ("dual_chunk", dual_chunk, 16, 16),
        ("string", string, 6, 20),
    ],
)
def test_every_pair_has_the_position_of_the_definition(kind, definition, window, group):
    positions = np.arange(LENGTH)
    found = PositionMap(kind, window, group).relative(positions, positions)
    for i in range(LENGTH):
        for j in range(i + 1):
            assert found[i, j] == pytest.approx(definition(i, j, window, group)), (i, j)


def test_dual_chunks_agree_with_distance_across_the_border():
    """What the window is for: a key is as far as it is within w tokens into the chunk before (their figure 2)."""
    wanted = PositionMap("dual_chunk", 8, 24)
    positions = np.arange(LENGTH)
    found = wanted.relative(positions, positions)
    for i in range(24, LENGTH):
        for j in range(max(0, i - 7), i + 1):
            assert found[i, j] == i - j


@pytest.mark.parametrize(
    ("method", "parameters", "reach"),
    [
        # The largest position in a text of four times the training length is one that training saw.
        ("self_extend", {"window": 16, "group": 8}, 16 - 2 + 255 // 8),
        ("leaky_rerope", {"window": 16, "group": 8.0}, 16 + (255 - 16) / 8),
        ("dual_chunk", {"chunk": 48, "window": 16}, 63),
    ],
)
def test_they_keep_within_what_was_trained(method, parameters, reach):
    rope = apply(TABLE, method, **parameters)
    assert rope.position_map.reach(256) == pytest.approx(reach)
    assert reach < 64


@pytest.mark.parametrize("factor", [1.5, 2, 4, 7.3, 16])
@pytest.mark.parametrize("window", [1, 7, 16, 48, 60])
def test_a_factor_makes_the_smallest_group_that_keeps_within_what_was_trained(window, factor):
    length = math.ceil(factor * 64)
    found = apply(TABLE, "self_extend", window=window, factor=factor).position_map
    assert found.reach(length) <= 63
    if found.group > 2:
        assert apply(TABLE, "self_extend", window=window, group=int(found.group) - 1).position_map.reach(length) > 63
    assert apply(TABLE, "leaky_rerope", window=window, factor=factor).position_map.reach(length) == pytest.approx(63)


def test_a_rope_keeps_its_map(tmp_path):
    rope = apply(apply(TABLE, "self_extend", window=16, group=4), "resonance")
    rope.save(tmp_path / "rope.json")
    assert Rope.load(tmp_path / "rope.json") == rope
    assert rope.recipe == "self_extend+resonance"
    assert rope != apply(TABLE, "resonance")
    assert hash(rope) != hash(apply(TABLE, "self_extend", window=17, group=4))
    dynamic = apply(apply(TABLE, "dynamic_ntk", factor=2.0), "string", shift=20, window=4)
    assert dynamic.at(128).position_map == dynamic.position_map


@pytest.mark.parametrize(
    ("method", "parameters", "message"),
    [
        ("self_extend", {"window": 0, "group": 4}, "window is 0"),
        ("self_extend", {"window": 8, "group": 1}, "group is 1"),
        ("self_extend", {"window": 8}, "no group and no factor"),
        ("self_extend", {"window": 8, "group": 4, "factor": 2}, "a factor and a group"),
        ("leaky_rerope", {"window": 8, "group": 4, "factor": 2}, "a factor and a group"),
        ("leaky_rerope", {"window": 63, "factor": 2}, "window is 63; expected less than 63 tokens"),
        ("self_extend", {"window": 8, "factor": 0.5}, "factor is 0.5"),
        ("leaky_rerope", {"window": 8, "group": 0.5}, "group is 0.5"),
        ("dual_chunk", {"chunk": 60, "window": 8}, "expected together at most 64 tokens"),
        ("dual_chunk", {"chunk": 8, "window": 16}, "expected a window within a chunk"),
        ("string", {"shift": 8, "window": 8}, "expected a window below the shift"),
    ],
)
def test_what_does_not_fit_is_refused(method, parameters, message):
    with pytest.raises(UserError, match=message):
        apply(TABLE, method, **parameters)


def test_the_file_says_what_is_wrong():
    value = apply(TABLE, "self_extend", window=16, group=4).to_json()
    for wrong, message in (({"kind": "far"}, "expected kind, window and group"), ("x", "expected kind")):
        with pytest.raises(UserError, match=message):
            Rope.from_json({**value, "position_map": wrong})
    with pytest.raises(UserError, match="kind is 'far'"):
        Rope.from_json({**value, "position_map": {"kind": "far", "window": 1, "group": 2}})

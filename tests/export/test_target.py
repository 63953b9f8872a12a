from __future__ import annotations

import pytest

from ropewalk.errors import UserError
from ropewalk.export.target import target_length
from ropewalk.rope import methods

ROPE = methods.default_rope(16, 10_000.0, 64)


def test_the_length_follows_from_the_factors_of_the_steps():
    assert target_length(methods.yarn(ROPE, factor=4.0), None) == 256
    assert target_length(methods.resonance(methods.pi(methods.pi(ROPE, factor=2.0), factor=3.0)), None) == 384
    assert target_length(methods.yarn(ROPE, factor=4.0), 100) == 100


@pytest.mark.parametrize(
    ("rope", "length", "message"),
    [
        (methods.abf(ROPE, new_base=1e6), None, "names no factor; expected --length"),
        (methods.longrope(ROPE, long_factor=[2.0] * 8), None, "names no factor; expected --length"),
        (ROPE, 32, "length is 32; expected a whole number of at least 64"),
    ],
)
def test_a_length_that_cannot_be_is_refused(rope, length, message):
    with pytest.raises(UserError, match=message):
        target_length(rope, length)

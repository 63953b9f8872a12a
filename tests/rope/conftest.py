"""Ropes that the tests of this folder share."""

from __future__ import annotations

import pytest

from ropewalk.rope import Rope, default_rope


@pytest.fixture
def llama2() -> Rope:
    return default_rope(128, 10_000.0, 4096)


@pytest.fixture
def posgen() -> Rope:
    """The geometry of PosGen: 64 dimensions, trained on 64 tokens."""
    return default_rope(64, 10_000.0, 64)

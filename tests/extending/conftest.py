from __future__ import annotations

import random

import pytest

from ropewalk.models.fresh import ModelShape
from ropewalk.models.sources import ModelSource

WORDS = "rope walk yarn strand hemp twist tar coil knot hook sail mast wind tide port stern bow keel".split()  # noqa: SIM905
SHAPE = ModelShape(hidden_size=64, layers=1, heads=2, kv_heads=2, intermediate_size=32, length=64)
LENGTH = 128


@pytest.fixture(scope="package")
def folder_of_texts(tmp_path_factory):
    """24 texts of some 800 bytes, and two that are too short."""
    folder = tmp_path_factory.mktemp("texts")
    for i in range(26):
        chosen = random.Random(i)
        (folder / f"{i}.txt").write_text(" ".join(chosen.choice(WORDS) for _ in range(160 if i < 24 else 10)))
    return folder


@pytest.fixture(scope="package")
def source(make_model) -> ModelSource:
    """A model that has learned nothing, so that no rope can help it, and that its rope moves all the same."""
    return make_model(SHAPE, times=3)

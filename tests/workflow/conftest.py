from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ropewalk import resident
from ropewalk.warm import VARIABLE


@pytest.fixture(scope="session", autouse=True)
def shared() -> Iterator[None]:
    """One resident process for the workflows of all tests; each would start one of its own, for eight seconds."""
    process, os.environ[VARIABLE] = resident.start()
    yield
    del os.environ[VARIABLE]
    process.terminate()
    process.wait(30)

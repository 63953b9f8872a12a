"""Checkpoints that a killed training resumes from: ``step-*`` in a state folder, files or folders, the newest two."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ropewalk.errors import UserError

KEPT = 2
"""The second newest serves where the newest is damaged."""

T = TypeVar("T")


def place(state: Path, step: int, suffix: str = "") -> Path:
    """Where the checkpoint of a step lies."""
    return state / f"step-{step:08d}{suffix}"


def rotate(state: Path) -> None:
    """Remove all checkpoints but the newest."""
    for old in sorted(state.glob("step-*"))[:-KEPT]:
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()


def newest(state: Path, load: Callable[[Path], T], say: Callable[[str], None]) -> T | None:
    """What ``load`` makes of the newest sound checkpoint; None where there is none.

    Raises:
        UserError: all of them are damaged. A failed load may have changed weights already, so that the process cannot
            start anew with them.
    """
    found = sorted(state.glob("step-*"), reverse=True)
    for checkpoint in found:
        try:
            return load(checkpoint)
        except Exception as error:
            say(f"checkpoint {checkpoint} is damaged ({error}); trying an older one")
    if found:
        raise UserError(f"all checkpoints in {state} are damaged; remove that folder to start anew.")
    return None

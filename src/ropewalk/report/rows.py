"""What readings say of themselves: the columns that the study gave them, out of their headers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ropewalk.errors import UserError
from ropewalk.files import read_json
from ropewalk.labels import labels
from ropewalk.reading.nll_file import METADATA


def header(folder: Path) -> dict[str, Any]:
    """The header of a reading: its columns, model, rope and options.

    Raises:
        UserError: the folder holds no reading.
    """
    if (folder / "nll.parquet").is_file():
        try:
            written = (pq.read_schema(folder / "nll.parquet").metadata or {}).get(METADATA)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{folder / 'nll.parquet'} is damaged: {error}.") from None
        found: dict[str, Any] = json.loads(written or b"{}")
    else:
        found = read_json(folder / "reading.json", "the header of a reading")
    if "rope" not in found.get("columns", {}):
        raise UserError(f"{folder}: the reading does not say its rope; expected one of `ropewalk read --columns`.")
    return found


def columns(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The columns of readings, in their order."""
    return [header(folder)["columns"] for folder in folders]


def named(folders: Sequence[Path]) -> dict[str, Path]:
    """Readings by what tells them apart: the rope, and where needed model, regime and seed.

    Raises:
        UserError: two have the same name.
    """
    names = labels(columns(folders))
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{names.count(name)} readings are called {name!r}; expected different ones.")
    return dict(zip(names, folders, strict=True))

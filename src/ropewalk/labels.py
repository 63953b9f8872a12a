"""What rows are called in tables and figures, from their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def labels(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each row that is read with a rope: the rope's, and what else tells the rows apart.

    Args:
        columns: of readings: ``rope``, ``base_model``, and of tuned models ``tuned_rope``, ``regime`` and ``seed``.
    """
    several = len({row.get("base_model") for row in columns}) > 1
    return [_label(row, several) for row in columns]


def _label(row: Mapping[str, Any], several: bool) -> str:
    parts = [row.get("base_model") if several else None, row["rope"]]
    tuned = row.get("tuned_rope")
    if tuned is not None:
        seed = f"seed-{row['seed']}"
        parts += [None if tuned == row["rope"] else f"on-{tuned}", row.get("regime"), seed]
    return "_".join(str(part) for part in parts if part not in (None, ""))

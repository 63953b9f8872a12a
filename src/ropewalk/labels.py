"""What rows are called in tables and figures, from their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MORE = {"experiment": "", "tune_length": "length-", "steps": "steps-", "tuned_from": "from-"}
"""What tells rows apart that the rest does not, in order, with the word before it."""


def labels(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each row that is read with a rope: the rope's, and what else tells the rows apart.

    Args:
        columns: of readings: ``rope``, ``base_model``, and of tuned models ``tuned_rope``, ``regime`` and ``seed``; and
            what is added where two rows would have one name: ``experiment``, ``tune_length``, ``steps``,
            ``tuned_from``.
    """
    several = len({row.get("base_model") for row in columns}) > 1
    names = [_label(row, several) for row in columns]
    for key, word in MORE.items():
        for name in {name for name in names if names.count(name) > 1}:
            same = [number for number, each in enumerate(names) if each == name]
            if len({columns[number].get(key) for number in same}) > 1:
                for number in same:
                    value = columns[number].get(key)
                    names[number] = name if value is None else f"{name}_{word}{value}"
    return names


def _label(row: Mapping[str, Any], several: bool) -> str:
    parts = [row.get("base_model") if several else None, row["rope"]]
    tuned = row.get("tuned_rope")
    if tuned is not None:
        seed = f"seed-{row['seed']}"
        parts += [None if tuned == row["rope"] else f"on-{tuned}", row.get("regime"), seed]
    return "_".join(str(part) for part in parts if part not in (None, ""))

"""Divisors of frequencies that others published: as CSV, as LongRoPE has them, or inside a model's configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError
from ropewalk.files import read_json


def read_factors(file: Path, key: str) -> list[float]:
    """One divisor a pair.

    Args:
        file: a ``.csv`` with a number a line, or one line of numbers with commas or spaces between them, or the same
            line for each layer, as the repository of LongRoPE (arXiv 2402.13753) has them; or a ``.json``, a model's
            configuration.
        key: ``long_factor`` or ``short_factor``, which is taken from a configuration.

    Raises:
        UserError: the file is missing or holds something else; or layers differ, which a rope here cannot.
    """
    if file.suffix == ".json":
        return _of_configuration(read_json(file, "a model configuration"), file, key)
    try:
        lines = [re.split(r"[,\s]+", line.strip()) for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: expected a CSV file of divisors ({error}).") from None
    if lines and all(len(line) == 1 for line in lines):
        return [_number(word, file, at) for at, (word,) in enumerate(lines, 1)]
    rows = [[_number(word, file, at) for word in line] for at, line in enumerate(lines, 1)]
    if not rows:
        raise UserError(f"{file} is empty; expected divisors, one a pair.")
    other = next((at for at, row in enumerate(rows, 1) if row != rows[0]), None)
    if other is not None:
        raise UserError(f"{file}, line {other} differs from line 1: one rope for each layer is not supported.")
    return rows[0]


def _number(word: str, file: Path, line: int) -> float:
    try:
        return float(word)
    except ValueError:
        raise UserError(f"{file}, line {line} has {word.strip()!r}; expected a number.") from None


def _of_configuration(raw: Any, file: Path, key: str) -> list[float]:
    places = [raw, raw.get("text_config") or {}] if isinstance(raw, Mapping) else []
    for place in places:
        for name in ("rope_parameters", "rope_scaling"):
            factors = (place.get(name) or {}).get(key)
            if factors:
                return [float(factor) for factor in factors]
    raise UserError(f"{file}: no {key} in rope_parameters or rope_scaling.")

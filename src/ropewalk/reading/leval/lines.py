"""JSON lines, one object each, with errors that name file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError


def json_lines(path: str | Path, what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with the numbers of their lines, counted from 1; blank lines are passed over.

    Args:
        path: of the file.
        what: it should be, for the error.

    Raises:
        UserError: the file is missing, not UTF-8, or a line is no JSON object.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {what}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged or not {what}: {error}.") from None
    # At line feeds alone: JSON strings may hold the other line ends of Unicode.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number} is no JSON ({error}); expected {what}.") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}:{number} holds a {type(value).__name__}; expected a JSON object of {what}.")
        yield number, value

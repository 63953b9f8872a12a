"""What commands share: options, and how numbers and folders are read from them."""

from __future__ import annotations

from pathlib import Path

import typer

from ropewalk.errors import UserError

Output = typer.Option("-o", "--output", help="where to write")


def numbers(text: str, option: str) -> list[float]:
    """Numbers that are written with commas between them, since an option takes one value."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text!r}: expected numbers with commas between them.") from None


def integers(text: str, option: str) -> list[int]:
    """Different whole numbers that are written with commas between them."""
    values = numbers(text, option)
    if any(not value.is_integer() for value in values) or len(set(values)) < len(values):
        raise UserError(f"{option} {text!r}: expected different whole numbers with commas between them.")
    return [int(value) for value in values]


def by_name(folders: list[Path], what: str) -> dict[str, Path]:
    """Folders by their names, which must differ."""
    named = {folder.absolute().name: folder for folder in folders}
    if len(named) < len(folders):
        raise UserError(
            f"two {what} have the same folder name; expected different ones: {', '.join(map(str, folders))}."
        )
    return named

"""The questions of L-Eval that a study has to bring from the hub before it can ask them."""

from __future__ import annotations

from ropewalk.reading.options import LEvalOptions
from ropewalk.study.rows import ReadingRow, Study


def questions_of(study: Study) -> dict[str, LEvalOptions]:
    """Options of readings that say where questions come from, by the name of the folder that these are brought into."""
    return {name: options for row in study.readings.values() for name, options in _asked(row)}


def questions_name(row: ReadingRow) -> str | None:
    """The name of the folder of a reading's questions; None where it needs none from the hub."""
    return next((name for name, _ in _asked(row)), None)


def _asked(row: ReadingRow) -> list[tuple[str, LEvalOptions]]:
    asked = row.options
    if not isinstance(asked, LEvalOptions) or not asked.data.startswith("hub:"):
        return []
    name = asked.data.removeprefix("hub:").replace("/", "--")
    return [(name + (f"@{asked.revision}" if asked.revision else ""), asked)]

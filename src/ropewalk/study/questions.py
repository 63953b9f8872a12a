"""The questions of L-Eval that a study has to bring from the hub before it can ask them."""

from __future__ import annotations

from ropewalk.reading.options import LEvalOptions
from ropewalk.study.rows import ReadingRow, Study


def questions_of(study: Study) -> dict[str, LEvalOptions]:
    """Options of readings that say where questions come from, by the name of the folder that these are brought into."""
    return {
        name: row.options
        for row in study.readings.values()
        if isinstance(row.options, LEvalOptions) and (name := questions_name(row))
    }


def questions_name(row: ReadingRow) -> str | None:
    """The name of the folder of a reading's questions; None where it needs none from the hub."""
    asked = row.options
    if not isinstance(asked, LEvalOptions) or not asked.data.startswith("hub:"):
        return None
    name = asked.data.removeprefix("hub:").replace("/", "--")
    return f"{name}@{asked.revision}" if asked.revision else name

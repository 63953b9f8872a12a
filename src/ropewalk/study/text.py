"""The tables of a study for people, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ropewalk.options import Options, plain
from ropewalk.study.paths import Paths
from ropewalk.study.rows import ModelRow, ReadingRow, RopeRow, SearchJob, Study

SHOWN = 12
"""Values of a list that are shown; of a longer one only how many there are."""
TABLES = ("corpora", "ropes", "models", "readings", "searches", "exports", "posgen", "reports")


def study_json(study: Study, results: Path) -> str:
    """Every table: a list of rows, each with its columns, its path and whether it ``stands``."""
    paths = Paths(f"{results}/{study.config.name}")
    tables = {
        table: [
            {**_plain(row), "path": paths.of(row), "stands": Path(paths.of(row)).exists()}
            for row in getattr(study, table).values()
        ]
        for table in TABLES
    }
    return json.dumps({"name": study.config.name, **tables}, indent=1)


def _plain(row: Any) -> dict[str, Any]:
    values = {key: value for key, value in vars(row).items() if value not in (None, (), {})}
    return json.loads(json.dumps(values, default=lambda value: plain(value)))


def study_text(study: Study, results: Path) -> str:
    """The tables for a terminal: a line a row, with what it is made of; ``*`` where it stands already."""
    paths = Paths(f"{results}/{study.config.name}")
    lines = [f"study {study.config.name}"]
    sections: tuple[tuple[str, list[tuple[Any, str]]], ...] = (
        ("corpora", [(row, row.options.source) for row in study.corpora.values()]),
        ("ropes", [(row, _rope(row)) for row in study.ropes.values()]),
        ("models", [(row, _model(row)) for row in study.models.values()]),
        ("searches", [(row, _search(row)) for row in study.searches.values()]),
        ("readings", [(row, _reading(row)) for row in study.readings.values()]),
        ("exports", [(row, f"{row.model} with {row.rope}, as {row.to}") for row in study.exports.values()]),
        ("posgen", [(row, f"{len(row.trained)} ropes trained") for row in study.posgen.values()]),
        ("reports", [(row, _report(row)) for row in study.reports.values()]),
    )
    for title, rows in sections:
        if not rows:
            continue
        standing = [Path(paths.of(row)).exists() for row, _ in rows]
        lines += ["", f"{title}: {len(rows)}, {sum(standing)} of them stand"]
        width = min(64, max(len(row.id) for row, _ in rows))
        lines += [
            f" {'*' if stands else ' '} {row.id:<{width}}  {words}"
            for (row, words), stands in zip(rows, standing, strict=True)
        ]
    if not any(rows for _, rows in sections):
        lines.append("no rows: this configuration names no model and no experiment")
    return "\n".join(lines)


def _rope(row: RopeRow) -> str:
    return " → ".join(_rope_parts(row))


def _rope_parts(row: RopeRow) -> Iterator[str]:
    if row.file or row.rope or row.search:
        yield f"file {row.file}" if row.file else f"rope {row.rope}" if row.rope else f"found by {row.search}"
    for step in row.steps:
        given = ", ".join(f"{key} {_short(value)}" for key, value in step.items() if key != "method")
        yield f"{step['method']}({given})"
    if not row.steps and row.table.model:
        yield f"as {row.table.model} has it"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_short(each)}" for key, each in value.items() if each is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_short, value)) + "]" if len(value) <= SHOWN else f"{len(value)} values"
    return str(value)


def _model(row: ModelRow) -> str:
    if row.kind == "fetch":
        return f"fetched from {row.source}" + (f" at {row.revision}" if row.revision else "")
    if row.kind == "pretrain":
        assert row.shape is not None
        given = {key: value for key, value in plain(row.shape).items() if value is not None}
        sizes = ", ".join(f"{key} {_short(value)}" for key, value in given.items())
        return f"pre-trained: {sizes}; {_given(row.options)}"
    return f"{row.base} tuned with {row.rope}: {_given(row.options)}"


def _search(row: SearchJob) -> str:
    return f"on {row.model}: {_given(row.options)}"


def _reading(row: ReadingRow) -> str:
    return f"{row.kind} of {row.model} with {row.rope}: {_given(row.options)}"


def _report(row: Any) -> str:
    parts = [
        f"{len(rows)} {what}"
        for what, rows in (("readings", row.readings), ("searches", row.searches), ("tasks", row.tasks))
        if rows
    ]
    return ", ".join(parts) or _given(row.options)


def _given(options: Options | None) -> str:
    """Options that differ from their defaults."""
    assert options is not None
    defaults = {name: field.default for name, field in type(options).__dataclass_fields__.items()}  # type: ignore[attr-defined]
    values = asdict(options)  # type: ignore[call-overload]
    return ", ".join(
        f"{key} {_short(value)}" for key, value in values.items() if getattr(options, key) != defaults[key]
    )

"""Write what explains the configuration: ``config/default.yaml`` and its JSON schema."""

from __future__ import annotations

import json
import textwrap
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from ropewalk.options import descriptions, plain
from ropewalk.search.options import SearchOptions
from ropewalk.study.config import Config, ReadingRows, SearchRows, SweepRows, TuningRows
from ropewalk.study.kinds import READING_OPTIONS, REPORT_OPTIONS
from ropewalk.training.options import TuningOptions

HEAD = """\
# yaml-language-server: $schema=schema.json
# Every key of a study, with its meaning and its default; `ropewalk config default` writes this file. It holds no
# experiment: a study such as embedded.yaml holds what differs, and goes on top with --configfile.
# The keys of a row stand in comments below its table; NEEDED stands where there is no default.
"""
LINE = 110
"""Characters of a line of comments."""


def json_schema() -> str:
    """The JSON schema, for editors that complete and check YAML."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(Config).json_schema()
    kinds = _classes(Config)
    for name, definition in [("Config", schema), *schema["$defs"].items()]:
        notes = descriptions(kinds[name])
        for key, value in definition["properties"].items():
            value["description"] = notes[key]
    return json.dumps(schema, indent=1) + "\n"


def default_yaml() -> str:
    """Every key with its description; tables of rows are empty, with the keys of a row in comments."""
    hints, notes = get_type_hints(Config), descriptions(Config)
    lines = [HEAD]
    for field in fields(Config):
        hint = hints[field.name]
        lines += ["\n", *_comment(notes[field.name], "")]
        if is_dataclass(hint):
            lines += [f"{field.name}:\n", *_values(field.default, "  ")]
            continue
        lines.append(f"{field.name}: {_flow(_default(field))}\n")
        row = _inner(hint)
        if row is not None:
            lines += ["#   NAME:\n", *_keys(row, "#     ")]
    return "".join(lines)


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _values(options: Any, pad: str) -> list[str]:
    """The keys of options with their values."""
    kind: Any = type(options)
    lines, notes = [], descriptions(kind)
    for field in fields(options):
        value = getattr(options, field.name)
        shown = _flow(plain(value) if is_dataclass(value) else value)
        lines += [*_comment(notes[field.name], pad), f"{pad}{field.name}: {shown}\n"]
    return lines


def _keys(kind: Any, pad: str, without: tuple[str, ...] = ()) -> list[str]:
    """The keys of a row: each with its description, its default or that it is needed, and the keys below it."""
    lines: list[str] = []
    hints, notes = get_type_hints(kind), descriptions(kind)
    for field in fields(kind):
        if field.name in without:
            continue
        hint = hints[field.name]
        inner, free = _inner(hint), FREE.get((kind, field.name))
        lines += _comment(notes[field.name], pad)
        if free is not None:
            lines.append(f"{pad}{field.name}:\n")
            for title, below in free.items():
                lines += [*_comment(title, f"{pad}  "), *_keys(below, f"{pad}  ", GIVEN)]
        elif inner is None:
            default = _default(field)
            lines.append(f"{pad}{field.name}: {'NEEDED' if default is MISSING else _flow(default)}\n")
        elif get_origin(hint) is tuple:
            lines += [f"{pad}{field.name}:\n", f"{pad}  -\n", *_keys(inner, f"{pad}    ")]
        elif get_origin(hint) is dict:
            lines += [f"{pad}{field.name}:\n", f"{pad}  NAME:\n", *_keys(inner, f"{pad}    ")]
        else:
            lines += [f"{pad}{field.name}:\n", *_keys(inner, f"{pad}  ")]
    return lines


def _inner(hint: Any) -> Any:
    """The class of options that a field holds: itself, one of them, or several."""
    if is_dataclass(hint):
        return hint
    found = [inner for inner in map(_inner, get_args(hint)) if inner is not None]
    return found[0] if found else None


def _comment(text: str, pad: str) -> list[str]:
    return [f"{pad}# {line}\n" for line in textwrap.wrap(text, LINE - len(pad))]


def _flow(value: Any) -> str:
    shown = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(shown, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n...\n").strip()


GIVEN = ("experiment", "confidence", "factor", "sampler", "space")
"""Options that stand elsewhere in the configuration."""
FREE: dict[tuple[Any, str], dict[str, Any]] = {
    (ReadingRows, "options"): {
        f"where kind is {kind}:": options for kind, options in READING_OPTIONS.items() if kind != "probe"
    },
    (ReadingRows, "report"): {"where kind is nll; other kinds have none:": REPORT_OPTIONS["perplexity"]},
    (TuningRows, "options"): {"": TuningOptions},
    (SweepRows, "options"): {"": TuningOptions},
    (SweepRows, "report"): {"": REPORT_OPTIONS["scaling"]},
    (SearchRows, "options"): {"": SearchOptions},
    (SearchRows, "report"): {"": REPORT_OPTIONS["search"]},
}
"""Keys whose options depend on something else, and the classes of these options."""


def _classes(kind: Any) -> dict[str, Any]:
    found = {kind.__name__: kind}
    for hint in get_type_hints(kind).values():
        inner = _inner(hint)
        if inner is not None and inner.__name__ not in found:
            found |= _classes(inner)
    return found

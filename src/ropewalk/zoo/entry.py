"""A rope of the zoo: named by what it is, with its model, its source, and what was measured and proved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError
from ropewalk.files import read_json, write_json
from ropewalk.rope import Rope

FORMAT = "ropewalk.zoo/1"
ZOO = Path(__file__).parent / "ropes"
"""The entries that come with Ropewalk."""
_MEASURED = ("short_cost", "documents", "corpora", "confidence", "comparisons", "gain", "cost", "seconds")
"""What is kept of an answer of `ropewalk extend`."""


@dataclass(frozen=True)
class Entry:
    """A rope with what is known of it.

    Attributes:
        name: a person's name for it.
        model: that it was made for.
        length: tokens that it is for.
        source: where its numbers come from.
        rope: itself.
        measured: gain and cost against the model's own rope with intervals, as `ropewalk extend` found them; or None.
        proof: what an export of it was held against; or None.
    """

    name: str
    model: str
    length: int
    source: str
    rope: Rope
    measured: Mapping[str, Any] | None = None
    proof: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """Twelve digits of the hash of the rope: the same numbers have the same id, whoever adds them."""
        text = json.dumps(self.rope.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        about = {"name": self.name, "model": self.model, "length": self.length, "source": self.source}
        known = {"measured": self.measured, "proof": self.proof}
        return {"format": FORMAT, **about, **known, "rope": self.rope.to_json()}


def load(path: Path) -> Entry:
    """Read an entry.

    Raises:
        UserError: the file is missing, damaged, or called otherwise than its content asks for.
    """
    value = read_json(path, "an entry of a zoo")
    keys = ("name", "model", "length", "source", "rope", "measured", "proof")
    if not isinstance(value, Mapping) or value.get("format") != FORMAT or not set(keys) <= set(value):
        raise UserError(f"{path}: expected an entry of a zoo, with the format {FORMAT} and {', '.join(keys)}.")
    try:
        entry = Entry(**{key: value[key] for key in keys} | {"rope": Rope.from_json(value["rope"])})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if path.stem != entry.id:
        raise UserError(f"{path}: the rope in it has the id {entry.id}; the file was changed or renamed.")
    return entry


def entries(folder: Path = ZOO) -> list[Entry]:
    """All entries of a folder, by model and length.

    Raises:
        UserError: there is no such folder, or an entry is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected a zoo.")
    found = [load(path) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda entry: (entry.model, entry.length, entry.id))


def find(wanted: str, folder: Path = ZOO) -> Entry:
    """The entry of an id, its beginning, or a name.

    Raises:
        UserError: none or several are called so.
    """
    known = entries(folder)
    found = [entry for entry in known if entry.id.startswith(wanted) or entry.name == wanted]
    if len(found) != 1:
        names = ", ".join(f"{entry.id} ({entry.name})" for entry in found or known) or "none"
        raise UserError(f"{wanted!r}: expected one of {names}.")
    return found[0]


def add(entry: Entry, folder: Path) -> Path:
    """Write an entry, under its id.

    Raises:
        UserError: the same rope is there for another model or by another name.
    """
    path = folder / f"{entry.id}.json"
    if path.exists() and (before := load(path)).name != entry.name:
        raise UserError(f"{path}: the same rope is there as {before.name}, for {before.model}.")
    write_json(path, entry.to_json())
    return path


def from_answer(folder: Path, name: str, rope: str | None, source: str) -> Entry:
    """What `ropewalk extend` found, as an entry.

    Args:
        folder: that it wrote.
        name: of the entry.
        rope: name of one of the ropes that it tried; the recommended one where None.
        source: where it comes from.

    Raises:
        UserError: it recommends none, or tried none of that name.
    """
    answer = read_json(folder / "answer.json", "an answer of `ropewalk extend`")
    wanted = rope or answer["rope"]
    rows = {row["rope"]: row for row in answer["ropes"] if row["gain"] is not None}
    if wanted not in rows:
        raise UserError(
            f"--rope {wanted}: expected one of {', '.join(rows)}, since {folder} recommends {answer['rope']}."
        )
    row = rows[wanted]
    measured = {key: {**answer, **row}[key] for key in _MEASURED}
    value = Rope.load(folder / row["file"])
    proof = answer["proof"] if wanted == answer["rope"] else None
    return Entry(name, answer["model"].partition(":")[2], answer["length"], source, value, measured, proof)

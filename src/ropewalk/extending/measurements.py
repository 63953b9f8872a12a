"""What was read of each document with each rope, kept as lines so that a killed run loses at most one reading."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ropewalk.files import whole_lines
from ropewalk.rope.rope import FloatArray


@dataclass(frozen=True)
class Reading:
    """One document read with one rope.

    Attributes:
        candidate: name of the rope.
        corpus: of the document.
        document: its id.
        short: mean NLL of the tokens up to the native length, nats.
        tail: mean NLL of those beyond it, nats.
        answer: mean NLL of the answer's tokens, nats; None where none was asked.
        accuracy: share of the answer's tokens that were the first choice.
        seconds: that it took.
    """

    candidate: str
    corpus: str
    document: str
    short: float
    tail: float
    answer: float | None
    accuracy: float | None
    seconds: float


class Log:
    """The readings of a run, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.readings = [Reading(**line) for line in whole_lines(path)]
        # What a killed writer left torn is dropped.
        path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in self.readings))
        self._known = {(one.candidate, one.corpus, one.document) for one in self.readings}

    def add(self, reading: Reading) -> None:
        """Keep a reading."""
        self.readings.append(reading)
        self._known.add((reading.candidate, reading.corpus, reading.document))
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(reading)) + "\n")

    def has(self, candidate: str, corpus: str, document: str) -> bool:
        """Whether a document was read with a rope."""
        return (candidate, corpus, document) in self._known


@dataclass(frozen=True)
class Measured:
    """What ropes do on the same documents, a row a rope, shape (ropes, documents) each.

    Attributes:
        names: of the ropes, the native one first.
        documents: ``corpus/document``.
        short: nats a token up to the native length.
        tail: nats a token beyond it.
        answer: nats a token of the answer; nan where none was asked.
        accuracy: share of the answer's tokens that were right; nan where none was asked.
    """

    names: tuple[str, ...]
    documents: tuple[str, ...]
    short: FloatArray
    tail: FloatArray
    answer: FloatArray
    accuracy: FloatArray


def measured(readings: Iterable[Reading], names: Sequence[str]) -> Measured:
    """The documents that were read with all of some ropes, in the order in which they were read."""
    known = {(one.candidate, f"{one.corpus}/{one.document}"): one for one in readings}
    ids = dict.fromkeys(document for _, document in known)
    whole = [document for document in ids if all((name, document) in known for name in names)]

    def table(field: str) -> FloatArray:
        rows = [[getattr(known[name, document], field) for document in whole] for name in names]
        return np.array([[math.nan if value is None else value for value in row] for row in rows], dtype=np.float64)

    return Measured(tuple(names), tuple(whole), *(table(field) for field in ("short", "tail", "answer", "accuracy")))

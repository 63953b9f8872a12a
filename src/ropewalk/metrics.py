"""Numbers by step, as JSON lines: ``{"step": 10, "time": 1760000000.0, "loss": 2.1, …}``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from ropewalk.files import whole_file


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a metrics file; a line that a killed writer left unfinished is passed over."""
    if not path.is_file():
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def write_metrics(path: Path, metrics: Mapping[int, Mapping[str, float]]) -> None:
    """Write a finished metrics file: names and numbers by step, whole or not at all."""
    now = time.time()
    with whole_file(path) as temporary:
        lines = [json.dumps({"step": step, "time": now, **values}) + "\n" for step, values in metrics.items()]
        temporary.write_text("".join(lines))


class MetricsFile:
    """A metrics file in the making; :meth:`resume` comes before the first numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def resume(self, step: int) -> None:
        """Go on after ``step``: later lines, which will be written again, are dropped; at 0 all are."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        self._file = self.path.open("w")
        for line in kept:
            self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the numbers of a step."""
        if self._file is None:
            self.resume(0)
        assert self._file is not None
        self._file.write(json.dumps({"step": step, "time": time.time(), **metrics}) + "\n")
        self._file.flush()

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

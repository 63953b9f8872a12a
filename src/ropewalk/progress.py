"""Progress that reads well on a terminal and in a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0
QUIET = "ROPEWALK_JOBS_TO_LOG"
"""Variable that is set for jobs whose words a display shows (ropewalk/watching.py): they write to their log alone."""


class Progress:
    """A bar on a terminal; elsewhere one line every ten seconds, so that a log stays readable.

    Args:
        name: what is being done.
        total: number of steps; None where nobody knows.
        done: steps that an earlier, interrupted run has done.
        unit: what one step is.
        shown: False in all but one of several processes.
    """

    def __init__(self, name: str, total: int | None, *, done: int = 0, unit: str = "step", shown: bool = True) -> None:
        self.name, self.total, self.count, self.unit = name, total, done, unit
        self._first, self._started, self._printed = done, time.monotonic(), time.monotonic()
        self._note = ""
        self._shown = shown
        terminal = shown and sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, desc=name, unit=unit, dynamic_ncols=True) if terminal else None

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count ``steps`` more; ``note`` says how it goes (a loss, a rate)."""
        self.count += steps
        self._note = note or self._note
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(steps)
        elif self._shown and time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
            self._print_line()

    def expect(self, total: int) -> None:
        """Say how many steps there are, now that it is known better."""
        self.total = total
        if self._bar is not None:
            self._bar.total = total

    def _print_line(self) -> None:
        self._printed = time.monotonic()
        note = f" · {self._note}" if self._note else ""
        line = f"{self.name}: {self.count} {self.unit}s{note}"
        if self.total is not None:
            left = (self._printed - self._started) / max(1, self.count - self._first) * (self.total - self.count)
            share = f"{100 * self.count / max(1, self.total):3.0f} %"
            line = f"{self.name}: {share} · {self.unit} {self.count} of {self.total}{note} · {clock(left)} left"
        print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._shown and kind is None:
            note = f" · {self._note}" if self._note else ""
            took = clock(time.monotonic() - self._started)
            print(f"{self.name}: done · {self.count} {self.unit}s{note} · took {took}", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

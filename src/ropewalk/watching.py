"""What a person sees while a workflow runs: a display on a terminal, and elsewhere a line every ten seconds.

Snakemake writes a block for every job, 2,500 lines for a study. Those stay in its own log. Here jobs are told in their
own words, with what they say last, how many are done, and about how long the rest takes; a job that fails is told at
once, with the end of its log.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ropewalk.progress import QUIET, SECONDS_BETWEEN_LINES, clock

_ENDS = 15
"""Lines of the log of a job that failed."""
_TAIL = 4096
"""Bytes of a log that are read for its end."""
_SECONDS_BETWEEN_READS = 3.0
_LEFT = re.compile(r"(?:(\d+):)?(\d+):(\d\d) left$")
"""How :class:`ropewalk.progress.Progress` ends a line."""
_NOISE = (
    "Assuming unrestricted", "Building DAG", "Complete log", "Conda environments", "Elapsed time", "Execute ",
    "Group jobs", "Job counts", "Loading ", "Provided ", "Rules claiming", "Select jobs", "Singularity", "Using ",
    "host:",
)  # fmt: skip
"""What Snakemake says beside events, and nobody needs to know unless something is wrong; its log has it."""


@dataclass
class Running:
    """A job that has begun.

    Attributes:
        rule: its rule.
        words: what it does.
        log: its log, where it has one.
        since: when it began.
    """

    rule: str
    words: str
    log: Path | None
    since: float
    _read: float = -math.inf
    _said: str = ""

    def says(self, now: float) -> str:
        """The last line of its log, which is read every few seconds: on a cluster hundreds of jobs have one."""
        if now - self._read >= _SECONDS_BETWEEN_READS:
            self._read, self._said = now, (ends(self.log, 1) or [""])[0]
        return self._said

    def left(self, mean: float, now: float) -> float:
        """Seconds until it ends: what it says itself, or what is left of the mean of its rule."""
        said = self._says_left(now)
        return max(0.0, mean - (now - self.since)) if said is None else said

    def needs(self, now: float) -> float | None:
        """Seconds that it takes in all, if it says so."""
        said = self._says_left(now)
        return None if said is None else now - self.since + said

    def _says_left(self, now: float) -> float | None:
        if not (said := _LEFT.search(self.says(now))):
            return None
        hours, minutes, seconds = said.groups()
        return 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)


@dataclass
class Course:
    """How far a workflow is.

    Attributes:
        begun: when.
        planned: jobs of each rule.
        done: jobs of each rule.
        took: seconds of the jobs of each rule that are done.
        running: jobs by their number.
    """

    begun: float
    planned: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    took: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    running: dict[int, Running] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.planned.values())

    def finish(self, job: int, now: float) -> None:
        """Count a job that has ended well."""
        ended = self.running.pop(job, None)
        if ended is not None:
            self.done[ended.rule] += 1
            self.took[ended.rule] += now - ended.since

    def left(self, now: float) -> float | None:
        """Seconds that the rest takes, by the mean of each rule so far.

        What runs says itself what it needs, if it can, and tells of others of its rule where none of them is done. Of
        rules of which nothing is known, one job takes as long as all did so far, and several are left out. As many jobs
        are taken to run beside each other as did so far. None where nothing is done.
        """
        ended = self.done.total()
        if not ended:
            return None
        every = sum(self.took.values()) / ended
        means = self._means(now)
        rests = [job.left(means.get(job.rule, every), now) for job in self.running.values()]
        waiting = sum(many * means.get(rule, every if many == 1 else 0.0) for rule, many in self._waiting().items())
        spent = sum(self.took.values()) + sum(now - job.since for job in self.running.values())
        beside = max(1.0, spent / max(now - self.begun, 1e-9))
        return max((waiting + sum(rests)) / beside, *rests, 0.0)

    def line(self, now: float) -> str:
        """How many jobs are done, since when, and how long the rest takes, as far as what ran so far tells."""
        left, means = self.left(now), self._means(now)
        known = all(many < 2 or rule in means for rule, many in self._waiting().items())
        rest = "" if left is None else f", {'about' if known else 'more than'} {clock(left)} left"
        over = self.done.total() == self.total
        return f"{self.done.total()} of {self.total} jobs done · {clock(now - self.begun)} gone{'' if over else rest}"

    def _means(self, now: float) -> dict[str, float]:
        """Seconds of a job of each rule of which one is done, or one that runs says what it needs."""
        needs: defaultdict[str, list[float]] = defaultdict(list)
        for job in self.running.values():
            if (need := job.needs(now)) is not None:
                needs[job.rule].append(need)
        told = {rule: sum(needed) / len(needed) for rule, needed in needs.items()}
        return told | {rule: self.took[rule] / many for rule, many in self.done.items()}

    def _waiting(self) -> dict[str, int]:
        """Jobs of each rule that have not begun."""
        begun = Counter(job.rule for job in self.running.values())
        return {rule: max(0, many - self.done[rule] - begun[rule]) for rule, many in self.planned.items()}


class Watch(logging.Handler):
    """Shows the events of Snakemake. A dry run, and `--verbose`, are told as Snakemake tells them."""

    def open(self, settings: Any) -> None:
        """Begin, with Snakemake's settings of output."""
        stream = sys.stdout if settings.stdout else sys.stderr
        self.console = Console(file=stream, no_color=settings.nocolor or None, highlight=False, soft_wrap=True)
        self.course = Course(time.monotonic())
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._printed, self._said = time.monotonic(), ""
        self._over = threading.Event()
        self.plain: logging.Handler | None = None
        if settings.dryrun or settings.verbose or settings.debug_dag:
            from snakemake.logging import ColorizingTextHandler

            self.plain = ColorizingTextHandler(nocolor=settings.nocolor, stream=stream)
        else:
            os.environ[QUIET] = "1"

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record of Snakemake."""
        if self.plain is not None:
            self.plain.setFormatter(self.formatter)
            self.plain.emit(record)
            return
        event = getattr(record, "event", None)
        told: dict[str, Callable[[logging.LogRecord], None]] = {
            "run_info": self._plan,
            "job_info": self._begin,
            "job_finished": self._finish,
            "job_error": self._fail,
            "shellcmd": self._command,
        }
        try:
            with self._lock:
                if (known := told.get(str(event))) is not None:
                    known(record)
                elif event is None or record.levelno >= logging.WARNING:
                    self._remark(record)
        except Exception:  # a fault of the display must not end the workflow
            self.handleError(record)

    def close(self) -> None:
        """Take the display away."""
        self._stop()
        super().close()

    def _plan(self, record: Any) -> None:
        counts = Counter({rule: many for rule, many in record.stats.items() if rule != "total"})
        begins = not self.course.planned
        self.course.planned = counts
        if begins:
            self.course.begun = time.monotonic()
            self._print(f"{self.course.total} jobs")
            if self.console.is_terminal:
                self._live = Live(console=self.console, auto_refresh=False, transient=True)
                self._live.start()
            threading.Thread(target=self._tick, daemon=True).start()

    def _begin(self, record: Any) -> None:
        log = Path(record.log[0]) if record.log else None
        words = record.rule_msg or record.rule_name
        self.course.running[record.jobid] = Running(record.rule_name, words, log, time.monotonic())

    def _finish(self, record: Any) -> None:
        self.course.finish(record.job_id, time.monotonic())
        if self.course.done.total() >= self.course.total:
            self._stop()
            self._print(self.course.line(time.monotonic()))

    def _fail(self, record: Any) -> None:
        failed = self.course.running.pop(record.jobid, None)
        words = failed.words if failed else record.rule_name
        self._print(f"FAILED: {words}", "bold red")
        log = Path(record.log[0]) if record.log else None
        if log is not None:
            self._print(f"  its log, {log}, ends with")
            self._print("\n".join(f"  | {line}" for line in ends(log, _ENDS)))

    def _command(self, record: Any) -> None:
        if command := getattr(record, "cmd", None) or record.msg:
            self._print(str(command).strip("\n"))

    def _remark(self, record: logging.LogRecord) -> None:
        message = record.getMessage() if record.msg else ""
        if record.levelno >= logging.ERROR:
            self._stop()
        hidden = hasattr(record, "quietness") or message.startswith(_NOISE)
        # Of a job that failed its log says more than its command.
        of_a_job = message.startswith("RuleException:\nCalledProcessError")
        if message.strip() and not of_a_job and (record.levelno >= logging.WARNING or not hidden):
            colours = {logging.ERROR: "red", logging.CRITICAL: "red", logging.WARNING: "yellow"}
            self._print(message, colours.get(record.levelno))

    def _print(self, text: str, style: str | None = None) -> None:
        self.console.print(Text(text, style=style or ""))
        self._printed = time.monotonic()

    def _shown(self, now: float) -> Group:
        """The display: each running job with what it says last, and how many are done."""
        rows = Table.grid(padding=(0, 1), expand=True)
        rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1, style="dim")
        rows.add_column(no_wrap=True, justify="right", style="dim")
        room = max(1, self.console.height - 4)
        running = list(self.course.running.values())
        for job in running[:room]:
            rows.add_row(job.words, job.says(now), clock(now - job.since))
        if len(running) > room:
            rows.add_row(f"and {len(running) - room} more", "", "")
        foot = Table.grid(padding=(0, 1), expand=True)
        foot.add_column(ratio=1)
        foot.add_column(no_wrap=True)
        bar = ProgressBar(total=self.course.total, completed=self.course.done.total())
        foot.add_row(bar, self.course.line(now))
        return Group(rows, foot)

    def _tick(self) -> None:
        """Draw the display anew; where there is none, a line every ten seconds where something has changed."""
        while not self._over.wait(0.5):
            with self._lock:
                live, now = self._live, time.monotonic()
                if live is None:
                    self._say(now)
                    continue
                shown = self._shown(now)
            # Without our lock: who prints holds it, and waits for that of the display.
            live.update(shown, refresh=True)

    def _say(self, now: float) -> None:
        if now - self._printed < SECONDS_BETWEEN_LINES or not self.course.running:
            return
        job = min(self.course.running.values(), key=lambda one: one.since)
        others = len(self.course.running) - 1
        beside = f" (and {others} more)" if others else ""
        says = job.says(now)
        said = f"{job.words}{beside}{f' · {says}' if says else ''}"
        if said != self._said:
            self._said = said
            self._print(f"{self.course.line(now)} · {said}")

    def _stop(self) -> None:
        self._over.set()
        if self._live is not None:
            self._live.stop()
            self._live = None


def ends(log: Path | None, lines: int) -> list[str]:
    """The last lines of a log that say something; none where there is no log yet."""
    try:
        with open(log or "", "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.replace("\r", "\n").split("\n") if line.strip()][-lines:]

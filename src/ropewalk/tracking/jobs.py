"""Run a command as a child process, show and log its output, and record how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ropewalk.errors import MISTAKE, UserError
from ropewalk.files import read_json
from ropewalk.processes import die_with_parent
from ropewalk.progress import QUIET
from ropewalk.tracking import delivery
from ropewalk.tracking.delivery import OTHERS, Live, send_orphans, warn
from ropewalk.tracking.records import Job, close, open_record, record_parts, release

SHORT = 60.0
"""Seconds within which a job leaves its record to the next delivery."""

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_tracked(
    job: Job, command: list[str], root: Path | None = None, patience: float = SHORT, attempt: int = 1
) -> int:
    """Run ``command`` and record it; return its exit status (128 + n if signal n ended it).

    Its output goes to the terminal's stderr and to ``job.log``. SIGTERM, SIGINT and SIGHUP are passed on to it. Older
    records that wait below ``root`` are delivered too. A job that ends within ``patience`` seconds sends nothing and
    does not import MLflow, which could take longer than the job: its record waits for the next delivery.

    An ``attempt`` after the first is not made where the one before ended with a mistake, which a person has to mend.

    Raises:
        UserError: the command cannot be started, or the log cannot be written.
    """
    log = _create_log(job.log)
    if attempt > 1 and (mistake := _last_mistake(job.folder)) is not None:
        # Snakemake has deleted the log of that attempt.
        _say(f"{mistake}\nropewalk: {job.name} is not tried again: another attempt would end so too.\n".encode(), log)
        return MISTAKE
    path, record = open_record(job, command)
    killed = delivering = False
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        nonlocal killed
        if delivering:
            raise KeyboardInterrupt  # the job is over: leave its record to the next delivery
        killed = True
        if child is None:
            early.append(number)
        elif child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)

    with _handling(on_signal):
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C of the terminal reaches it once, through us, and all that it started
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            path.unlink()
            raise UserError(f"{command[0]} cannot be started: {error.strerror}.") from None
        for number in early:
            on_signal(number, None)
        tee = _thread(_tee, child, log)
        ended = threading.Event()
        _thread(_beat, path, ended)
        live = Live(path, record)
        live.start(patience)
        code = child.wait()
        tee.join(timeout=5)  # not for ever: a daemon that the child left behind may hold the pipe open
        killed = code != 0 and (killed or -code in (*_FORWARDED, signal.SIGKILL))
        try:
            if code == MISTAKE and job.log:
                record["said"] = last_line(job.log)
            close(path, record, "KILLED" if killed else "FAILED" if code else "FINISHED", code, time.time())
            delivering = True
            if code == 0:
                _record_parts(job, command, record)
            # Who kills a job gives it little time to end.
            if live.finish() and not killed and not delivery.holds_gpu():
                send_orphans(root or job.folder, live.store, patience=0, seconds=OTHERS)
        except (Exception, KeyboardInterrupt) as error:
            delivering = False
            release(path, record)
            warn(root or job.folder, error)
        finally:
            delivering = False
            ended.set()
            release(path, record)
    return 128 - code if code < 0 else code


def _last_mistake(folder: Path) -> str | None:
    """The last words of the newest attempt of a job, if a person has to mend what it ended with."""
    newest = max(folder.glob("record-*.json"), default=None)
    record = read_json(newest, "a record of a job") if newest else {"exit": None}
    return record.get("said", "") if record["exit"] == MISTAKE else None


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")


def _record_parts(job: Job, command: list[str], record: dict[str, Any]) -> None:
    try:
        record_parts(job, command, record)
    except (UserError, OSError) as error:
        print(f"tracking: the parts of {job.name} have no runs: {error}", file=sys.stderr)


def _thread(target: Callable[..., None], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def _create_log(path: Path | None) -> int | None:
    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as error:
        raise UserError(f"The log {path} cannot be written: {error.strerror}.") from None


def _tee(child: subprocess.Popen[bytes], log: int | None) -> None:
    """Copy the child's output. A full disk or a closed terminal must not block the child, so errors are passed over."""
    assert child.stdout is not None
    while data := os.read(child.stdout.fileno(), 65536):
        _say(data, log)
    if log is not None:
        os.close(log)


def _say(data: bytes, log: int | None) -> None:
    """Write to the terminal's stderr and to the log, as far as they can be written."""
    # Where a display shows the ends of logs, a job's words would run through it.
    for sink in (None if log is not None and QUIET in os.environ else 2, log):
        with suppress(OSError):
            rest = data
            while sink is not None and rest:
                rest = rest[os.write(sink, rest) :]


def _beat(path: Path, ended: threading.Event) -> None:
    """Touch a record as a sign of life for other hosts, which cannot ask for the process."""
    while not ended.wait(delivery.BEAT):
        with suppress(OSError):
            os.utime(path)


@contextmanager
def _handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Have signals handled by ``handler`` for a while; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, handler) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)

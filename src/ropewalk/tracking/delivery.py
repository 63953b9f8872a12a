"""Delivery of records to MLflow: of one's own while a job runs, and of those that wait."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ropewalk.errors import UserError
from ropewalk.files import read_json, write_json
from ropewalk.tracking.records import close, is_newest, orphans, pending
from ropewalk.tracking.store import Store, tracking_uri

BEAT = 15.0
"""Seconds between two deliveries of live metrics, and between two signs of life of a record."""
OTHERS = 60.0
"""Seconds that the end of a job may spend on starting deliveries of older jobs' records."""


@dataclass(frozen=True)
class Delivery:
    """How many records were ``sent``, and how many are still ``waiting``."""

    sent: int
    waiting: int


def deliver(root: str | os.PathLike[str]) -> Delivery:
    """Deliver all records that wait below ``root``; one line on stderr says why some could not be.

    Records of jobs that died without a word (kill -9, power cut) are closed as KILLED first.
    """
    if not pending(root):
        return Delivery(0, 0)
    try:
        sent = send_orphans(Path(root), None, patience=OTHERS, seconds=math.inf)
    except Exception as error:
        sent = 0
        warn(Path(root), error)
    return Delivery(sent, pending(root))


class Live:
    """The delivery of one's own record: a thread while the child runs, the calling thread at the end."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path, self.record = path, record
        self.store: Store | None = None
        self.offset = 0
        self.due = False
        self.over = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self, patience: float) -> None:
        self.thread = threading.Thread(target=self._run, args=(patience,), daemon=True)
        self.thread.start()

    def _run(self, patience: float) -> None:
        if self.over.wait(patience):
            return
        self.due = True
        while True:
            with suppress(Exception):  # the next beat tries again, and the end says what is wrong
                self.store = self.store or Store()
                if self.record["run_id"] is None:
                    self.store.begin(self.record)
                    write_json(self.path, self.record)
                if not self.over.is_set():
                    self.offset = self.store.send_points(self.record, self.offset)
            if self.over.wait(BEAT):
                return

    def finish(self) -> bool:
        """Deliver the closed record, unless its job was short; say whether it was.

        Files wait where the job has a GPU of a cluster, which nobody else can use meanwhile.
        """
        self.over.set()
        if self.thread:
            self.thread.join()
        if not self.due:
            return False
        self.store = self.store or Store()
        send(self.store, self.path, self.record, self.offset, files=not holds_gpu())
        return True


def holds_gpu() -> bool:
    """Whether this process runs in a job of Slurm that was given a GPU."""
    return bool(os.environ.get("SLURM_JOB_GPUS"))


def send(store: Store, path: Path, record: dict[str, Any], offset: int = 0, *, files: bool = True) -> None:
    """Deliver a closed record, mark it, and delete the delivered records of its folder that are not the newest.

    Args:
        store: where to.
        path: of the record.
        record: is changed.
        offset: bytes of its metrics that were sent before.
        files: whether its files go too; else the run is ended, and the record waits for who delivers them.
    """
    if record["run_id"] is None:
        store.begin(record)
    if not record.get("ended"):
        store.end(record, offset, newest=is_newest(path))
        record["ended"] = True
    if not files:
        write_json(path, record)
        return
    if is_newest(path):
        store.attach(record)
    record["delivered"] = True
    write_json(path, record)
    for other in sorted(path.parent.glob("record-*.json"))[:-1]:
        with suppress(UserError):
            if read_json(other, "a record of a job")["delivered"]:
                other.unlink(missing_ok=True)


def send_orphans(root: Path, store: Store | None, patience: float, seconds: float) -> int:
    """Deliver the records that wait below ``root`` and return how many were sent.

    Waits up to ``patience`` seconds for another process that does the same, and starts no delivery after ``seconds``.
    Raises when there is no connection; warns when some records cannot be delivered, and gives up after three in a row
    that the store did not answer.
    """
    stop, sent, errors = time.monotonic() + seconds, 0, list[Exception]()
    refused = list[tuple[Path, Exception]]()
    with suppress(Timeout), FileLock(root / ".deliver.lock", timeout=patience):
        store = store or Store()
        for path, record in orphans(root):
            if time.monotonic() > stop or len(errors) == 3:
                break
            try:
                if record["status"] == "RUNNING":
                    close(path, record, "KILLED", None, path.stat().st_mtime)
                send(store, path, record)
                sent, errors = sent + 1, []
            except Exception as error:
                if _is_of_the_record(error):
                    # Nothing is wrong with the store, and others behind this record can go.
                    refused.append((path, error))
                else:
                    errors.append(error)
    if errors:
        warn(root, errors[-1])
    if refused:
        _warn_of_refused(refused)
    return sent


def _is_of_the_record(error: Exception) -> bool:
    """Whether the store answered and refused a record, as where its experiment was deleted."""
    code = getattr(error, "error_code", None)
    return code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "BAD_REQUEST")


def _warn_of_refused(refused: Sequence[tuple[Path, Exception]]) -> None:
    path, error = refused[0]
    more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    print(
        f"tracking: {tracking_uri()} refuses the record {path}{more}: {_reason(error)}. It is kept and tried again; "
        "restore what it needs, or delete it.",
        file=sys.stderr,
    )


def warn(root: Path, error: BaseException) -> None:
    print(
        f"tracking: {tracking_uri()} is not reachable ({_reason(error)}); {pending(root)} records wait in {root}, "
        "delivered with the next job or by `ropewalk deliver`.",
        file=sys.stderr,
    )


def _reason(error: BaseException) -> str:
    told = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error).strip().partition("\n")[0]
    return told.rpartition("Caused by ")[2].strip("()")[:200] or type(error).__name__

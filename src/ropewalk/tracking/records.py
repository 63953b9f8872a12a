"""Records of jobs: small JSON files that say what ran, when, and how it ended."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ropewalk.errors import UserError
from ropewalk.files import read_json, write_json
from ropewalk.scores import Scores

STALE = 600.0
"""Seconds without a sign of life after which a job of another host counts as dead."""


@dataclass(frozen=True)
class Job:
    """What to record of a command.

    ``metrics_file`` has one JSON object a line: ``{"step": 10, "loss": 2.5, "time": 1767225600.0}``, where ``time``
    (Unix seconds) may be left out. ``score_files`` are those of :class:`ropewalk.scores.Scores`. ``folder`` holds the
    records of this job and of no other. ``runs`` is a folder that the job writes, with a folder for each part of it
    that is to be a run of its own, below the run of the job: ``params.json``, ``metrics.jsonl`` and ``scores.json``.
    """

    experiment: str
    name: str
    folder: Path
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics_file: Path | None = None
    score_files: tuple[Path, ...] = ()
    artifacts: tuple[Path, ...] = ()
    log: Path | None = None
    runs: Path | None = None


def pending(root: str | os.PathLike[str]) -> int:
    """Return how many records below ``root`` wait to be delivered, not counting those of jobs that still run."""
    return sum(1 for _ in orphans(Path(root)))


def open_record(job: Job, command: list[str], parent: str | None = None) -> tuple[Path, dict[str, Any]]:
    """Write the record of a job that starts; ``parent`` is the record that it is a part of. Names sort by time."""
    now = time.time()
    key = f"{int(now * 1000):011x}-{uuid.uuid4().hex[:16]}"
    metrics, log = (os.path.abspath(path) if path else None for path in (job.metrics_file, job.log))
    scores, artifacts = ([os.path.abspath(path) for path in paths] for paths in (job.score_files, job.artifacts))
    watched = [*scores, *artifacts, *([metrics] if metrics else [])]
    line = shlex.join(command)
    commit = _git_commit()
    tags = {
        "current": "true",
        "ropewalk.job": job.name,
        "ropewalk.record": key,
        "ropewalk.config": hashlib.sha256(json.dumps(dict(job.params), sort_keys=True).encode()).hexdigest(),
        "ropewalk.host": platform.node(),
        "ropewalk.command": line,
        "mlflow.source.name": line,
        "mlflow.source.type": "JOB",
        "mlflow.user": os.environ.get("USER", ""),
        "mlflow.source.git.commit": commit,
        "git.commit": commit,
        "slurm.job": os.environ.get("SLURM_JOB_ID", ""),
    }
    record: dict[str, Any] = {
        "id": key,
        "parent": parent,
        "experiment": job.experiment,
        "name": job.name,
        "status": "RUNNING",
        "start": now,
        "end": None,
        "exit": None,
        "host": platform.node(),
        "pid": os.getpid(),  # who delivers this record; None: whoever comes
        "params": {key: _text(value) for key, value in flat(job.params, ".")},
        "tags": {k: v for k, v in {**job.tags, **tags}.items() if v},
        "metrics_file": metrics,
        "score_files": scores,
        "artifacts": artifacts,
        "log": log,
        "before": {path: _stamp(path) for path in watched},
        "scores": {},
        "run_id": None,
        "delivered": False,
    }
    path = job.folder / f"record-{key}.json"
    write_json(path, record)
    return path, record


def record_parts(job: Job, command: list[str], record: Mapping[str, Any]) -> None:
    """Write the records of the parts of a job that ended well; who delivers next delivers them."""
    if job.runs is None or not job.runs.is_dir():
        return
    for folder in sorted(path for path in job.runs.iterdir() if path.is_dir()):
        part = Job(
            experiment=job.experiment,
            name=f"{job.name}/{folder.name}",
            folder=job.folder / folder.name,
            params=read_json(folder / "params.json", "parameters of a run"),
            tags={**job.tags, "ropewalk.part_of": job.name},
            metrics_file=folder / "metrics.jsonl",
            score_files=(folder / "scores.json",),
        )
        path, opened = open_record(part, command, parent=record["id"])
        opened.update(start=record["start"], pid=None)
        close(path, opened, record["status"], record["exit"], record["end"])


def close(path: Path, record: dict[str, Any], status: str, code: int | None, end: float) -> None:
    """Write how the job ended, with its scores."""
    record.update(status=status, exit=code, end=end)
    if is_newest(path):
        for source in filter(lambda source: is_own(record, source), record["score_files"]):
            try:
                record["scores"].update(Scores.read(source).metrics())
            except UserError as error:
                if status == "FINISHED":
                    print(f"tracking: {error}", file=sys.stderr)
    write_json(path, record)


def release(path: Path, record: dict[str, Any]) -> None:
    """Leave a record that was not delivered to whoever delivers next."""
    if not record["delivered"] and record["pid"] is not None:
        record["pid"] = None
        with suppress(OSError):
            write_json(path, record)


def orphans(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the records that wait and whose job is over, oldest first."""
    for path in sorted(root.rglob("record-*.json"), key=lambda path: path.name):
        with suppress(UserError, FileNotFoundError):  # another process tidied up meanwhile
            record = read_json(path, "a record of a job")
            silent = time.time() - path.stat().st_mtime > STALE
            here = record["host"] == platform.node()
            if record["delivered"] or not _whole_is_delivered(path, record):
                continue
            if not record["pid"] or silent or (here and not psutil.pid_exists(record["pid"])):
                yield path, record


def _whole_is_delivered(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether the job that this record is a part of has its run, below which the part belongs; True for no part."""
    whole = path.parents[1] / f"record-{record.get('parent')}.json"
    # Records of older attempts are deleted once delivered.
    return not record.get("parent") or not whole.is_file() or bool(read_json(whole, "a record of a job")["delivered"])


def is_newest(path: Path) -> bool:
    """Whether no later attempt of the job was started, which would own the job's files by now."""
    return path == max(path.parent.glob("record-*.json"), default=path)


def is_own(record: dict[str, Any], path: str) -> bool:
    """Whether a file comes from this attempt. A job that ended well vouches for its files; others must have changed."""
    return record["status"] == "FINISHED" or record["before"].get(path) != _stamp(path)


def _stamp(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size]


def _git_commit() -> str:
    with suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else ""
    return ""


def flat(value: Any, separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries, with their keys joined."""
    if not isinstance(value, Mapping):
        if prefix:
            yield prefix, value
        return
    for key, inner in value.items():
        yield from flat(inner, separator, f"{prefix}{separator}{key}" if prefix else str(key))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

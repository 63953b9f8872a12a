"""Every job is one MLflow run, and no job depends on MLflow.

A stage knows nothing of tracking. `run_tracked` runs its command as a child process and keeps a *record* of it: a small
JSON file that says what ran, when, and how it ended. Records are what is delivered to MLflow, as soon as it can be
reached: by the job itself, by the next job, or by `deliver`. A server that is away or slow never fails a job.

Delivery may be cut off anywhere and repeated. A run carries the id of its record as a tag and is looked for before it
is created; a metric carries the time of its own line, and MLflow's SQL store drops a (key, time, step, value) that it
already has. This is the only module that knows MLflow, and it imports it only when something is sent: the import takes
seconds, which pass while the child runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import math
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ropewalk.errors import UserError
from ropewalk.files import read_json, write_json

BEAT = 15.0
"""Seconds between two deliveries of live metrics, and between two signs of life of a record."""
STALE = 600.0
"""Seconds without a sign of life after which a job of another host counts as dead."""
SHORT = 60.0
"""Seconds within which a job leaves its record to the next delivery."""
OTHERS = 60.0
"""Seconds that the end of a job may spend on starting deliveries of older jobs' records."""

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_NAME_LENGTH, _PARAM_LENGTH, _TAG_LENGTH = 250, 6000, 8000  # MLflow's limits, in characters
_PARAM_BATCH, _METRIC_BATCH = 100, 1000  # ... and in entries of one request
_ENVIRONMENT = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own patience is two minutes for each of eight tries.
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


@dataclass(frozen=True)
class Job:
    """What to record of a command.

    ``metrics_file`` has one JSON object a line: ``{"step": 10, "loss": 2.5, "time": 1767225600.0}``, where ``time``
    (Unix seconds) may be left out. ``score_files`` are JSON files of nested dictionaries of numbers. ``folder`` holds
    the records of this job and of no other.
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


@dataclass(frozen=True)
class Delivery:
    """How many records were ``sent``, and how many are still ``waiting``."""

    sent: int
    waiting: int


def run_tracked(job: Job, command: list[str], root: Path | None = None, patience: float = SHORT) -> int:
    """Run ``command`` and record it; return its exit status (128 + n if signal n ended it).

    Its output goes to the terminal's stderr and to ``job.log``. SIGTERM, SIGINT and SIGHUP are passed on to it. Older
    records that wait below ``root`` are delivered too. A job that ends within ``patience`` seconds sends nothing and
    does not import MLflow, which could take longer than the job: its record waits for the next delivery.

    Raises:
        UserError: the command cannot be started, or the log cannot be written.
    """
    log = _create_log(job.log)
    path, record = _open(job, command)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C of the terminal reaches it once, through us, and all that it started
            preexec_fn=_die_with_parent,
        )
    except OSError as error:
        path.unlink()
        raise UserError(f"{command[0]} cannot be started: {error.strerror}.") from None

    killed = delivering = False

    def on_signal(number: int, _frame: object) -> None:
        nonlocal killed
        if delivering:
            raise KeyboardInterrupt  # the job is over: leave its record to the next delivery
        killed = True
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)

    with _handling(on_signal):
        tee = _thread(_tee, child, log)
        ended = threading.Event()
        _thread(_beat, path, ended)
        live = _Live(path, record)
        live.start(patience)
        code = child.wait()
        tee.join(timeout=5)  # not for ever: a daemon that the child left behind may hold the pipe open
        killed = code != 0 and (killed or -code in (*_FORWARDED, signal.SIGKILL))
        try:
            _close(path, record, "KILLED" if killed else "FAILED" if code else "FINISHED", code, time.time())
            delivering = True
            if live.finish() and not killed:  # who kills a job gives it little time to end
                _send_orphans(root or job.folder, live.store, patience=0, seconds=OTHERS)
        except (Exception, KeyboardInterrupt) as error:
            delivering = False
            _release(path, record)
            _warn(root or job.folder, error)
        finally:
            delivering = False
            ended.set()
            _release(path, record)
    return 128 - code if code < 0 else code


def pending(root: str | os.PathLike[str]) -> int:
    """Return how many records below ``root`` wait to be delivered, not counting those of jobs that still run."""
    return sum(1 for _ in _orphans(Path(root)))


def deliver(root: str | os.PathLike[str]) -> Delivery:
    """Deliver all records that wait below ``root``; one line on stderr says why some could not be.

    Records of jobs that died without a word (kill -9, power cut) are closed as KILLED first.
    """
    if not pending(root):
        return Delivery(0, 0)
    try:
        sent = _send_orphans(Path(root), None, patience=OTHERS, seconds=math.inf)
    except Exception as error:
        sent = 0
        _warn(Path(root), error)
    return Delivery(sent, pending(root))


def tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, or else an SQLite file in the working folder, absolute."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


# --- records ----------------------------------------------------------------------------------------------------------


def _open(job: Job, command: list[str]) -> tuple[Path, dict[str, Any]]:
    """Write the record of a job that starts. Names of records sort by time."""
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
        "experiment": job.experiment,
        "name": job.name,
        "status": "RUNNING",
        "start": now,
        "end": None,
        "exit": None,
        "host": platform.node(),
        "pid": os.getpid(),  # who delivers this record; None: whoever comes
        "params": {key: _text(value) for key, value in _flat(job.params, ".")},
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


def _close(path: Path, record: dict[str, Any], status: str, code: int | None, end: float) -> None:
    """Write how the job ended, with its scores."""
    record.update(status=status, exit=code, end=end)
    if _is_newest(path):
        for source in filter(lambda source: _is_own(record, source), record["score_files"]):
            try:
                scores = _flat(read_json(source, "a file of scores"), "/")
                record["scores"].update({k: v for k, v in scores if _is_number(v) and math.isfinite(v)})
            except UserError as error:
                if status == "FINISHED":
                    print(f"tracking: {error}", file=sys.stderr)
    write_json(path, record)


def _release(path: Path, record: dict[str, Any]) -> None:
    """Leave a record that was not delivered to whoever delivers next."""
    if not record["delivered"] and record["pid"] is not None:
        record["pid"] = None
        with suppress(OSError):
            write_json(path, record)


def _orphans(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the records that wait and whose job is over, oldest first."""
    for path in sorted(root.rglob("record-*.json"), key=lambda path: path.name):
        with suppress(UserError, FileNotFoundError):  # another process tidied up meanwhile
            record = read_json(path, "a record of a job")
            silent = time.time() - path.stat().st_mtime > STALE
            here = record["host"] == platform.node()
            if not record["delivered"] and (not record["pid"] or silent or (here and not _alive(record["pid"]))):
                yield path, record


def _is_newest(path: Path) -> bool:
    """Whether no later attempt of the job was started, which would own the job's files by now."""
    return path == max(path.parent.glob("record-*.json"), default=path)


def _is_own(record: dict[str, Any], path: str) -> bool:
    """Whether a file comes from this attempt. A job that ended well vouches for its files; others must have changed."""
    return record["status"] == "FINISHED" or record["before"].get(path) != _stamp(path)


def _stamp(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size]


# --- delivery ---------------------------------------------------------------------------------------------------------


class _Live:
    """The delivery of one's own record: a thread while the child runs, the calling thread at the end."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path, self.record = path, record
        self.store: _Store | None = None
        self.offset = 0
        self.due = False
        self.over = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self, patience: float) -> None:
        self.thread = _thread(self._run, patience)

    def _run(self, patience: float) -> None:
        if self.over.wait(patience):
            return
        self.due = True
        while True:
            with suppress(Exception):  # the next beat tries again, and the end says what is wrong
                self.store = self.store or _Store()
                if self.record["run_id"] is None:
                    self.store.begin(self.record)
                    write_json(self.path, self.record)
                if not self.over.is_set():
                    self.offset = self.store.send_points(self.record, self.offset)
            if self.over.wait(BEAT):
                return

    def finish(self) -> bool:
        """Deliver the closed record, unless its job was short; say whether it was."""
        self.over.set()
        if self.thread:
            self.thread.join()
        if not self.due:
            return False
        self.store = self.store or _Store()
        _send(self.store, self.path, self.record, self.offset)
        return True


def _send(store: _Store, path: Path, record: dict[str, Any], offset: int = 0) -> None:
    """Deliver a closed record, mark it, and delete the delivered records of its folder that are not the newest."""
    if record["run_id"] is None:
        store.begin(record)
    store.end(record, offset, with_files=_is_newest(path))
    record["delivered"] = True
    write_json(path, record)
    for other in sorted(path.parent.glob("record-*.json"))[:-1]:
        with suppress(UserError):
            if read_json(other, "a record of a job")["delivered"]:
                other.unlink(missing_ok=True)


def _send_orphans(root: Path, store: _Store | None, patience: float, seconds: float) -> int:
    """Deliver the records that wait below ``root`` and return how many were sent.

    Waits up to ``patience`` seconds for another process that does the same, and starts no delivery after ``seconds``.
    Raises when there is no connection; warns when some records cannot be delivered, and gives up after three in a row.
    """
    stop, sent, errors = time.monotonic() + seconds, 0, list[Exception]()
    with suppress(Timeout), FileLock(root / ".deliver.lock", timeout=patience):
        store = store or _Store()
        for path, record in _orphans(root):
            if time.monotonic() > stop or len(errors) == 3:
                break
            try:
                if record["status"] == "RUNNING":
                    _close(path, record, "KILLED", None, path.stat().st_mtime)
                _send(store, path, record)
                sent, errors = sent + 1, []
            except Exception as error:
                errors.append(error)
    if errors:
        _warn(root, errors[-1])
    return sent


class _Store:
    """A connection to MLflow. Every method raises whatever MLflow, the database and the network raise."""

    def __init__(self) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # it would tell of every try
        uri = tracking_uri()
        database = Path(uri.removeprefix("sqlite:///").split("?")[0]).absolute() if uri.startswith("sqlite:") else None
        self.artifact_root = database.parent / "mlartifacts" if database else None  # a server has its own
        from mlflow import MlflowClient

        # Processes that create the tables at the same time destroy each other's work.
        with FileLock(f"{database}.lock") if database else nullcontext():
            self.client = MlflowClient(uri)
        self.client.search_experiments(max_results=1)

    def begin(self, record: dict[str, Any]) -> None:
        """Find or create the run of a record, and retire older runs of the same job."""
        experiment = self._experiment(record["experiment"])
        found = self.client.search_runs([experiment], f"tags.`ropewalk.record` = '{record['id']}'", max_results=1)
        run = (
            found[0]
            if found
            else self.client.create_run(
                experiment,
                start_time=_ms(record["start"]),
                tags={_name(key): str(value)[:_TAG_LENGTH] for key, value in record["tags"].items()},
                run_name=record["name"],
            )
        )
        from mlflow.entities import Param

        params = [Param(_name(key), value[:_PARAM_LENGTH]) for key, value in record["params"].items()]
        for batch in _batches(params, _PARAM_BATCH):
            self.client.log_batch(run.info.run_id, params=batch)
        self._elect(experiment, record["name"], run.info.run_id)
        record["run_id"] = run.info.run_id

    def send_points(self, record: dict[str, Any], offset: int) -> int:
        """Send the whole lines of the metrics file from byte ``offset`` on; return where to go on."""
        source = record["metrics_file"]
        if not source or not os.path.exists(source) or not _is_own(record, source):
            return offset
        with open(source, "rb") as file:
            offset = offset if offset <= os.path.getsize(source) else 0  # the child started the file anew
            file.seek(offset)
            data = file.read()
        end = len(data) if record["status"] != "RUNNING" else data.rfind(b"\n") + 1
        points = (point for line in data[:end].splitlines() for point in _points(line, record["start"]))
        self._log(record["run_id"], points)
        return offset + end

    def end(self, record: dict[str, Any], offset: int, with_files: bool) -> None:
        """Send what a job left behind, and end its run."""
        run_id = record["run_id"]
        self._log(run_id, ((name, value, record["end"], 0) for name, value in record["scores"].items()))
        if with_files:
            self.send_points(record, offset)
            with _slow_answers():
                self._log_files(record)
        if record["exit"] is not None:
            self.client.set_tag(run_id, "ropewalk.exit", str(record["exit"]))
        self.client.set_terminated(run_id, record["status"], end_time=_ms(record["end"]))

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        location = (self.artifact_root / _name(name)).as_uri() if self.artifact_root else None
        if (found := self.client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another job was faster
            if (found := self.client.get_experiment_by_name(name)) is None:
                raise
            return str(found.experiment_id)

    def _elect(self, experiment: str, name: str, run_id: str) -> None:
        """Leave ``current`` = 'true' only on the run of a job that started last, so that a result has one run."""
        quoted = f'"{name}"' if "'" in name else f"'{name}'"
        runs = self.client.search_runs([experiment], f"tags.`ropewalk.job` = {quoted} and tags.current = 'true'")
        newest = max(runs, key=lambda run: (run.info.start_time, run.info.run_id == run_id), default=None)
        for run in runs:
            if newest and run is not newest:
                self.client.set_tag(run.info.run_id, "current", "false")
                self.client.set_tag(run.info.run_id, "superseded_by", newest.info.run_id)
                if run.info.status == "RUNNING":
                    self.client.set_terminated(run.info.run_id, "KILLED")

    def _log(self, run_id: str, points: Iterable[tuple[str, float, float, int]]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(_name(name), float(value), _ms(at), step) for name, value, at, step in points]
        for batch in _batches(metrics, _METRIC_BATCH):
            self.client.log_batch(run_id, metrics=batch)

    def _log_files(self, record: dict[str, Any]) -> None:
        names = [os.path.basename(path) for path in record["artifacts"]]
        for path, name in zip(record["artifacts"], names, strict=True):
            if not os.path.exists(path):
                if record["status"] == "FINISHED":
                    print(f"tracking: {path} is missing and was not uploaded.", file=sys.stderr)
            elif _is_own(record, path):
                parent = os.path.basename(os.path.dirname(path)) if names.count(name) > 1 else ""
                if os.path.isdir(path):
                    self.client.log_artifacts(record["run_id"], path, os.path.join(parent, name))
                else:
                    self.client.log_artifact(record["run_id"], path, parent or None)
        if record["log"] and os.path.exists(record["log"]):
            self.client.log_artifact(record["run_id"], record["log"], "log")


# --- numbers and names ------------------------------------------------------------------------------------------------


def _points(line: bytes, start: float) -> Iterator[tuple[str, float, float, int]]:
    """Yield (name, value, Unix seconds, step) of a line of metrics; nothing if a kill tore the line."""
    try:
        row = json.loads(line)
        step, at = int(row.pop("step", 0)), float(row.pop("time", start))
    except (ValueError, TypeError, AttributeError):
        return
    yield from ((name, value, at, step) for name, value in _flat(row, "/") if _is_number(value))


def _flat(value: Any, separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries, with their keys joined."""
    if not isinstance(value, Mapping):
        if prefix:
            yield prefix, value
        return
    for key, inner in value.items():
        yield from _flat(inner, separator, f"{prefix}{separator}{key}" if prefix else str(key))


def _name(name: str) -> str:
    """A name that MLflow takes: word characters and '-. :', in parts that could be a path."""
    parts = re.sub(r"[^/\w.\- :]", "_", name).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))[:_NAME_LENGTH].rstrip("/") or "_"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _batches(entries: list[Any], size: int) -> Iterator[list[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


# --- processes --------------------------------------------------------------------------------------------------------


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
        for sink in (2, log):
            with suppress(OSError):
                rest = data
                while sink is not None and rest:
                    rest = rest[os.write(sink, rest) :]
    if log is not None:
        os.close(log)


def _beat(path: Path, ended: threading.Event) -> None:
    """Touch a record as a sign of life for other hosts, which cannot ask for the process."""
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def _die_with_parent() -> None:
    """In the child: ask Linux for a SIGTERM when the parent dies, so that kill -9 leaves no orphan at work."""
    if _LIBC is not None:
        _LIBC.prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG


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


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _git_commit() -> str:
    with suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else ""
    return ""


@contextmanager
def _slow_answers() -> Iterator[None]:
    """Wait longer for an answer, unless a person said how long: a server may pass a file on before it answers."""
    name, ours = "MLFLOW_HTTP_REQUEST_TIMEOUT", _ENVIRONMENT["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    before = os.environ[name]
    os.environ[name] = "300" if before == ours else before  # read anew for each request
    try:
        yield
    finally:
        os.environ[name] = before


def _warn(root: Path, error: BaseException) -> None:
    told = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error).strip().partition("\n")[0]
    reason = told.rpartition("Caused by ")[2].strip("()")[:200] or type(error).__name__
    print(
        f"tracking: {tracking_uri()} is not reachable ({reason}); {pending(root)} records wait in {root}, delivered "
        "with the next job or by `ropewalk deliver`.",
        file=sys.stderr,
    )

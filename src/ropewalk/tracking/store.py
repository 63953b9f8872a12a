"""The connection to MLflow, and all that is known of it."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from ropewalk.files import file_hash, files_below
from ropewalk.tracking.records import flat, is_number, is_own

_NAME_LENGTH, _PARAM_LENGTH, _TAG_LENGTH = 250, 6000, 8000  # MLflow's limits, in characters
_PARAM_BATCH, _METRIC_BATCH = 100, 1000  # ... and in entries of one request
COPY_UP_TO = "ROPEWALK_COPY_UP_TO"
"""The environment variable that says, in bytes, which files are copied."""
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


def tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, or else an SQLite file in the working folder, absolute."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def copy_up_to() -> int:
    """Bytes up to which a file is copied into MLflow; of a larger one its path, size and hash are recorded."""
    return int(os.environ.get(COPY_UP_TO) or 2**30)


def reference(file: Path) -> dict[str, Any]:
    """What tells a file that is not copied: ``path``, ``bytes`` and ``sha256``."""
    return {"path": str(file.resolve()), "bytes": file.stat().st_size, "sha256": file_hash(file).hex()}


class Store:
    """A connection to MLflow. Every method raises whatever MLflow, the database and the network raise."""

    def __init__(self) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # it would tell of every try
        uri = tracking_uri()
        database = Path(uri.removeprefix("sqlite:///").split("?")[0]).absolute() if uri.startswith("sqlite:") else None
        self.artifact_root = database.parent / "mlartifacts" if database else None  # a server has its own
        from mlflow import MlflowClient

        # Whoever imported MLflow before this has not told it the level.
        logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])
        # Processes that create the tables at the same time destroy each other's work.
        with FileLock(f"{database}.lock") if database else nullcontext():
            self.client = MlflowClient(uri)
        self.client.search_experiments(max_results=1)

    def begin(self, record: dict[str, Any]) -> None:
        """Find or create the run of a record, and retire older runs of the same job."""
        experiment = self._experiment(record["experiment"])
        run, above = self._run_of(experiment, record["id"]), None
        if record.get("parent"):
            above = self._run_of(experiment, record["parent"])
        if run is None:
            tags = record["tags"]
            if above is not None:
                tags = {**tags, "mlflow.parentRunId": above.info.run_id, "current": above.data.tags["current"]}
            run = self.client.create_run(
                experiment,
                start_time=_ms(record["start"]),
                tags={_name(key): str(value)[:_TAG_LENGTH] for key, value in tags.items()},
                run_name=record["name"],
            )
        if not record.get("parent"):
            self._retire_parts(experiment, record)
        from mlflow.entities import Param

        params = [Param(_name(key), value[:_PARAM_LENGTH]) for key, value in record["params"].items()]
        for batch in _batches(params, _PARAM_BATCH):
            self.client.log_batch(run.info.run_id, params=batch)
        self._elect(experiment, record["name"], run.info.run_id)
        record["run_id"] = run.info.run_id

    def send_points(self, record: dict[str, Any], offset: int) -> int:
        """Send the whole lines of the metrics file from byte ``offset`` on; return where to go on."""
        source = record["metrics_file"]
        if not source or not os.path.exists(source) or not is_own(record, source):
            return offset
        with open(source, "rb") as file:
            offset = offset if offset <= os.path.getsize(source) else 0  # the child started the file anew
            file.seek(offset)
            data = file.read()
        end = len(data) if record["status"] != "RUNNING" else data.rfind(b"\n") + 1
        points = (point for line in data[:end].splitlines() for point in _points(line, record["start"]))
        self._log(record["run_id"], points)
        return offset + end

    def end(self, record: dict[str, Any], offset: int, newest: bool) -> None:
        """Send the numbers that a job left behind, and end its run; files of an older attempt are the newest one's."""
        run_id = record["run_id"]
        self._log(run_id, ((name, value, record["end"], 0) for name, value in record["scores"].items()))
        if newest:
            self.send_points(record, offset)
        if record["exit"] is not None:
            self.client.set_tag(run_id, "ropewalk.exit", str(record["exit"]))
        self.client.set_terminated(run_id, record["status"], end_time=_ms(record["end"]))

    def attach(self, record: dict[str, Any]) -> None:
        """Send the files that a job left behind; of those above ``copy_up_to()``, what tells them."""
        with _slow_answers():
            self._log_files(record)

    def _run_of(self, experiment: str, record_id: str) -> Any:
        found = self.client.search_runs([experiment], f"tags.`ropewalk.record` = '{record_id}'", max_results=1)
        return found[0] if found else None

    def _retire_parts(self, experiment: str, record: dict[str, Any]) -> None:
        """Let no part of an earlier attempt stay current, since this one may have other parts."""
        condition = f"tags.`ropewalk.part_of` = {_quoted(record['name'])} and tags.current = 'true'"
        for run in self.client.search_runs([experiment], condition, max_results=1000):
            if run.info.start_time < _ms(record["start"]):
                self.client.set_tag(run.info.run_id, "current", "false")

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
        runs = self.client.search_runs([experiment], f"tags.`ropewalk.job` = {_quoted(name)} and tags.current = 'true'")
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
            elif is_own(record, path):
                parent = os.path.basename(os.path.dirname(path)) if names.count(name) > 1 else ""
                self._log_artifact(record["run_id"], Path(path), parent)
        if record["log"] and os.path.exists(record["log"]):
            self.client.log_artifact(record["run_id"], record["log"], "log")

    def _log_artifact(self, run_id: str, path: Path, parent: str) -> None:
        files, limit = list(files_below(path)) if path.is_dir() else [path], copy_up_to()
        large = [file for file in files if file.stat().st_size > limit]
        if not large:
            if path.is_dir():
                self.client.log_artifacts(run_id, str(path), os.path.join(parent, path.name))
            else:
                self.client.log_artifact(run_id, str(path), parent or None)
            return
        for file in files:
            place = os.path.join(parent, file.relative_to(path.parent).parent)
            if file in large:
                known = reference(file)
                self.client.log_dict(run_id, known, os.path.join(place, f"{file.name}.reference.json"))
                told = f"{known['path']} ({known['bytes']:,} bytes, sha256 {known['sha256']})"
                self.client.set_tag(run_id, _name(f"reference.{file.name}"), told[:_TAG_LENGTH])
            else:
                self.client.log_artifact(run_id, str(file), place or None)


def _points(line: bytes, start: float) -> Iterator[tuple[str, float, float, int]]:
    """Yield (name, value, Unix seconds, step) of a line of metrics; nothing if a kill tore the line."""
    try:
        row = json.loads(line)
        step, at = int(row.pop("step", 0)), float(row.pop("time", start))
    except (ValueError, TypeError, AttributeError):
        return
    yield from ((name, value, at, step) for name, value in flat(row, "/") if is_number(value))


def _name(name: str) -> str:
    """A name that MLflow takes: word characters and '-. :', in parts that could be a path."""
    parts = re.sub(r"[^/\w.\- :]", "_", name).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))[:_NAME_LENGTH].rstrip("/") or "_"


def _quoted(name: str) -> str:
    return f'"{name}"' if "'" in name else f"'{name}'"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _batches(entries: list[Any], size: int) -> Iterator[list[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


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

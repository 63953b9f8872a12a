"""Sixteen jobs at once: every point arrives once, whatever the store and whatever happens to it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ropewalk.tracking import Delivery, deliver

JOBS, LINES = 16, 60
MANY = """
import os, sys
from pathlib import Path
# Imported once for all of them: alone, each would take seconds of a core for it.
import mlflow.store.tracking.rest_store, mlflow.store.tracking.sqlalchemy_store
from ropewalk.tracking import Job, delivery, run_tracked

delivery.BEAT = 1
folder, jobs, lines = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
# Half of the lines, then wait for a file, then the other half.
write = f'''
half() {{
    i=$1; while [ $i -lt $2 ]; do
        echo "{{\\\\"step\\\\": $i, \\\\"loss\\\\": $i.${{0}}5, \\\\"rate\\\\": 0.$i}}"; i=$((i + 1))
    done >> metrics/$0
}}
half 0 {lines // 2}; until [ -e go/$(($0 % 2)) ]; do sleep 0.1; done; half {lines // 2} {lines}
'''
children = []
for number in range(jobs):
    if not (child := os.fork()):
        metrics = Path(f"metrics/{number}")
        job = Job("load/jobs", f"jobs/{number}", folder / f"{number}", {"number": number}, metrics_file=metrics)
        os._exit(run_tracked(job, ["sh", "-c", write, str(number)], root=folder, patience=0))
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


@contextmanager
def many_jobs(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Jobs that write half of their metrics, and the rest when `let_go` says so."""
    for name in ("metrics", "go", "records"):
        (folder / name).mkdir()
    command = [sys.executable, "-c", MANY, "records", str(JOBS), str(LINES)]
    with subprocess.Popen(command, cwd=folder, start_new_session=True) as jobs:
        try:
            yield jobs
        finally:
            if jobs.poll() is None:
                os.killpg(jobs.pid, signal.SIGKILL)


def let_go(folder: Path, *parities: int) -> None:
    """Let the even or odd jobs write the rest and end."""
    for parity in parities:
        (folder / f"go/{parity}").touch()


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in folder.rglob("record-*.json")]


def check_all_arrived(uri: str) -> None:
    """Each job has one current run, which is finished and has every point once."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("load/jobs")
    assert experiment is not None
    current = client.search_runs([experiment.experiment_id], "tags.current = 'true'")
    assert sorted(run.info.run_name for run in current) == sorted(f"jobs/{number}" for number in range(JOBS))
    assert {run.info.status for run in current} == {"FINISHED"}
    for run in current:
        number = run.data.params["number"]
        for name, text in (("loss", f"{{}}.{number}5"), ("rate", "0.{}")):
            points = client.get_metric_history(run.info.run_id, name)
            sent = [(step, float(text.format(step))) for step in range(LINES)]
            assert sorted((point.step, point.value) for point in points) == sent


@pytest.mark.slow
def test_sqlite_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    with many_jobs(tmp_path) as jobs:
        let_go(tmp_path, 0, 1)
        assert jobs.wait(600) == 0
    assert deliver("records").waiting == 0
    check_all_arrived(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back(address: str, server, wait_for, tmp_path: Path) -> None:
    backend = f"sqlite:///{tmp_path}/server.db"
    with many_jobs(tmp_path) as jobs:
        with server(address, backend, tmp_path):
            wait_for(lambda: sum(record["run_id"] is not None for record in records(tmp_path)) >= JOBS // 2, 300)
        let_go(tmp_path, 0)
        wait_for(lambda: sum(record["status"] == "FINISHED" for record in records(tmp_path)) == JOBS // 2, 300)
        with server(address, backend, tmp_path):
            let_go(tmp_path, 1)
            assert jobs.wait(600) == 0
            assert deliver(tmp_path / "records").waiting == 0
            check_all_arrived(address)
            assert deliver(tmp_path / "records") == Delivery(0, 0)


def postgresql() -> Path | None:
    """The folder of PostgreSQL's programs, which Debian does not put on the path."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@pytest.fixture
def database() -> Iterator[str]:
    """A PostgreSQL of its own, in a folder of its own; it refuses to run as root."""
    programs = postgresql()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    as_user = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="ropewalk-postgresql-"))  # pytest's own folders are closed to other users
    if as_user:
        shutil.chown(folder, user)
    data = folder / "data"

    def run(program: str, *words: str) -> None:
        with (folder / "log").open("a") as log:
            subprocess.run([*as_user, programs / program, "-D", data, *words], cwd=folder, stdout=log, check=True)

    try:
        run("initdb", "--username=postgres", "--auth=trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-w", "-l", str(folder / "server.log"), "-o", options, "start")
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_server_on_postgresql(address: str, database: str, server, tmp_path: Path) -> None:
    with server(address, database, tmp_path), many_jobs(tmp_path) as jobs:
        let_go(tmp_path, 0, 1)
        assert jobs.wait(600) == 0
        assert deliver(tmp_path / "records").waiting == 0
        check_all_arrived(address)

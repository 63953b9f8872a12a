from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def wait_for():
    """Wait until something is so, and fail where it does not become so."""

    def wait(condition: Callable[[], bool], seconds: float = 30) -> None:
        stop = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < stop, "nothing happened"
            time.sleep(0.05)

    return wait


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that is not there (yet)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


@pytest.fixture
def server(wait_for):
    """An MLflow server, ready to answer; killed at the end."""

    @contextmanager
    def serve(address: str, backend: str, folder: Path) -> Iterator[None]:
        command = [
            *[sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", address.rpartition(":")[2]],
            *["--backend-store-uri", backend, "--workers", "1", "--artifacts-destination", str(folder / "artifacts")],
        ]
        # The jobs are seven processes of MLflow's own, for the evaluation of chats.
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (folder / "server.log").open("a") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

        def healthy() -> bool:
            assert process.poll() is None, (folder / "server.log").read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        try:
            wait_for(healthy, 120)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    return serve

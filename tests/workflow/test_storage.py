"""Results in a bucket of S3 in the place of a folder, with a server on this machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

boto3 = pytest.importorskip("boto3", reason="not installed; uv sync --group dev brings it")
pytest.importorskip("moto.server", reason="not installed; uv sync --group dev brings it")
pytest.importorskip("snakemake_storage_plugin_s3", reason="not installed; uv sync --group dev brings it")

ROOT = Path(__file__).parents[2]
STUDY = "results/tiny"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that keeps buckets in memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("server") / "log").open("w")
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
    try:
        for _ in range(300):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        log.close()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder to run in, with a study of two ropes and one task of PosGen."""
    for name in ("Snakefile", "config", "workflow", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    study = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
    study["posgen"]["posgen"].update(
        tasks=["recursive"],
        ropes={"rope": {"recipe": "default"}, "pi": {"recipe": "pi", "weights": "rope", "brief": True}},
    )
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return tmp_path


def snakemake(clone: Path, server: str, *words: str) -> str:
    """What a call says that keeps results in the bucket."""
    storage = ["--default-storage-provider", "s3", "--default-storage-prefix", "s3://ropewalk/lab"]
    command = [sys.executable, "-m", "snakemake", *words, "--cores", "2", "--configfile", "study.yaml", *storage]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {
        "PATH": path,
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": "",
        "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": server,
        "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "x",
        "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "x",
    }
    done = subprocess.run(
        command, cwd=clone, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def bucket(server: str) -> Any:
    session = boto3.session.Session("x", "x", region_name="us-east-1")
    return session.resource("s3", endpoint_url=server).Bucket("ropewalk")


@pytest.mark.slow
def test_results_lie_in_the_bucket_and_are_found_there(clone: Path, server: str) -> None:
    bucket(server).create()
    snakemake(clone, server, "posgen")
    keys = {stored.key.removeprefix(f"lab/{STUDY}/") for stored in bucket(server).objects.all()}
    assert {
        "ropes/posgen/posgen/pi.json",
        "posgen/posgen/recursive/models/models.safetensors",
        "reports/posgen/posgen/accuracy.csv",
    } <= keys
    assert not (clone / STUDY / "posgen").exists()
    # What must outlive a killed job stays here, as do the records of jobs.
    assert (clone / STUDY / "state/posgen/posgen/recursive.jsonl").is_file()
    assert list((clone / STUDY / "tracking").rglob("record-*.json"))

    assert "Nothing to be done" in snakemake(clone, server, "posgen")

    bucket(server).objects.filter(Prefix=f"lab/{STUDY}/reports/posgen").delete()
    planned = snakemake(clone, server, "posgen", "-n")
    assert re.search(r"^report +1$", planned, re.MULTILINE)
    assert "posgen_score" not in planned

"""`docs/gpu/one-hour.sh`, at the size of a test."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
RESULTS = "results/h100-hour-reduced"


def one_hour(folder: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"RUN": "", "CORES": "1", "OUT": str(folder / "out"), "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", "docs/gpu/one-hour.sh", *parts]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def clone(tmp_path) -> Path:
    for name in ("Snakefile", "benchmarks", "config", "docs", "envs", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.slow
def test_it_runs_without_a_gpu_and_what_stands_is_not_made_again(clone):
    # The other parts take as long again, and what they call has tests of its own.
    done = one_hour(clone, "check", "posgen")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    out = clone / "out/cpu"
    found = json.loads((out / "provenance.json").read_text())
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    checks = json.loads((out / "check.json").read_text())
    assert all("failed" not in checks[name] for name in ("tuning", "loss", "posgen", "reading"))
    assert checks["tuning"]["killed after three steps and called again, largest difference of a weight"] == 0.0
    for report in ("posgen/paper", "posgen/released"):
        assert list((out / "reports" / report).glob("*.html")), report
    trained = {
        name: json.loads((clone / RESULTS / f"posgen/{name}/semi-recursive/models/training.json").read_text())
        for name in ("paper", "released")
    }
    assert trained["paper"]["data"]["test_in_train"] == 0
    assert trained["released"]["options"]["starts"] == "cycled"
    assert [trained[name]["options"]["layers"] for name in trained] == [2, 6]
    assert list(trained["released"]["ropes"]) == ["rope", "resonance"], "YaRN is swapped in"
    again = one_hour(clone, "posgen")
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout


def test_a_part_that_does_not_exist_is_one_sentence(clone):
    done = one_hour(clone, "posgen", "serach")
    assert done.returncode == 2
    assert done.stderr == (
        "one-hour.sh: there is no part 'serach'; expected some of check posgen search finetune benchmarks.\n"
    )
    assert not (clone / "out").exists()

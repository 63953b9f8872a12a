from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch

from ropewalk.devices import has_gpu
from ropewalk.errors import UserError


@pytest.fixture(autouse=True)
def _blind(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES", "ROPEWALK_DEVICE"):
        monkeypatch.delenv(name, raising=False)


def test_a_machine_without_gpus_computes_on_its_cpu():
    assert not has_gpu()


@pytest.mark.parametrize(("name", "value"), [("SLURM_JOB_GPUS", "0"), ("CUDA_VISIBLE_DEVICES", "0,1")])
def test_a_gpu_that_torch_does_not_see_is_missed(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(
        UserError, match=rf"given a GPU \({name}={value}\) and torch .* needs a driver for CUDA 13\.0, 580 or newer"
    ):
        has_gpu()
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="was built without CUDA"):
        has_gpu()
    monkeypatch.setenv("ROPEWALK_DEVICE", "cpu")
    assert not has_gpu()


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_a_gpu_that_was_taken_away_is_not_missed(value, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert not has_gpu()


TAKES = """
import sys, time
import torch
torch.cuda.is_available = lambda: True
from ropewalk.devices import has_gpu
import os
has_gpu(all_free=sys.argv[1] == "all")
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process(tmp_path):
    """Start a process on a machine with two GPUs, as far as nvidia-smi can tell."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho GPU-one; echo GPU-two\n")
    smi.chmod(0o755)
    started = []

    def start(how: str = "one", **changes: str):
        hidden = ("SLURM_JOB_ID", "LOCAL_RANK", "ROPEWALK_SHARE_GPU", "CUDA_VISIBLE_DEVICES")
        own = {key: value for key, value in os.environ.items() if key not in hidden}
        environment = own | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)} | changes
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-c", TAKES, how], env=environment, **pipes))
        return started[-1]

    yield start
    for one in started:
        one.stdin.close()
        one.wait(20)
        one.stdout.close()


def test_each_process_has_a_gpu_of_its_own_and_a_third_waits(process):
    first, second = process(), process()
    seen = {first.stdout.readline().strip(), second.stdout.readline().strip()}
    assert seen == {"GPU-one", "GPU-two"}
    third = process()
    assert "waiting for 1 of 2 GPUs" in third.stdout.readline()
    first.stdin.close()
    assert third.stdout.readline().strip() in seen


def test_a_search_takes_what_is_free_and_a_choice_is_kept(process):
    assert process("all").stdout.readline().strip() == "GPU-one,GPU-two"
    assert process(ROPEWALK_SHARE_GPU="1").stdout.readline().strip() == "None"
    assert process(SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="1").stdout.readline().strip() == "1"


def test_of_visible_gpus_alone_one_is_taken(process):
    assert process(CUDA_VISIBLE_DEVICES="1").stdout.readline().strip() == "GPU-two"
    assert process().stdout.readline().strip() == "GPU-one"

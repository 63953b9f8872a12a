"""Which GPUs a process computes on: its own, where nobody else shares them out."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from ropewalk.errors import PassingError, UserError

_GIVEN = ("SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES")
_NONE = ("", "-1", "NoDevFiles")
DRIVERS = {"12": 525, "13": 580}
"""The oldest NVIDIA driver that runs programs of a version of CUDA."""
_PATIENCE = 2.0
"""Seconds between two looks for a free GPU."""
_HELD: list[FileLock] = []


def has_gpu(*, all_free: bool = False) -> bool:
    """Whether torch sees a GPU. The first call takes one that no other process of this project has, and waits for it.

    Slurm and accelerate share GPUs out themselves. ``ROPEWALK_SHARE_GPU=1`` leaves them to all.

    Args:
        all_free: take all GPUs that are free, and one at least.

    Raises:
        PassingError: the job was given a GPU and torch sees none: what takes minutes there would take days here.
    """
    if on_cpu():
        return False
    _hold(1, all_free=all_free)
    if torch.cuda.is_available():
        return True
    given = [f"{name}={os.environ[name]}" for name in _GIVEN if os.environ.get(name, "") not in _NONE]
    if not given:
        return False
    built = torch.version.cuda
    driver = DRIVERS.get((built or "").partition(".")[0])
    newer = f", {driver} or newer" if driver else ""
    why = f"needs a driver for CUDA {built}{newer}" if built else "was built without CUDA"
    raise PassingError(
        f"this job was given a GPU ({given[0]}) and torch {torch.__version__} sees none: it {why}. "
        "ROPEWALK_DEVICE=cpu computes on the CPU nevertheless."
    )


def copied(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on a device, copied while the device goes on computing: from ordinary memory it would be waited for."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def on_cpu() -> bool:
    """Whether a person said that there is to be no GPU: ``ROPEWALK_DEVICE=cpu``."""
    return os.environ.get("ROPEWALK_DEVICE") == "cpu"


def take(count: int) -> int:
    """Hold ``count`` GPUs of this machine for processes that this one starts, and return how many it has; 0 on a CPU.

    In a job of Slurm they are those that the job was given.

    Raises:
        UserError: the machine, or the job, has fewer, but some.
    """
    if on_cpu():
        return 0
    given = os.environ.get("SLURM_GPUS_ON_NODE")
    there = int(given) if given else len(_visible())
    if 0 < there < count:
        raise UserError(f"{count} GPUs were asked for (resources.tune.gpu) and this machine or job has {there}.")
    _hold(count)
    return min(there, count)


def _hold(count: int, *, all_free: bool = False) -> None:
    """Hold GPUs by locks for the life of this process, and hide all others from CUDA, which has not looked yet."""
    if _HELD or any(name in os.environ for name in ("SLURM_JOB_ID", "LOCAL_RANK", "ROPEWALK_SHARE_GPU")):
        return
    visible, told = _visible(), False
    if not visible:
        return
    folder = Path(tempfile.gettempdir()) / f"ropewalk-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        taken: dict[str, FileLock] = {}
        for name in visible:
            if len(taken) == count and not all_free:
                break
            lock = FileLock(folder / f"{name}.lock")
            with suppress(Timeout):
                lock.acquire(blocking=False)
                taken[name] = lock
        if len(taken) >= count:
            _HELD.extend(taken.values())
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
            return
        # All or none: two that each hold a part of what both want would wait for ever.
        for lock in taken.values():
            lock.release()
        if not told:
            print(f"ropewalk: waiting for {count} of {len(visible)} GPUs, which other jobs have.", flush=True)
            told = True
        # Not in step with others that wait.
        time.sleep(_PATIENCE * (0.5 + random.random()))


def _visible() -> list[str]:
    """The GPUs that this process may use, by the names that they keep in every process."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    names = [line.strip() for line in said.stdout.splitlines() if line.startswith("GPU-")]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return names
    if chosen in _NONE:
        return []
    return [names[int(one)] if one.isdigit() and int(one) < len(names) else one for one in chosen.split(",")]

"""Which GPUs a process computes on: its own, where nobody else shares them out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ropewalk.errors import UserError

_GIVEN = ("SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES")
_NONE = ("", "-1", "NoDevFiles")
_PATIENCE = 2.0
"""Seconds between two looks for a free GPU."""
_HELD: list[FileLock] = []


def has_gpu(*, all_free: bool = False) -> bool:
    """Whether torch sees a GPU. The first call takes one that no other process of this project has, and waits for it.

    Slurm and accelerate share GPUs out themselves. ``ROPEWALK_SHARE_GPU=1`` leaves them to all.

    Args:
        all_free: take all GPUs that are free, and one at least.

    Raises:
        UserError: the job was given a GPU and torch sees none: what takes minutes there would take days here.
    """
    _take(all_free)
    if torch.cuda.is_available():
        return True
    given = [f"{name}={os.environ[name]}" for name in _GIVEN if os.environ.get(name, "") not in _NONE]
    if not given or os.environ.get("ROPEWALK_DEVICE") == "cpu":
        return False
    built = torch.version.cuda
    why = f"needs a driver for CUDA {built}" if built else "was built without CUDA"
    raise UserError(
        f"this job was given a GPU ({given[0]}) and torch {torch.__version__} sees none: it {why}. "
        "ROPEWALK_DEVICE=cpu computes on the CPU nevertheless."
    )


def _take(all_free: bool) -> None:
    """Hold GPUs by locks for the life of this process, and hide all others from CUDA, which has not looked yet."""
    if _HELD or any(name in os.environ for name in ("SLURM_JOB_ID", "LOCAL_RANK", "ROPEWALK_SHARE_GPU")):
        return
    visible, told = _visible(), False
    if not visible:
        return
    folder = Path(tempfile.gettempdir()) / f"ropewalk-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        taken = []
        for name in visible:
            lock = FileLock(folder / f"{name}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _HELD.append(lock)
            taken.append(name)
            if not all_free:
                break
        if taken:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
            return
        if not told:
            print(f"ropewalk: waiting for one of {len(visible)} GPUs, which other jobs have.", flush=True)
            told = True
        time.sleep(_PATIENCE)


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

"""Start a `ropewalk` command as one process for each of several GPUs of this machine.

    python -m ropewalk.launch 8 tune --model ...

Workflow rules call it. Outside of Slurm it takes so many GPUs for itself, and waits until they are free.
"""

from __future__ import annotations

import subprocess
import sys

from ropewalk.devices import take
from ropewalk.errors import UserError


def command(gpus: int, words: list[str]) -> list[str]:
    """What runs ``words`` of `ropewalk` on ``gpus`` GPUs: accelerate, which starts a process for each."""
    if gpus < 2:
        return [sys.executable, "-m", "ropewalk.cli", *words]
    # A port of its own: several trainings may run on one machine.
    meeting = ["--multi_gpu", "--num_machines", "1", "--num_processes", str(gpus), "--main_process_port", "0"]
    plain = ["--mixed_precision", "no", "--dynamo_backend", "no"]
    return ["accelerate", "launch", *meeting, *plain, "-m", "ropewalk.cli", *words]


def main() -> int:
    """Take the GPUs, run the command on them, and return its status; without any GPU it runs on the CPU."""
    wanted, words = int(sys.argv[1]), sys.argv[2:]
    try:
        got = take(wanted)
    except UserError as error:
        print(f"ropewalk: {error}", file=sys.stderr)
        return error.status
    if not got:
        print(f"ropewalk: there is no GPU ({wanted} were asked for); one process computes on the CPU.", flush=True)
    return subprocess.call(command(got, words))


if __name__ == "__main__":
    sys.exit(main())

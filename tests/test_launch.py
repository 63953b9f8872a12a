from __future__ import annotations

import os
import subprocess
import sys

from ropewalk.launch import command

MEETS = r"""
import os, sys
from accelerate import PartialState
state = PartialState(cpu=True)
# In one write: what two processes print may otherwise be mixed.
os.write(1, f"process {state.process_index} of {state.num_processes} {' '.join(sys.argv[1:])}\n".encode())
"""


def test_one_gpu_needs_no_launcher():
    assert command(1, ["tune", "--model", "m"]) == [sys.executable, "-m", "ropewalk.cli", "tune", "--model", "m"]


def test_a_process_for_each_gpu_and_all_of_them_meet(tmp_path):
    # The command line in the place of `ropewalk`, which would take a training to see it.
    package = tmp_path / "ropewalk"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(MEETS)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command(2, ["tune"]), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(done.stdout.split("\n")[:-1]) == ["process 0 of 2 tune", "process 1 of 2 tune"]

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from ropewalk.warm import VARIABLE, hand_over

ROPE = ["rope", "yarn", "--head-dim", "64", "--base", "10000", "--length", "128", "--factor", "8", "-o", "rope.json"]


@pytest.fixture
def deserted(tmp_path) -> str:
    """A socket on which nobody listens any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "socket"))
    return str(tmp_path / "socket")


def test_nobody_takes_a_command_where_nobody_listens(deserted, tmp_path):
    assert hand_over(deserted, ROPE) is None
    assert hand_over(str(tmp_path / "nowhere"), ROPE) is None


@pytest.mark.parametrize("named", [True, False])
def test_a_command_starts_as_usual_where_nobody_takes_it(deserted, tmp_path, named):
    environment = {**os.environ, VARIABLE: deserted if named else ""}
    command = [sys.executable, "-m", "ropewalk.warm", *ROPE]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "wrote rope.json: 32 pairs, attention factor 1.2079\n"
    assert (tmp_path / "rope.json").is_file()

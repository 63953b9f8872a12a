from __future__ import annotations

import array
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ropewalk import resident
from ropewalk.warm import VARIABLE

ROPE = ["rope", "yarn", "--head-dim", "64", "--base", "10000", "--length", "128", "--factor", "8"]


@pytest.fixture(scope="module")
def server():
    """A resident process, and the environment in which commands find it."""
    process, path = resident.start()
    yield process, {**os.environ, VARIABLE: path, "OMP_NUM_THREADS": "1"}
    process.terminate()
    process.wait(30)
    assert not Path(path).parent.exists()


def start(environment, *arguments: str, **more) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ropewalk.warm", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )


@pytest.fixture(scope="module")
def waiting(tmp_path_factory, server) -> list[str]:
    """Arguments of a command that works until it is ended: it reads a rope from a pipe that nobody feeds."""
    pipe = tmp_path_factory.mktemp("pipe") / "rope.json"
    os.mkfifo(pipe)
    return ["show", str(pipe)]


def children(process: subprocess.Popen) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}


def until(condition) -> bool:
    for _ in range(300):
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_a_job_gets_arguments_folder_environment_and_output(server, tmp_path):
    job = start(server[1], *ROPE, "-o", "rope.json", cwd=tmp_path)
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 0
    assert said == "wrote rope.json: 32 pairs, attention factor 1.2079\n"
    plain = subprocess.run([sys.executable, "-m", "ropewalk.cli", *ROPE], capture_output=True, text=True, check=True)
    assert json.loads((tmp_path / "rope.json").read_text()) == json.loads(plain.stdout)


@pytest.mark.slow
def test_the_job_was_forked_from_the_resident_process_and_imports_nothing_anew(server, tmp_path):
    began = time.monotonic()
    start(server[1], *ROPE, "-o", str(tmp_path / "rope.json")).wait(60)
    # The command line alone takes no less where nothing is imported yet.
    assert time.monotonic() - began < 5
    assert not children(server[0])


@pytest.mark.slow
def test_faults_have_their_sentence_and_status(server):
    job = start(server[1], "rope", "yarn", "--head-dim", "63", "--base", "10000", "--length", "128", "--factor", "8")
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 2
    assert said.startswith("ropewalk: rotary_dim is 63; expected an even number")
    assert start(server[1], "rope", "yarn", "--nonsense").wait(60) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_job_and_end_both(server, waiting, number):
    job = start(server[1], *waiting)
    assert until(lambda: children(server[0]))
    job.send_signal(number)
    assert job.wait(30) == -number
    assert until(lambda: not children(server[0]))


@pytest.mark.slow
def test_a_job_dies_with_the_process_that_asked_for_it(server, waiting):
    job = start(server[1], *waiting)
    assert until(lambda: children(server[0]))
    job.kill()
    job.wait()
    assert until(lambda: not children(server[0])), "an orphan works on"


@pytest.mark.slow
def test_who_goes_without_reading_an_answer_takes_his_command_alone(server, waiting, tmp_path):
    def ask(*arguments: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(server[1][VARIABLE])
        asked = {"arguments": arguments, "environment": server[1], "folder": str(tmp_path)}
        files = array.array("i", [0, 1, 2]).tobytes()
        connection.sendmsg([json.dumps(asked).encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        return connection

    stays, goes = ask(*waiting), ask(*waiting)
    assert until(lambda: len(children(server[0])) == 2)
    goes.close()
    assert until(lambda: len(children(server[0])) == 1)
    ask(*waiting).close()
    job = start(server[1], *ROPE, "-o", "rope.json", cwd=tmp_path)
    assert job.wait(60) == 0
    assert until(lambda: len(children(server[0])) == 1)
    assert server[0].poll() is None
    stays.close()
    assert until(lambda: not children(server[0]))


@pytest.mark.slow
def test_what_is_recorded_is_forked_twice_and_killed_as_one(server, waiting, tmp_path):
    """`ropewalk track` runs in the resident process, and so does the command that it records."""
    environment = {**server[1], "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    track = ["track", "--experiment", "study/ropes", "--name", "one", "--root", str(tmp_path), "--", "ropewalk"]
    job = start(environment, *track, *waiting)
    assert until(lambda: len(children(server[0])) == 2)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 128 + signal.SIGTERM
    assert until(lambda: not children(server[0]))
    record = json.loads(next(tmp_path.rglob("record-*.json")).read_text())
    assert record["status"] == "KILLED"


@pytest.mark.slow
def test_commands_end_with_the_resident_process(waiting):
    process, path = resident.start()
    job = start({**os.environ, VARIABLE: path}, *waiting)
    assert until(lambda: children(process))
    pids = children(process)
    process.kill()
    process.wait()
    assert job.wait(30) == 1
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids)), "an orphan works on"
    shutil.rmtree(Path(path).parent)

"""Jobs without imports: one resident process has imported everything, and forks for each job.

Importing torch and transformers takes nine seconds of CPU, longer than most jobs of a small study. On a machine
without GPUs a workflow starts ``python -m ropewalk.warm serve SOCKET`` and names the socket in ``ROPEWALK_WARM``; the
tracking of a job then starts ``python -m ropewalk.warm run ARGUMENTS`` instead of ``ropewalk ARGUMENTS``: a small
process that sends arguments, environment, working directory and its open files to the resident one, passes on signals,
and ends as the job ends. Each job is a process of its own; where nobody answers, the job starts as usual, and so do all
where ``ROPEWALK_WARM`` is set to nothing before the workflow starts.
"""

from __future__ import annotations

import array
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ropewalk.processes import die_with_parent

VARIABLE = "ROPEWALK_WARM"
"""Environment variable that names the socket."""
MODULES = (
    "ropewalk.cli",
    "ropewalk.posgen.results",
    "ropewalk.reading.copying",
    "ropewalk.reading.document_nll",
    "ropewalk.reading.leval.predict",
    "ropewalk.reading.retrieval",
    "ropewalk.report.copying",
    "ropewalk.report.finetune",
    "ropewalk.report.leval",
    "ropewalk.report.needle",
    "ropewalk.report.perplexity",
    "ropewalk.report.posgen",
    "ropewalk.report.scaling",
    "ropewalk.report.search",
    "ropewalk.report.summary",
    "ropewalk.search.probe",
    "ropewalk.search.run",
    "ropewalk.training.pretraining",
    "ropewalk.training.tuning",
    "transformers.models.llama.modeling_llama",
)
"""What jobs import."""
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TOGETHER = 1 << 20
"""Bytes of a request at most."""


def wanted() -> bool:
    """Whether jobs of this machine may be forked: CUDA does not survive a fork, and needs no such help."""
    return sys.platform == "linux" and not any(Path("/dev").glob("nvidia[0-9]*"))


def command(words: list[str]) -> list[str]:
    """The command that runs a command of this package in the resident process, where one is named; else itself."""
    if words[0] != "ropewalk" or not Path(os.environ.get(VARIABLE, "")).is_socket():
        return words
    return [sys.executable, "-m", "ropewalk.warm", "run", *words[1:]]


def run(arguments: Sequence[str]) -> int:
    """Have the resident process run a command; return its exit status, as ``ropewalk`` would.

    A signal that is passed on ends this process as it ended the job.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    request = {"arguments": list(arguments), "environment": dict(os.environ), "folder": os.getcwd()}
    try:
        connection.connect(os.environ[VARIABLE])
        files = array.array("i", [0, 1, 2])
        connection.sendmsg(
            [json.dumps(request).encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files.tobytes())]
        )
    except OSError:  # nobody is there any more
        os.execvp("ropewalk", ["ropewalk", *arguments])
    for number in FORWARDED:
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    answer = connection.recv(16)
    if not answer:  # the resident process died, and with it the job
        return 1
    status = int(answer)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def serve(path: str) -> None:
    """Import what jobs import, then fork for each that asks, until the process that started this one ends.

    Args:
        path: of the socket, in a folder of its own, which is removed at the end.
    """
    die_with_parent()
    parent = os.getppid()
    for module in MODULES:
        importlib.import_module(module)
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)
    # A terminal's Ctrl-C is for the jobs, which pass it on themselves.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: _leave(path))
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while os.getppid() == parent:
        for key, _ in selector.select(timeout=5):
            if key.fileobj is listener:
                _accept(listener, selector)
            elif key.data[0] == "client":
                _hear(key, selector)
            else:
                _end(key, selector)
    _leave(path)


def _leave(path: str) -> None:
    """End without what libraries would do at the end of an interpreter, which is slow and loud."""
    shutil.rmtree(Path(path).parent, ignore_errors=True)
    os._exit(0)


def _accept(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    connection, _ = listener.accept()
    files = array.array("i")
    data, control, _, _ = connection.recvmsg(TOGETHER, socket.CMSG_SPACE(3 * files.itemsize))
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(content)
    while data and not data.endswith(b"\n"):
        more = connection.recv(TOGETHER)
        data = data + more if more else b""
    if not data or len(files) != 3:
        connection.close()
        return
    child = os.fork()
    if child == 0:
        selector.close()
        listener.close()
        connection.close()
        _become(json.loads(data), list(files))
    for file in files:
        os.close(file)
    watched = os.pidfd_open(child)
    selector.register(connection, selectors.EVENT_READ, ("client", child))
    selector.register(watched, selectors.EVENT_READ, ("job", child, connection))


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Turn this forked process into the job; does not return."""
    for number in (*FORWARDED, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["ropewalk", *request["arguments"]]
    import torch

    # Read from the environment when torch is imported, which was before.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
    status: Any = 1
    try:
        from ropewalk.cli import main

        main()
        status = 0
    except SystemExit as error:
        status = error.code
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException:
        sys.excepthook(*sys.exc_info())
    if status is not None and not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    # What the resident process would do at its end is not for the job to do.
    os._exit(int(status or 0) & 255)


def _hear(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    """Pass on signals; a client that is gone takes its job with it."""
    connection: Any = key.fileobj
    numbers = connection.recv(16)
    for number in numbers or bytes([signal.SIGTERM]):
        with suppress(ProcessLookupError):
            os.kill(key.data[1], number)
    if not numbers:
        selector.unregister(connection)


def _end(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    """Tell the client how its job ended."""
    _, child, connection = key.data
    selector.unregister(key.fileobj)
    os.close(int(key.fd))
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    with suppress(KeyError):
        selector.unregister(connection)
    connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(run(sys.argv[2:]))

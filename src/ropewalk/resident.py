"""A process that has imported what jobs import, and forks for each command that asks (ropewalk/warm.py).

On a machine without GPUs a workflow starts one, and names its socket to all its jobs in ``ROPEWALK_WARM``, unless that
is set already: set to nothing, all commands start as usual.
"""

from __future__ import annotations

import array
import gc
import importlib
import io
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from ropewalk.processes import die_with_parent
from ropewalk.warm import FORWARDED, STARTED

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
    "ropewalk.tracking",
    "ropewalk.training.pretraining",
    "ropewalk.training.tuning",
    "transformers.models.llama.modeling_llama",
)
"""What jobs import."""
TOGETHER = 1 << 20
"""Bytes of a request that are read at once."""


def wanted() -> bool:
    """Whether commands of this machine may be forked: CUDA does not survive a fork, and needs no such help."""
    return sys.platform == "linux" and not any(Path("/dev").glob("nvidia[0-9]*"))


def start(environment: Mapping[str, str] | None = None) -> tuple[subprocess.Popen[bytes], str]:
    """Start a resident process, which ends with this one; return it and the path of its socket.

    Commands may ask at once: they wait while it imports.

    Args:
        environment: its variables; those of this process where None.
    """
    # The path of a socket has a hundred bytes at most, and TMPDIR may have more.
    path = f"{tempfile.mkdtemp(prefix='ropewalk-', dir='/tmp')}/socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, "-m", "ropewalk.resident", str(listener.fileno()), path],
            stdin=subprocess.DEVNULL,
            env={**(os.environ if environment is None else environment), "OMP_NUM_THREADS": "1"}
            | {"OPENBLAS_NUM_THREADS": "1"},
            pass_fds=(listener.fileno(),),
            # A terminal's Ctrl-C reaches those who asked, and they pass it on.
            start_new_session=True,
        )
    return process, path


def serve(listener: socket.socket, path: str) -> None:
    """Import what jobs import, then fork for each that asks, until the process that started this one ends.

    Args:
        listener: where commands ask.
        path: of its socket, in a folder of its own, which is removed at the end.
    """
    die_with_parent()
    parent = os.getppid()
    signal.signal(signal.SIGTERM, lambda number, _: _leave(path))
    for module in MODULES:
        importlib.import_module(module)
    from ropewalk.cli import commands

    # One that does nothing, so that what commands import and read of themselves stands too.
    with redirect_stdout(io.StringIO()):
        commands()(["rope", "--help"], standalone_mode=False)
    # What stands is not searched for garbage, which would copy its pages.
    gc.collect()
    gc.freeze()
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while os.getppid() == parent:
        for key, _ in selector.select(timeout=5):
            if selector.get_map().get(key.fd) is not key:
                continue  # it ended by what came before it in this round
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
    data, files = _request(connection)
    resident, child = os.getpid(), None
    if data and len(files) == 3:
        # What ends the command would find, for a moment, what ends this process.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        with suppress(OSError):  # no more processes: who asked does it for himself
            child = os.fork()
        if child != 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if child == 0:
        selector.close()
        listener.close()
        connection.close()
        _become(json.loads(data), list(files), resident)
    for file in files:
        os.close(file)
    if child is None:
        connection.close()
        return
    with suppress(OSError):
        connection.send(STARTED)
    watched = os.pidfd_open(child)
    selector.register(connection, selectors.EVENT_READ, ("client", child))
    selector.register(watched, selectors.EVENT_READ, ("job", child, connection))


def _request(connection: socket.socket) -> tuple[bytes, array.array[int]]:
    """A line of JSON and open files; an empty line where who asked is gone already."""
    files = array.array("i")
    try:
        data, control, _, _ = connection.recvmsg(TOGETHER, socket.CMSG_SPACE(3 * files.itemsize))
        for level, kind, content in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files.frombytes(content)
        while data and not data.endswith(b"\n"):
            more = connection.recv(TOGETHER)
            data = data + more if more else b""
    except OSError:
        data = b""
    return data, files


def _become(request: dict[str, Any], files: list[int], resident: int) -> None:
    """Turn this forked process into the command; does not return."""
    for number in (*FORWARDED, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    # Without the resident process nobody would learn how it ended.
    die_with_parent()
    if os.getppid() != resident:
        os._exit(1)
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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
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
    # What the resident process would do at its end is not for the command to do.
    os._exit(int(status or 0) & 255)


def _hear(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    """Pass on signals; a client that is gone takes its command with it."""
    connection: Any = key.fileobj
    try:
        numbers = connection.recv(16)
    except OSError:  # gone before it read that its command has begun
        numbers = b""
    for number in numbers or bytes([signal.SIGTERM]):
        with suppress(ProcessLookupError):
            os.kill(key.data[1], number)
    if not numbers:
        selector.unregister(connection)


def _end(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    """Tell the client how its command ended."""
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
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])

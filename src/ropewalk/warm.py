"""The command ``ropewalk``: run here, or by the resident process of a workflow, which has imported everything.

Importing torch and transformers takes nine seconds of CPU, longer than most jobs of a small study, and each job is two
commands, its own and the one that records it. Where ``ROPEWALK_WARM`` names a socket on which such a process listens
(ropewalk/resident.py), this one sends it arguments, environment, working directory and open files, passes on signals,
and ends as the command ends, which is a process of its own. It imports hardly anything for that. Where nobody answers,
and where the variable is empty or not set, the command starts as usual.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys

VARIABLE = "ROPEWALK_WARM"
"""Environment variable that names the socket."""
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STARTED = b"+"
"""What the resident process answers when the command has begun."""


def main() -> None:
    """Run the command that this process was started with, and end with its status."""
    path = os.environ.get(VARIABLE)
    status = hand_over(path, sys.argv[1:]) if path else None
    if status is not None:
        sys.exit(status)
    # Nor would what it starts find anybody.
    os.environ.pop(VARIABLE, None)
    from ropewalk.cli import main as run

    run()


def hand_over(path: str, arguments: list[str]) -> int | None:
    """Have the resident process run a command; return its exit status, or nothing where nobody took it.

    A signal that is passed on ends this process as it ended the command.

    Args:
        path: of the socket.
        arguments: of the command, without its name.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
    # Who is gone before the command began is heard to be gone, and the command ends too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        connection.connect(path)
        files = array.array("i", [0, 1, 2])
        connection.sendmsg(
            [json.dumps(request).encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files.tobytes())]
        )
        # It may still be importing.
        taken = connection.recv(1) == STARTED
    except OSError:
        taken = False
    if not taken:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return None
    for number in FORWARDED:
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    answer = connection.recv(16)
    if not answer:  # the resident process died, and with it the command
        return 1
    status = int(answer)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    main()

"""Programs in forks of a process that has imported them: hundreds of processes would take seconds each to do so."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["snakemake.cli", "ropewalk.training.tuning", "transformers.models.llama"])


def snakemake(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What ``snakemake WORDS`` says in a folder, on both of its streams together, and its exit status."""
    [status], said = _ended(_snakemake, [(list(words), str(folder))], [environment])
    return subprocess.CompletedProcess(["snakemake", *words], status, said, "")


def ranks(count: int, script: Path, words: Sequence[str], environment: Mapping[str, str]) -> tuple[list[int], str]:
    """Run a script in processes that find each other, as torchrun starts them; their statuses, and what they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    meeting |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    each = [{**environment, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    return _ended(_script, [([str(script), *words],)] * count, each)


def _ended(
    run: Callable[..., None], arguments: Sequence[tuple[object, ...]], environments: Sequence[Mapping[str, str]]
) -> tuple[list[int], str]:
    with tempfile.NamedTemporaryFile("r") as said:
        processes = [
            _SERVER.Process(target=_become, args=(run, given, dict(environment), said.name))
            for given, environment in zip(arguments, environments, strict=True)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [process.exitcode or 0 for process in processes], said.read()


def _become(run: Callable[..., None], given: Sequence[object], environment: dict[str, str], said: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    run(*given)


def _snakemake(words: list[str], folder: str) -> None:
    os.chdir(folder)
    sys.argv = ["snakemake", *words]
    from snakemake.cli import main

    main(words)


def _script(words: list[str]) -> None:
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")

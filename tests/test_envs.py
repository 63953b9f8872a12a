"""The environments of clusters: pinned, complete, and named where they are used."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "envs/requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins() -> dict[str, Requirement]:
    """The packages of the lock by name."""
    found = [Requirement(line.split(" \\")[0]) for line in re.findall(r"^[\w-].*==.*$", LOCK, re.MULTILINE)]
    return {canonicalize_name(pin.name): pin for pin in found}


def version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


def test_every_package_has_a_hash():
    for entry in re.split(r"\n(?=\S)", LOCK.strip()):
        assert "--hash=sha256:" in entry, entry


def test_the_lock_satisfies_the_project():
    optional = PROJECT["project"]["optional-dependencies"]
    needed = [*PROJECT["project"]["dependencies"], *optional["study"], *optional["gguf"]]
    needed += PROJECT["dependency-groups"]["smollm2"]
    for requirement in map(Requirement, needed):
        if requirement.name != "ropewalk":
            pin = pins()[canonicalize_name(requirement.name)]
            assert version(pin) in requirement.specifier, f"{requirement} is pinned at {version(pin)}; run envs/lock.py"


def test_tools_of_development_are_not_installed_on_clusters():
    names = {canonicalize_name(Requirement(tool).name) for tool in PROJECT["dependency-groups"]["dev"]}
    assert names & set(pins()) <= {"psycopg2-binary"}


def test_the_conda_file_is_made_from_the_lock():
    made = runpy.run_path(str(ROOT / "envs/lock.py"))["conda_yaml"](LOCK)
    assert (ROOT / "envs/ropewalk.yaml").read_text() == made, "run `python envs/lock.py`"


@pytest.mark.parametrize("name", ["ropewalk.post-deploy.sh", "ropewalk.def"])
def test_environments_install_the_lock_and_the_package(name):
    text = (ROOT / "envs" / name).read_text()
    commands = re.findall(r"python -m pip install .*", text)
    assert len(commands) == 2
    assert all("--no-deps" in command for command in commands)
    assert "--require-hashes" in commands[0]
    copied = re.findall(r"^    (\S+) /opt/\S+$", text, re.MULTILINE)
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_every_rule_that_runs_a_command_names_an_environment_that_exists():
    """A rule that is another one with other files has that one's."""
    rules = 0
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^(?=(?:use )?rule \w+)", path.read_text(), flags=re.MULTILINE)[1:]:
            if not re.search(r"^    shell:", rule, re.MULTILINE):
                continue
            rules += 1
            [named] = re.findall(r'conda:\s+"([^"]+)"', rule)
            assert (path.parent / named).is_file(), f"{path.name} names {named}"
    assert rules >= 12


def test_the_profile_for_clusters_names_rules_that_exist():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    profile = (ROOT / "workflow/profiles/slurm/config.v9+.yaml").read_text()
    named = re.findall(r"^#?\s+(\w+): \{slurm_partition", profile, re.MULTILINE)
    assert named
    assert [name for name in named if f"\nrule {name}:" not in rules] == []

"""The floors of the house: imports go down and never up, and stage code runs where few packages are installed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src/ropewalk"
GROUND = {
    "checkpoints", "closure", "devices", "errors", "files", "hub", "intervals", "labels", "launch", "metrics",
    "options", "partitions", "processes", "progress", "scores",
}  # fmt: skip
"""Single files that any room may import, and that import none."""
FLOORS = {
    "rope": set(),
    "corpora": set(),
    "models": {"rope"},
    "warm": set(),
    "resident": {"warm"},
    "watching": set(),
    "tracking": set(),
    "training": {"rope", "corpora", "models"},
    "reading": {"rope", "corpora", "models"},
    "posgen": {"rope"},
    "scaling": {"rope", "reading"},
    "search": {"rope", "corpora", "models", "reading"},
    "export": {"rope", "models"},
    "doctor": {"rope", "models"},
    "report": {"rope", "reading", "posgen", "scaling", "search"},
    "extending": {"rope", "corpora", "models", "reading", "search", "export", "report"},
    "zoo": {"rope"},
    "api": {"rope", "models", "reading", "export"},
    "study": {"rope", "corpora", "models", "training", "reading", "posgen", "scaling", "search", "report"},
    "cli": {"rope", "corpora", "models", "tracking", "training", "reading", "posgen", "scaling", "report", "study"}
    | {"search", "export", "doctor", "extending", "zoo"},
}
"""What each room may import, beside itself and the ground."""
UP = {"warm": {"cli"}, "resident": {"cli"}}
"""What becomes the command line; there is no other way up."""
STAGES = ("rope", "corpora", "models", "training", "reading", "posgen", "scaling", "search", "export", "report")
TOOLS = {"pydantic", "typer", "click", "optuna", "mlflow", "snakemake"}
"""What only one room may import, or none."""
MAY = {"search": {"optuna"}, "tracking": {"mlflow"}, "cli": {"typer", "click"}, "options": {"pydantic"},
       "watching": {"snakemake"},
       "study": {"pydantic"}}  # fmt: skip
"""Where each of them may be imported."""
NO_OPTIONS = {"ropewalk.models.shape", "ropewalk.posgen.tasks"}
"""What a study imports of stages beside their options: sizes, and names of tasks."""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{a.name}" for a in node.names) if node.module == "ropewalk" else (node.module,)


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py")) if (PACKAGE / room).is_dir() else [PACKAGE / f"{room}.py"]


def rooms_of(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("ropewalk.")}


def test_every_file_stands_on_a_floor():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__"} == set(FLOORS) | GROUND


def test_the_floors_go_up():
    """What a room may import may not import the room."""
    for room, below in FLOORS.items():
        pending, seen = set(below), set()
        while pending:
            one = pending.pop()
            seen.add(one)
            pending |= FLOORS[one] - seen
        assert room not in seen


@pytest.mark.parametrize("room", FLOORS)
def test_imports_go_down_only(room):
    for path in files(room):
        own = rooms_of(path)
        assert own <= FLOORS[room] | {room} | GROUND | UP.get(room, set()), f"{path.relative_to(PACKAGE)} imports {own}"


@pytest.mark.parametrize("name", sorted(GROUND))
def test_the_ground_imports_the_ground_only(name):
    [path] = files(name)
    assert rooms_of(path) <= GROUND


def test_imports_are_absolute():
    """The closure of imports, which says what reruns, reads no others."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path.relative_to(PACKAGE)}:{node.lineno}"


def test_the_rope_room_needs_numpy_alone():
    for path in files("rope"):
        foreign = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"ropewalk"}
        assert foreign <= {"numpy"}, f"{path.name} imports {foreign}"


@pytest.mark.parametrize("name", ["errors", "labels", "closure", "options"])
def test_what_every_room_needs_needs_nothing(name):
    """Only the reading of YAML and JSON asks for pydantic."""
    [path] = files(name)
    foreign = {part.split(".")[0] for part in imported(path)} - set(sys.stdlib_module_names) - {"ropewalk"}
    assert foreign == ({"pydantic"} if name == "options" else set())


@pytest.mark.parametrize("room", [*FLOORS, *sorted(GROUND)])
def test_tools_are_known_to_one_room_each(room):
    """Stage code knows neither the workflow nor its tracking, neither the command line nor who checks the YAML."""
    for path in files(room):
        foreign = {name.split(".")[0] for name in imported(path)}
        assert foreign & TOOLS <= MAY.get(room, set()), path.name


def test_every_stage_is_among_those_that_are_looked_at():
    assert set(STAGES) <= set(FLOORS)
    assert not set(STAGES) - {"search"} & set(MAY)
    used = {name: {n.split(".")[0] for path in files(name) for n in imported(path)} & TOOLS for name in MAY}
    assert all(used[name] for name in MAY), "a room that may import a tool and does not need it should not"


def test_a_study_imports_the_options_of_stages_only():
    """So that reading a configuration loads no stage."""
    for path in files("study"):
        for name in imported(path):
            if name.startswith("ropewalk.") and name.split(".")[1] in set(STAGES) - {"rope"}:
                assert name.endswith(".options") or name in NO_OPTIONS, f"{path.name} imports {name}"


@pytest.mark.parametrize("stage", [stage for stage in STAGES if (PACKAGE / stage / "options.py").is_file()])
def test_modules_of_options_import_the_ground_and_other_options(stage):
    for name in imported(PACKAGE / stage / "options.py"):
        if name.startswith("ropewalk."):
            assert name.split(".")[1] in GROUND or name.endswith(".options") or name in NO_OPTIONS, name

"""The floors of the house: imports go down and never up, and stage code runs where few packages are installed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src/ropewalk"
GROUND = {"errors", "files", "intervals", "metrics", "progress", "scores"}
FLOORS = {
    "rope": set(),
    "corpora": set(),
    "models": {"rope"},
    "tracking": set(),
    "training": {"rope", "corpora", "models"},
    "reading": {"rope", "corpora", "models"},
    "posgen": {"rope"},
    "scaling": {"rope", "reading"},
    "search": {"rope", "corpora", "models", "reading"},
    "export": {"rope", "models"},
    "report": {"rope", "reading", "posgen", "scaling", "search"},
    "config": {"rope", "posgen", "search"},
    "cli": {"rope", "corpora", "models", "tracking", "training", "reading", "posgen", "scaling", "report", "config"}
    | {"search", "export"},
}
"""What each room may import, beside itself and the ground."""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{a.name}" for a in node.names) if node.module == "ropewalk" else (node.module,)


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py")) if (PACKAGE / room).is_dir() else [PACKAGE / f"{room}.py"]


def test_every_file_stands_on_a_floor():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__"} == set(FLOORS) | GROUND


@pytest.mark.parametrize("room", FLOORS)
def test_imports_go_down_only(room):
    for path in files(room):
        own = {name.split(".")[1] for name in imported(path) if name.startswith("ropewalk.")}
        assert own <= FLOORS[room] | {room} | GROUND, f"{path.relative_to(PACKAGE)} imports {own}"


def test_the_rope_room_needs_numpy_alone():
    for path in files("rope"):
        foreign = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"ropewalk"}
        assert foreign <= {"numpy"}, f"{path.name} imports {foreign}"


@pytest.mark.parametrize("room", ["corpora", "models", "training", "reading", "posgen", "scaling", "export", "report"])
def test_stage_code_knows_neither_the_workflow_nor_its_tracking(room):
    for path in files(room):
        foreign = {name.split(".")[0] for name in imported(path)}
        assert not foreign & {"mlflow", "optuna", "snakemake", "pydantic", "typer"}, path.name

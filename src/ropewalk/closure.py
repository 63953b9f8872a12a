"""What code a job runs: the modules that its module imports, from the code itself.

A changed file reruns exactly the jobs whose import closure holds it. Imports inside functions count; those for type
checkers do not.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


def import_closure(module: str) -> frozenset[Path]:
    """The files of this package that a module imports, itself and data files beside them included.

    Args:
        module: as ``ropewalk.reading.document_nll``.
    """
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in found or _file(name) is None:
            continue
        found.add(name)
        # A package is imported before its modules.
        pending += [*_imports(name), name.rpartition(".")[0]]
    files = {file for name in found if (file := _file(name))}
    folders = {file.parent for file in files if file.parent != PACKAGE}
    return frozenset(files | {data for folder in folders for data in _data(folder)})


def code_hash(module: str) -> str:
    """A hash of the files of an import closure, sixteen characters."""
    digest = hashlib.sha256()
    for file in sorted(import_closure(module)):
        digest.update(f"{file.relative_to(PACKAGE)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _file(name: str) -> Path | None:
    if name.partition(".")[0] != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*name.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file if file.is_file() else None


@cache
def _imports(name: str) -> tuple[str, ...]:
    file = _file(name)
    assert file is not None
    return tuple(_names(ast.parse(file.read_text())))


def _names(tree: ast.AST) -> Iterator[str]:
    """Names of all modules that may be imported; of a name from a package both, as it may be a module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _names(ast.Module(node.orelse, []))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):  # expressions import nothing
            yield from _names(node)


@cache
def _data(folder: Path) -> tuple[Path, ...]:
    """Data files that belong to the modules of a folder: in folders below it that are no packages."""
    inner = [path for path in folder.iterdir() if path.is_dir() and not (path / "__init__.py").is_file()]
    files = (file for path in inner if path.name != "__pycache__" for file in path.rglob("*"))
    return tuple(file for file in files if file.is_file())

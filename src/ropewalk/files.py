"""Files and folders that are either whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ropewalk.errors import PassingError, UserError


@contextmanager
def room_for(target: Path) -> Iterator[None]:
    """Turn the many errors of a full disk into one sentence that names what was to be written.

    Raises:
        UserError: an error arose in the block and the disk of ``target`` is full.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # Libraries that write in C++ or Rust hide the error number.
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if full or shutil.disk_usage(target.parent).free < 1 << 16:
            raise UserError(f"{target} cannot be written: no space is left on its disk.") from error
        raise


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there when the block ends well, remove it when it does not.

    The suffix is kept, so that writers which look at it (matplotlib, pyarrow) do the right thing.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with room_for(target):
            yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; put it in the place of ``path`` when the block ends well."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        with room_for(target):
            yield temporary
        temporary.chmod(0o777 & ~_umask())
        if target.exists():
            old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-old-"))
            os.replace(target, old / target.name)
            os.replace(temporary, target)
            shutil.rmtree(old)
        else:
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Keep a second process from training in the same state folder: a job may outlive a workflow that was killed.

    Raises:
        UserError: another process trains there.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(state.with_name(f"{state.name}.lock"), blocking=False):
            yield
    except Timeout:
        raise PassingError(f"{state} is in use by another process; wait for it to end, or stop it.") from None


def claim_state(state: Path, identity: Mapping[str, Any]) -> None:
    """Keep what a state folder holds if it is of the same work, and begin it anew otherwise.

    Args:
        state: folder of what is to outlive a killed job.
        identity: what makes the work itself, as it is written to JSON; what JSON does not know, by its text.

    Raises:
        UserError: the folder holds files that no work of this kind left there.
    """
    wanted = json.dumps(identity, sort_keys=True, default=str)
    known = state / "identity.json"
    if known.is_file() and known.read_text() == wanted:
        return
    if state.is_dir() and not known.is_file() and any(state.iterdir()):
        raise UserError(f"state folder {state} holds other files; expected a new folder, or one of this command.")
    with whole_folder(state) as fresh:
        (fresh / "identity.json").write_text(wanted)


def whole_lines(path: Path) -> list[Any]:
    """The values of a file of JSON lines, up to the first that a killed writer left torn; none of a missing file."""
    values: list[Any] = []
    # What follows the last line feed is torn.
    for line in path.read_bytes().split(b"\n")[:-1] if path.is_file() else ():
        try:
            values.append(json.loads(line))
        except ValueError:
            break
    return values


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """Read JSON, where ``what`` says in the error what the file should have been.

    Raises:
        UserError: the file is missing or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {what}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged or not {what}: {error}.") from None


def file_hash(path: Path) -> bytes:
    """The sha256 of what a file holds."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, also behind links to other folders, each folder once."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place) / name for name in files)

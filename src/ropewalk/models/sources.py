"""Where models come from: the hub, a folder, or a GGUF file, by its path or inside an installed package."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ropewalk.errors import UserError
from ropewalk.files import file_hash, read_json
from ropewalk.hub import refusal

CHECKPOINT_FILES = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja")
"""The files of a checkpoint folder."""
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
"""ORGANISATION/NAME."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    ``kind`` and ``name`` are one of: ``folder`` and a path; ``hub`` and ``ORGANISATION/NAME``; ``gguf`` and the path of
    a GGUF file, or ``PACKAGE/FILE``, one that an installed Python package ships.
    """

    kind: Literal["folder", "hub", "gguf"]
    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> ModelSource:
        """Read ``folder:PATH``, ``hub:ORGANISATION/NAME`` or ``gguf:PACKAGE/FILE``.

        Without a prefix it is a folder if one of that name exists, a GGUF file if it ends so, an id on the hub if it
        looks like one, and else a folder. For all that needs no weights, a configuration file (``.json``) serves as a
        folder.
        """
        kind, colon, name = text.partition(":")
        if not colon:
            local = Path(text).is_dir() or text.endswith(".json") or not HUB_ID.fullmatch(text)
            kind, name = "gguf" if text.endswith(".gguf") else "folder" if local else "hub", text
        if kind not in ("folder", "hub", "gguf") or not name or (kind == "hub" and not HUB_ID.fullmatch(name)):
            raise UserError(f"model {text!r}: expected folder:PATH, hub:ORGANISATION/NAME or gguf:PACKAGE/FILE.")
        return cls(kind, name, revision)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" + (f" at revision {self.revision}" if self.revision else "")

    @property
    def configuration_file(self) -> Path:
        """The configuration of a folder: a file in it, or a ``.json`` file that serves as one."""
        alone = self.name.endswith(".json") and Path(self.name).is_file()
        return Path(self.name) if alone else Path(self.name) / "config.json"

    @property
    def location(self) -> dict[str, Any]:
        """The arguments that ``from_pretrained`` needs to find this model.

        Raises:
            UserError: the folder or the package file does not exist.
        """
        if self.kind == "hub":
            return {"pretrained_model_name_or_path": self.name, "revision": self.revision or "main"}
        if self.kind == "folder":
            if not self.configuration_file.is_file():
                raise UserError(f"model folder {self.name}: no config.json there; expected a Hugging Face checkpoint.")
            return {"pretrained_model_name_or_path": self.name}
        file = gguf_path(self.name)
        return {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}


def training_record(source: ModelSource) -> dict[str, Any] | None:
    """What a checkpoint folder that was trained here says of its training; None for any other."""
    path = Path(source.name) / "training.json"
    if source.kind != "folder" or not path.is_file():
        return None
    record: dict[str, Any] = read_json(path, "the record of a training")
    return record


def weights_hash(source: ModelSource) -> str | None:
    """What the files of a local model hold, so that a model made anew under the same name is another one."""
    if source.kind == "hub":
        return source.revision
    files = [gguf_path(source.name)] if source.kind == "gguf" else _weights(Path(source.name))
    digest = hashlib.sha256()
    for path in files:
        digest.update(file_hash(path))
    return digest.hexdigest()


def _weights(folder: Path) -> list[Path]:
    files = sorted(path for pattern in CHECKPOINT_FILES for path in folder.glob(pattern))
    return [path for path in files if path.suffix in (".safetensors", ".bin") or path.name == "config.json"]


def gguf_path(name: str) -> Path:
    """The GGUF file of a source of that kind.

    Raises:
        UserError: there is none, or the package that reads it is not installed.
    """
    path = Path(name) if Path(name).is_file() else _package_file(name)
    if find_spec("gguf") is None:
        raise UserError(f"model gguf:{name}: reading GGUF needs the package 'gguf' (`uv sync --extra gguf`).")
    return path


def _package_file(name: str) -> Path:
    if Path(name).is_absolute() or name.startswith("."):
        raise UserError(f"model gguf:{name}: no such file.")
    package, _, file = name.partition("/")
    # Found without importing: a package of weights may import an engine that nobody needs here.
    spec = find_spec(package) if package.isidentifier() else None
    folder = next(iter(spec.submodule_search_locations or []), None) if spec else None
    if folder is None:
        raise UserError(f"model gguf:{name}: no such file, and the Python package {package!r} is not installed.")
    path = Path(folder) / file
    if not path.is_file():
        found = ", ".join(sorted(p.name for p in Path(folder).glob("*.gguf"))) or "none"
        raise UserError(f"model gguf:{name}: package {package!r} has no file {file!r}; GGUF files in it: {found}.")
    return path


def failure(source: ModelSource, error: Exception) -> UserError:
    """What went wrong in loading a model, in one sentence."""
    if isinstance(error, UserError):
        return error
    text = " ".join(str(error).split())
    if source.kind == "hub" and (said := refusal(f"model {source}", error, "model")):
        return said
    if "trust_remote_code" in text:
        return UserError(f"model {source} needs code of its own, which is never run here; it cannot be loaded.")
    return UserError(f"model {source} cannot be loaded: {text[:300]}")

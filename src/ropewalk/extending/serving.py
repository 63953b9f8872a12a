"""How a recommended rope is served: what to type for each engine, and the proof of an export."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError
from ropewalk.export.printing import ENGINES, printed
from ropewalk.files import write_json
from ropewalk.models.sources import ModelSource
from ropewalk.rope import Rope


def engines_told(source: ModelSource, rope: Rope, length: int, engines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What to type for each engine, ``text`` with ``notes``; ``text`` is None where it cannot take the rope.

    Args:
        source: the model.
        rope: made for it.
        length: tokens to serve.
        engines: those that were asked for; all that can serve such a model where none was.
    """
    told: dict[str, dict[str, Any]] = {}
    # A GGUF file is served by llama.cpp.
    for engine in engines or (["llama.cpp"] if source.kind == "gguf" else ENGINES):
        try:
            found = printed(source, rope, engine, length=length)
            told[engine] = {"text": found.text, "notes": list(found.notes)}
        except UserError as error:
            told[engine] = {"text": None, "notes": [str(error)]}
    return told


def proved(source: ModelSource, rope: Rope, length: int, scratch: Path, folder: Path) -> dict[str, Any]:
    """Prove an export on logits, and keep its configuration and its proof without its weights.

    Args:
        source: the model.
        rope: made for it.
        length: tokens to serve.
        scratch: folder for the export, which is removed again.
        folder: what is kept goes here; must not be there yet.

    Returns:
        ``passed``, and what is ``said`` of it.
    """
    from ropewalk.export.prove import export
    from ropewalk.export.verify import verify

    kind = "gguf" if source.kind == "gguf" else "hf"
    written = scratch / ("export.gguf" if kind == "gguf" else "export")
    try:
        export(source, rope, kind, written, length=length)
        proof = verify(written, rope, source)
        folder.mkdir()
        if kind == "hf":
            shutil.copy2(written / "config.json", folder)
        write_json(folder / "proof.json", proof.to_json())
    except UserError as error:
        return {"passed": False, "said": str(error)}
    finally:
        if written.is_dir():
            shutil.rmtree(written)
        written.unlink(missing_ok=True)
    said = "tensors and keys were read back; llama-cpp-python is not installed"
    if proof.engine is not None:
        said = f"{proof.engine}: the largest difference of a logit is {proof.max_difference:.2g}; {proof.criterion}"
    return {"passed": proof.passed, "said": said}

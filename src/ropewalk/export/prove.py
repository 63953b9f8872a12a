"""Write an export together with what proves it, both or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError
from ropewalk.export import gguf, huggingface
from ropewalk.export.target import Exported
from ropewalk.export.verify import Verification, verify
from ropewalk.files import whole_folder, write_json
from ropewalk.models.sources import ModelSource
from ropewalk.rope import Rope
from ropewalk.scores import Scores, bare_rows


def export(
    source: ModelSource,
    rope: Rope,
    to: str,
    output: Path,
    *,
    length: int | None = None,
    fold_temperature: bool = False,
) -> Exported:
    """Write a model for an engine.

    Args:
        source: the model.
        rope: bound to it.
        to: ``hf`` or ``gguf``.
        output: folder, or file, to write.
        length: context length in tokens to announce; the factor times the original length where None.
        fold_temperature: move the attention factor into the weights (hf).

    Raises:
        UserError: there is no such engine, or it cannot take the rope or the model.
    """
    if to == "hf":
        return huggingface.export(source, rope, output, length=length, fold_temperature=fold_temperature)
    if to == "gguf":
        if fold_temperature:
            raise UserError("--fold-temperature: expected --to hf; GGUF files have a key for the attention factor.")
        return gguf.export(source, rope, output, length=length)
    raise UserError(f"--to {to!r}: expected hf or gguf.")


def export_proved(
    source: ModelSource,
    rope: Rope,
    to: str,
    folder: Path,
    *,
    columns: Mapping[str, Any],
    length: int | None = None,
    fold_temperature: bool = False,
) -> tuple[Exported, Verification]:
    """Write a folder with the export, ``model`` or ``model.gguf``, ``proof.json``, and ``scores.json``.

    Raises:
        UserError: see :func:`export`; or the export does not compute what the model with the rope computes.
    """
    name = "model.gguf" if to == "gguf" else "model"
    with whole_folder(folder) as out:
        written = export(source, rope, to, out / name, length=length, fold_temperature=fold_temperature)
        proof = verify(out / name, rope, source)
        if not proof.passed:
            found = f"a logit differs by {proof.max_difference:.3g}" if proof.engine else " ".join(proof.faults)
            raise UserError(f"the export does not do what the rope does: {found}; expected {proof.criterion}.")
        write_json(out / "proof.json", {"columns": dict(columns), **proof.to_json(), "path": name})
        numbers = {"max_difference": proof.max_difference, "correlation": proof.correlation}
        known = {name: value for name, value in numbers.items() if value is not None}
        Scores({"stage": "export", **columns}, bare_rows(known)).write(out / "scores.json")
    return replace(written, path=folder / name), proof

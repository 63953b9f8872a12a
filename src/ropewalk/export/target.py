"""What every export says of itself, and the context length it is made for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ropewalk.errors import UserError
from ropewalk.models.sources import ModelSource
from ropewalk.rope import Rope
from ropewalk.rope.rope import as_integer


@dataclass(frozen=True)
class Exported:
    """An export that was written.

    Attributes:
        path: the folder or the file.
        length: the context length in tokens that it announces.
        notes: what its user should know, one sentence each.
        applies_to_model: whether what stands in the configuration gives the model itself, uncopied, the same rope.
    """

    path: Path
    length: int
    notes: tuple[str, ...] = ()
    applies_to_model: bool = False


def target_length(rope: Rope, length: int | None) -> int:
    """The context length in tokens to announce: ``length``, or else the rope's factors times its original length.

    Raises:
        UserError: the length is below the original one, or none is given and no step of the rope names a factor.
    """
    if length is not None:
        return as_integer("length", length, at_least=rope.original_length)
    factors = [step.params["factor"] for step in rope.steps if step.params.get("factor") is not None]
    if not factors:
        raise UserError("the rope names no factor; expected --length, the context length in tokens to announce.")
    return round(math.prod(factors) * rope.original_length)


def check_apart(source: ModelSource, output: Path) -> None:
    """Raise ``UserError`` where an export would replace the model that it is made from."""
    if source.kind != "hub" and Path(source.name).exists() and Path(source.name).resolve() == output.resolve():
        raise UserError(f"{output} is the model itself; expected another place for the export.")

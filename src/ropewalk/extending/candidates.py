"""The ropes that are tried."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ropewalk.errors import UserError
from ropewalk.rope import Rope, apply

NATIVE = "native"
"""The rope that the model has, to which the others are compared."""
BY_HAND = ("yarn", "mrrope-pro", "ntk")
"""Hand-made methods with the constants of their authors."""
TUNED, SEARCHED = "yarn, tuned", "searched"


def rope_file(name: str) -> str:
    """Where the rope of a candidate lies, in the folder of an answer."""
    return f"ropes/{name.replace(', ', '-')}.json"


@dataclass(frozen=True)
class Candidate:
    """A rope that is tried.

    Attributes:
        name: in tables and figures.
        rope: for texts of the wanted length.
        about: what it is, in a few words.
        short: what the engine takes for texts up to the native length, where that is another table.
    """

    name: str
    rope: Rope
    about: str
    short: Rope | None = None


def candidates(native: Rope, native_length: int, length: int) -> list[Candidate]:
    """The model's own rope first, and the hand-made ones that lengthen it.

    A model that was lengthened before keeps that rope: it is what the model was trained with, and methods start from
    it, with the length that it was lengthened to as the training length.

    Args:
        native: the model's own rope.
        native_length: tokens that the model says it reads.
        length: wanted, in tokens.

    Raises:
        UserError: the model does not rotate, or the length is not beyond the native one.
    """
    if not native.at(length).inv_freq.any():
        raise UserError("this model rotates nothing, so that no rope can lengthen it.")
    if length <= native_length:
        raise UserError(
            f"--length {length}: the model says that it reads {native_length} tokens; expected more, or --native with "
            "the length that you believe."
        )
    start = replace(native.at(native_length), original_length=native_length)
    own = "the rope that the model has, unchanged"
    if native.changes:
        own = f"the rope that the model has, made by {' and '.join(step.method for step in native.changes)}"
    short = None if native.static else native.at(native_length)
    factor = length / native_length
    return [
        Candidate(NATIVE, native.at(length), own, short),
        *(
            Candidate(name, apply(start, name.replace("-", "_"), factor=factor), f"{name} as coded, factor {factor:g}")
            for name in BY_HAND
        ),
    ]

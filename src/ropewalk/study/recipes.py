"""Recipes: how a rope is made, as a person writes it, and as a job gets it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ropewalk.errors import UserError
from ropewalk.rope import METHODS, Rope, default_rope
from ropewalk.rope.methods import cook

STARTS = {"file": "PATH", "rope": "NAME", "found": "SEARCH"}
"""What a recipe may start from, with what is said of it."""
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Recipe:
    """Methods that are applied one after the other.

    Attributes:
        steps: methods with their parameters, as ``{"method": "yarn", "factor": 8.0}``.
        start: what they are applied to: ``file`` and a path, ``rope`` and a name of the study, ``found`` and the id
            of a search; None is the model's own table.
    """

    steps: tuple[Mapping[str, Any], ...]
    start: tuple[str, str] | None = None

    @classmethod
    def parse(cls, value: Any) -> Recipe:
        """Read ``yarn``, ``{method: yarn, factor: 4}``, or a list of these that may begin with a start.

        Raises:
            UserError: it is written otherwise, or a method or parameter does not exist or cannot have its value.
        """
        parts = list(value) if isinstance(value, list | tuple) else [value]
        start = None
        if parts and isinstance(parts[0], Mapping) and "method" not in parts[0]:
            first = parts.pop(0)
            [(kind, name)] = first.items() if len(first) == 1 else [(None, None)]
            if kind not in STARTS or not isinstance(name, str):
                starts = ", ".join(f"{{{word}: {what}}}" for word, what in STARTS.items())
                raise UserError(f"{dict(first)!r} is no method; expected {{method: NAME}} or one of {starts}.")
            start = (kind, name)
        steps = tuple(_step(part) for part in parts)
        if not steps and start is None:
            raise UserError("a recipe is empty; expected at least one method.")
        recipe = cls(steps, start)
        recipe.at(2.0).check()
        return recipe

    def at(self, factor: float) -> Recipe:
        """The recipe with this factor where a method takes one and names none."""
        steps = [
            {"method": step["method"], "factor": factor, **step} if _takes_factor(step) else step for step in self.steps
        ]
        return replace(self, steps=tuple(steps))

    def check(self) -> None:
        """Try the methods on a table; a list of factors fixes how many pairs it must have.

        Raises:
            UserError: see :func:`ropewalk.rope.apply`.
        """
        tried(self.steps)

    @property
    def method(self) -> str:
        """The names of its methods, joined by ``+``."""
        return "+".join(step["method"] for step in self.steps) or "default"

    def to_json(self) -> list[Mapping[str, Any]]:
        """The steps as a job gets them; the start is one of its inputs."""
        return list(self.steps)


def tried(steps: Sequence[Mapping[str, Any]], pairs: int = 32) -> Rope:
    """A recipe on a table that stands in for a model's, of which more is not known yet.

    Its training length is longer than any model's, so that no window is refused here that fits the model; what does not
    fit it is refused when its rope is made.
    """
    lists = [step["long_factor"] for step in steps if isinstance(step.get("long_factor"), list)]
    return cook(default_rope(2 * (len(lists[0]) if lists else pairs), 1e4, 2**24), steps)


def _step(part: Any) -> Mapping[str, Any]:
    """A method with its parameters, as a job gets it."""
    step = {"method": part} if isinstance(part, str) else part
    if not isinstance(step, Mapping) or not isinstance(step.get("method"), str):
        raise UserError(f"{part!r} is no method; expected a name, or {{method: NAME}} with parameters.")
    # YAML reads 1e6 as a word.
    return {
        key: float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
        for key, value in step.items()
    }


def _takes_factor(step: Mapping[str, Any]) -> bool:
    """Whether a method takes a factor; a group stands in its place."""
    method = step["method"]
    return method in METHODS and "factor" in inspect.signature(METHODS[method]).parameters and "group" not in step

"""Ropes by name: a method of the registry with its parameters."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from ropewalk.config.section import Name, Section, faults_of_a_key
from ropewalk.rope.methods import METHODS, apply, default_rope


class NamedRope(Section):
    """A rope to evaluate: a method of the registry with its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: Name = Field(description="name in files, tables and figures")
    method: str = Field(description=f"one of {', '.join(METHODS)}")
    resonance: bool = Field(False, description="round the wavelengths to integers after everything else")

    @model_validator(mode="after")
    def _method_and_parameters_exist(self) -> NamedRope:
        if self.method not in METHODS:
            raise ValueError(f"method {self.method!r} is not known{nearest(self.method, METHODS)}")
        allowed = method_parameters(self.method)
        for key in self.model_extra or {}:
            if key not in allowed:
                have = ", ".join(allowed) or "no parameters"
                raise ValueError(f"method {self.method!r} has no parameter {key!r}; it has {have}")
        for key, parameter in allowed.items():
            needed = parameter.default is inspect.Parameter.empty and key != "factor"
            if needed and key not in (self.model_extra or {}):
                raise ValueError(f"method {self.method!r} needs the parameter {key!r}")
        given = self.parameters(factor=2.0)
        # Any table shows whether the values are good; a list of factors fixes how many pairs it must have.
        pairs = len(given["long_factor"]) if isinstance(given.get("long_factor"), list) else 32
        with faults_of_a_key():
            apply(default_rope(2 * pairs, 1e4, 128), self.method, **given)
        return self

    def parameters(self, factor: float) -> dict[str, Any]:
        """Parameters for the method; ``factor`` serves where the method takes one and none is given."""
        given = dict(self.model_extra or {})
        return {"factor": factor, **given} if "factor" in method_parameters(self.method) else given


def check_names(ropes: Sequence[NamedRope]) -> None:
    names = [rope.name for rope in ropes]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"rope name {name!r} stands for {names.count(name)} ropes")


def method_parameters(method: str) -> dict[str, inspect.Parameter]:
    """The keyword parameters of a rope method."""
    parameters = inspect.signature(METHODS[method], eval_str=True).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def nearest(word: str, known: Any) -> str:
    """What a mistyped word may have meant, as the end of a sentence; nothing where nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

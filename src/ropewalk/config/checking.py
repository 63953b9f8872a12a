"""Check a configuration, and say in one sentence what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ropewalk.config.ropes import nearest
from ropewalk.config.schema import Config
from ropewalk.errors import UserError


def check_config(values: Mapping[str, Any]) -> Config:
    """Check a configuration.

    Raises:
        UserError: one sentence for the first fault that names the key, the value and what is allowed.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        # A mistyped key explains the missing one beside it.
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        more = f" ({error.error_count() - 1} more faults)" if error.error_count() > 1 else ""
        raise UserError(_sentence(first) + more) from None


def _sentence(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        siblings = _fields_at(fault["loc"][:-1])
        meant = nearest(str(fault["loc"][-1]), siblings)
        return f"config key {key!r} is not known{meant}; allowed: {', '.join(siblings)}."
    if fault["type"] == "missing":
        return f"config key {key!r} is missing; it has no default."
    if fault["type"] == "value_error":
        reason = str(fault["ctx"]["error"])
        return f"config{f' key {key!r}' if key else ''}: {reason}."
    if fault["type"] == "string_pattern_mismatch":
        return f"config key {key!r} is {fault['input']!r}; expected {_description(fault['loc'])}."
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"config key {key!r} is {fault['input']!r}: {message}."


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    """Names of the keys that the schema allows at a place in the configuration."""
    section = _section_at(location)
    return list(section.model_fields) if section else []


def _description(location: tuple[Any, ...]) -> str:
    """What the schema says of a key."""
    section = _section_at(location[:-1])
    known = section.model_fields.get(str(location[-1])) if section else None
    return known.description or "" if known else "letters, digits, '_', '-' and '.' only"


def _section_at(location: tuple[Any, ...]) -> type[BaseModel] | None:
    here: Any = Config
    for part in location:
        here = here.model_fields[part].annotation if _is_section(here) else get_args(here)[-1]
        if get_origin(here) not in (dict, list):
            here = next((kind for kind in get_args(here) if _is_section(kind)), here)
    return here if _is_section(here) else None


def _is_section(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseModel)

"""Options: what a stage can be told, as stdlib dataclasses that check themselves.

An option stands once, as a field of a class in the stage that uses it, with its default, its range and an attribute
docstring. The configuration of a study, its schema and comments, the JSON that a job gets, and the record in MLflow are
all made from that field. Only reading JSON or YAML needs pydantic; stages import without it.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from types import MappingProxyType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ropewalk.errors import ConfigError, OptionError, UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The numbers that an option may be; of a list, what each of its items may be."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    multiple_of: int | None = None

    def holds(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    def __str__(self) -> str:
        parts = [
            f"{word} {bound:g}"
            for word, bound in (
                ("at least", self.at_least),
                ("above", self.above),
                ("at most", self.at_most),
                ("below", self.below),
                ("a multiple of", self.multiple_of),
            )
            if bound is not None
        ]
        return " and ".join(parts)

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        names = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
        bounds = (self.at_least, self.above, self.at_most, self.below, self.multiple_of)
        schema: dict[str, Any] = handler(core_schema)
        target = schema["items"] if schema.get("type") == "array" else schema
        target.update({name: bound for name, bound in zip(names, bounds, strict=True) if bound is not None})
        return schema


Count = Annotated[int, Range(at_least=1)]
Seed = Annotated[int, Range(at_least=0)]
Seeds = Annotated[tuple[int, ...], Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Positive = Annotated[float, Range(above=0)]
Tokens = Annotated[int, Range(at_least=2)]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
DTYPE: Dtype = "auto"
CONFIDENCE = 0.95
Split = Literal["train", "search", "selection", "test"]


class Options:
    """Base of all classes of options: a frozen, keyword-only dataclass whose values are checked when it is made."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, (range_, choices) in _limits(kind).items():
            value = getattr(self, name)
            for item in value if isinstance(value, list | tuple) else [value]:
                if range_ is not None and isinstance(item, int | float) and not range_.holds(item):
                    raise OptionError(f"is {item!r}; expected {range_}.", name)
                if choices and isinstance(item, str) and item not in choices:
                    raise OptionError(f"is {item!r}; expected one of {', '.join(choices)}.", name)
        try:
            self.check()
        except OptionError:
            raise
        except UserError as error:
            raise OptionError(str(error)) from None

    def check(self) -> None:
        """Raise ``UserError`` where options do not fit each other."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """What every report is told."""

    experiment: str
    """name of the experiment in tables and scores"""
    confidence: Annotated[float, Range(above=0, below=1)]
    """confidence of the intervals"""


@cache
def _limits(kind: Any) -> dict[str, tuple[Range | None, tuple[str, ...]]]:
    """Range and choices of the fields of a class that have any."""
    hints = get_type_hints(kind, include_extras=True)
    found: dict[str, tuple[Range | None, tuple[str, ...]]] = {}
    for field in fields(kind):
        ranges, choices = [], []
        pending = [hints[field.name]]
        while pending:
            hint = pending.pop()
            if get_origin(hint) is Annotated:
                ranges += [note for note in hint.__metadata__ if isinstance(note, Range)]
                pending.append(hint.__origin__)
            elif get_origin(hint) is Literal:
                choices += [str(choice) for choice in get_args(hint)]
            elif get_origin(hint) in (Union, UnionType, list, tuple):
                pending += get_args(hint)
        if ranges or choices:
            found[field.name] = (ranges[0] if ranges else None, tuple(choices))
    return found


@cache
def descriptions(kind: Any) -> dict[str, str]:
    """The attribute docstrings of a class of options and of its bases, by field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not is_dataclass(base):
            continue
        source = inspect.getsource(base)  # type: ignore[arg-type]
        [body] = ast.parse(textwrap.dedent(source)).body
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
                found[field.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return found


def plain(options: Any) -> dict[str, Any]:
    """Options as JSON holds them."""
    value: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return value


def to_json(options: Any) -> str:
    """Options as the JSON that a job gets: on one line, keys in order."""
    return json.dumps(plain(options), sort_keys=True)


def from_json(kind: type[T], text: str, option: str = "--options") -> T:
    """Read what a job gets.

    Raises:
        ConfigError: it is no JSON object, or see :func:`validate`.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{option} is not JSON ({error}); it is {text[:200]!r}.") from None
    return validate(kind, value, option)


def validate(
    kind: type[T],
    value: Any,
    where: str,
    *,
    keys: str | Callable[[str], str] = "",
    fixed: Mapping[str, Any] = MappingProxyType({}),
) -> T:
    """Make options from a mapping.

    Args:
        kind: class of the options.
        value: of YAML or JSON.
        where: what the sentence begins with, as ``config`` or ``--options``.
        keys: the keys that lead to the value, joined by dots; or what finds them for an option, where options come from
            several places (of the empty name for what is wrong with them together).
        fixed: options that are decided elsewhere, which the value must not name.

    Raises:
        ConfigError: one sentence for the first fault, which names key, value and what is allowed.
    """
    from pydantic import ValidationError

    at = keys if callable(keys) else lambda option: keys
    allowed = [field.name for field in fields(kind) if field.name not in fixed]  # type: ignore[arg-type]
    if not isinstance(value, Mapping):
        named = f"{where} key {at('')!r}" if at("") else where
        raise ConfigError(f"{named} is {value!r}; expected keys: {', '.join(allowed)}.")
    for option in value:
        if option in fixed:
            named = f"{where} key {_dotted(at(option), option)!r}"
            raise ConfigError(f"{named} is decided elsewhere; allowed here: {', '.join(allowed)}.")
    try:
        made: T = _adapter(kind).validate_python({**value, **fixed})  # type: ignore[arg-type]
        return made
    except ValidationError as error:
        # A mistyped key explains the missing one beside it.
        faults = error.errors()
        first = min(faults, key=lambda fault: fault["type"] != "unexpected_keyword_argument")
        # Of a key that takes a list or a word, a wrong value is one fault and not two.
        beside = [one for one in faults if one is not first and one["loc"][:-1] == first["loc"][:-1]]
        words = [one["ctx"]["expected"] for one in beside if str(one["loc"][-1]).startswith("literal[")]
        left = len(faults) - 1 - len(words)
        more = f" ({left} more faults)" if left else ""
        raise ConfigError(_sentence(kind, first, where, at, allowed, words) + more) from None


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _dotted(*keys: str) -> str:
    return ".".join(key for key in keys if key)


def _sentence(
    kind: type, fault: Any, where: str, at: Callable[[str], str], allowed_here: list[str], words: list[str]
) -> str:
    # Without what pydantic adds: the branch of a union, and whether a key or a value is meant.
    marks = ("list[", "tuple[", "dict[", "literal[", "function-", "[")
    parts = [str(part) for part in fault["loc"]]
    location = [part for part in parts if not part.startswith(marks) and part not in ("float", "int", "str")]
    error = fault.get("ctx", {}).get("error")
    if isinstance(error, OptionError) and error.option:
        location.append(error.option)
    key = _dotted(at(location[0] if location else ""), *location)
    named = f"{where} key {key!r}" if key else where
    match fault["type"]:
        case "unexpected_keyword_argument":
            siblings = _fields_at(kind, location[:-1]) if location[1:] else allowed_here
            allowed = f"; allowed: {', '.join(siblings)}" if siblings else ""
            return f"{named} is not known{nearest(location[-1], siblings)}{allowed}."
        case "missing":
            return f"{named} is missing; it has no default."
        case "value_error" if isinstance(error, OptionError) and error.option:
            return f"{named} {error.said}"
        case "value_error":
            return f"{named}: {str(error).rstrip('.')}."
        case "tuple_type":
            return f"{named} is {fault['input']!r}; expected {' or '.join(['a list', *words])}."
        case "string_pattern_mismatch":
            return f"{named} is {fault['input']!r}; expected letters, digits, '_', '-' and '.' only."
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{named} is {fault['input']!r}: {message}."


def _fields_at(kind: Any, location: Iterable[str]) -> list[str]:
    """Names of the fields of the options that lie at a place below a class of options."""
    for part in location:
        if is_dataclass(kind):
            kind = get_type_hints(kind).get(part)
        else:  # an item of a list or of a mapping
            kind = next((arg for arg in reversed(get_args(kind)) if arg not in (type(None), ...)), None)
        while get_origin(kind) in (Union, UnionType):
            kind = next((arg for arg in get_args(kind) if arg not in (str, type(None))), None)
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []


def nearest(word: str, known: Iterable[str]) -> str:
    """What a mistyped word may have meant, as the end of a sentence; nothing where nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

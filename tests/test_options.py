"""Options stand once: a field with a range, a description and a default, checked wherever it is read."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml

import ropewalk
from ropewalk.cli.options import options_text
from ropewalk.errors import ConfigError, OptionError, UserError
from ropewalk.options import Count, Options, Range, Share, descriptions, from_json, plain, to_json, validate

PACKAGE = Path(ropewalk.__file__).parent
CONFIG = PACKAGE.parents[1] / "config"


@dataclass(frozen=True, kw_only=True)
class Inner(Options):
    """Options within options."""

    share: Share = 0.5
    """a share"""
    word: Literal["one", "two"] = "one"
    """a word"""


@dataclass(frozen=True, kw_only=True)
class Base(Options):
    """What others inherit."""

    count: Count
    """how many,
    in a sentence of two lines"""
    limit: Count | None = None
    """the most; none where null"""


@dataclass(frozen=True, kw_only=True)
class Outer(Base):
    """All kinds of field."""

    lengths: Annotated[tuple[int, ...], Range(at_least=2, multiple_of=2)] = (2, 4)
    """lengths"""
    inner: Inner = Inner()
    """what is inside"""
    inners: tuple[Inner, ...] = ()
    """several"""
    named: dict[str, Inner] = dataclasses.field(default_factory=dict)
    """by name"""
    free: dict[str, Any] = dataclasses.field(default_factory=dict)
    """anything"""

    def check(self) -> None:
        if self.limit is not None and self.limit < self.count:
            raise UserError(f"limit is {self.limit}; expected at least count, {self.count}.")


def option_classes() -> Iterator[type[Options]]:
    """All classes of options of the package."""
    for module in pkgutil.walk_packages(ropewalk.__path__, "ropewalk."):
        source = (PACKAGE / Path(*module.name.split(".")[1:])).with_suffix(".py")
        if source.is_file() and "Options)" in source.read_text():
            importlib.import_module(module.name)
    pending: list[type] = [Options]
    while pending:
        for kind in pending.pop().__subclasses__():
            pending.append(kind)
            if kind.__module__.startswith("ropewalk."):
                yield kind


KINDS = sorted(set(option_classes()), key=lambda kind: (kind.__module__, kind.__name__))


# Ranges


@pytest.mark.parametrize(
    ("range_", "held", "refused", "words"),
    [
        (Range(at_least=1), (1, 2.5), (0, 0.99), "at least 1"),
        (Range(above=0), (1e-9,), (0, -1), "above 0"),
        (Range(at_least=0, at_most=1), (0, 1), (-0.1, 1.1), "at least 0 and at most 1"),
        (Range(above=0, below=1), (0.5,), (0, 1), "above 0 and below 1"),
        (Range(at_least=2, multiple_of=2), (2, 8), (0, 3), "at least 2 and a multiple of 2"),
        (Range(above=0, at_most=1e6), (1e6,), (1e6 + 1,), "above 0 and at most 1e+06"),
        (Range(), (-1e9, 0), (), ""),
    ],
)
def test_a_range_holds_numbers_and_says_which(range_, held, refused, words):
    assert all(range_.holds(value) for value in held)
    assert not any(range_.holds(value) for value in refused)
    assert str(range_) == words
    if refused:
        assert not range_.holds(float("nan"))


def test_a_range_stands_in_the_schema():
    from pydantic import TypeAdapter

    properties = TypeAdapter(Outer).json_schema()["properties"]
    assert properties["count"]["minimum"] == 1
    assert properties["lengths"]["items"] == {"type": "integer", "minimum": 2, "multipleOf": 2}
    assert TypeAdapter(Inner).json_schema()["properties"]["share"]["maximum"] == 1


# Options check themselves


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"count": 0}, "count is 0; expected at least 1."),
        ({"count": 2, "limit": 1}, "limit is 1; expected at least count, 2."),
        ({"count": 1, "limit": 0}, "limit is 0; expected at least 1."),
        ({"count": 1, "lengths": (2, 3)}, "lengths is 3; expected at least 2 and a multiple of 2."),
        ({"count": 1, "lengths": [0]}, "lengths is 0; expected at least 2 and a multiple of 2."),
    ],
)
def test_options_check_themselves_when_they_are_made(values, said):
    with pytest.raises(OptionError) as caught:
        Outer(**values)
    assert str(caught.value) == said
    assert isinstance(caught.value, ValueError)  # which pydantic asks for


def test_words_are_checked_too():
    with pytest.raises(OptionError, match="word is 'three'; expected one of one, two"):
        Inner(word="three")
    with pytest.raises(TypeError):
        Inner(0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Inner().share = 1.0


def test_stages_check_their_options_without_pydantic():
    modules = sorted({kind.__module__ for kind in KINDS})
    assert len(modules) >= 9
    code = (
        f"import sys, importlib\nfor name in {modules}: importlib.import_module(name)\n"
        "from ropewalk.training.options import TuningOptions\n"
        "try: TuningOptions(steps=0, learning_rate=1, length=2, batch_tokens=2)\n"
        "except ValueError as error: print(error)\n"
        "print(*{'pydantic', 'torch', 'typer', 'optuna', 'mlflow', 'snakemake'} & set(sys.modules))"
    )
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert shown == "steps is 0; expected at least 1.\n\n"


# Descriptions


def test_descriptions_are_the_attribute_docstrings_and_those_of_bases():
    assert descriptions(Outer) == {
        "count": "how many, in a sentence of two lines",
        "limit": "the most; none where null",
        "lengths": "lengths",
        "inner": "what is inside",
        "inners": "several",
        "named": "by name",
        "free": "anything",
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_option_of_the_package_has_a_description(kind):
    notes = descriptions(kind)
    for field in fields(kind):
        note = notes.get(field.name, "")
        assert len(note.split()) >= 2, f"{kind.__name__}.{field.name} is described as {note!r}"
        # It stands alone: no word of it speaks of an option that was named before.
        assert not note.lower().startswith(("its ", "their ", "the same", "see ", "of it", "as above")), note
        assert not note.endswith("."), note
    assert kind.__doc__
    assert not kind.__doc__.startswith(kind.__name__ + "("), "dataclasses make that one where there is none"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_class_of_options_checks_itself_and_takes_names_only(kind):
    assert "__post_init__" not in vars(kind), "a class of options puts what it checks into check()"
    assert kind.__dataclass_params__.frozen
    for field in fields(kind):
        assert field.default is dataclasses.MISSING or not isinstance(field.default, list | dict)


# JSON


def test_options_survive_json():
    options = Outer(count=2, lengths=(6,), inners=(Inner(share=1.0),), named={"a": Inner(word="two")}, free={"x": [1]})
    text = to_json(options)
    assert "\n" not in text
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert from_json(Outer, text) == options
    assert plain(options)["inners"] == [{"share": 1.0, "word": "one"}]
    assert from_json(Outer, '{"count": 3}') == Outer(count=3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "--options is not JSON (Expecting property name"),
        ("", "--options is not JSON (Expecting value"),
        ("[1]", "--options is [1]; expected keys: count, limit, lengths, inner, inners, named, free."),
        ("3", "--options is 3; expected keys: count, limit,"),
        ("{}", "--options key 'count' is missing; it has no default."),
        ('{"cuont": 1}', "--options key 'cuont' is not known (did you mean 'count'?); allowed: count, limit,"),
        ('{"count": 1, "zzz": 1}', "--options key 'zzz' is not known; allowed: count, limit,"),
        ('{"count": "many"}', "--options key 'count' is 'many': input should be a valid integer"),
        ('{"count": 0}', "--options key 'count' is 0; expected at least 1."),
        ('{"count": 2, "limit": 1}', "--options: limit is 1; expected at least count, 2."),
        ('{"count": 1, "lengths": 2}', "--options key 'lengths' is 2; expected a list."),
        ('{"count": 1, "lengths": [2, "x"]}', "--options key 'lengths.1' is 'x': input should be a valid integer"),
        (
            '{"count": 1, "inner": {"shar": 1}}',
            "--options key 'inner.shar' is not known (did you mean 'share'?); allowed: share, word.",
        ),
        (
            '{"count": 1, "inner": {"share": 2}}',
            "--options key 'inner.share' is 2.0; expected at least 0 and at most 1.",
        ),
        (
            '{"count": 1, "inner": {"share": NaN}}',
            "--options key 'inner.share' is nan: input should be a finite number.",
        ),
        ('{"count": 1, "inner": {"word": "x"}}', "--options key 'inner.word' is 'x': input should be 'one' or 'two'."),
        (
            '{"count": 1, "inners": [{}, {"wrd": 1}]}',
            "--options key 'inners.1.wrd' is not known (did you mean 'word'?); allowed: share, word.",
        ),
        ('{"count": 1, "inners": [{"share": -1}]}', "--options key 'inners.0.share' is -1.0; expected at least 0"),
        (
            '{"count": 1, "named": {"a": {"wrd": 1}}}',
            "--options key 'named.a.wrd' is not known (did you mean 'word'?); allowed: share, word.",
        ),
        ('{"count": 1, "named": 3}', "--options key 'named' is 3: input should be a valid dictionary."),
    ],
)
def test_a_fault_is_one_sentence_with_its_place(text, said):
    with pytest.raises(ConfigError) as caught:
        from_json(Outer, text)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_further_faults_are_counted_and_a_mistyped_key_comes_first():
    with pytest.raises(ConfigError, match=r"'cuont' is not known .* \(1 more faults\)$"):
        from_json(Outer, '{"cuont": 1}')


def test_another_option_of_the_command_line_is_named():
    with pytest.raises(ConfigError, match="^--layout is not JSON"):
        from_json(Inner, "x", "--layout")
    with pytest.raises(ConfigError, match=r"^config key 'a\.b\.shar' is not known"):
        validate(Inner, {"shar": 1}, "config", keys="a.b")
    with pytest.raises(ConfigError, match=r"^config key 'a\.b' is 3; expected keys: share, word\.$"):
        validate(Inner, 3, "config", keys="a.b")


def test_options_from_several_places_are_named_where_they_were_written():
    def place(option: str) -> str:
        return "second" if option == "count" else "first"

    for value, said in (
        ({"count": 0}, "config key 'second.count' is 0"),
        ({"count": 1, "inner": {"x": 1}}, "config key 'first.inner.x' is not known"),
        ({"count": 2, "limit": 1}, "config key 'first': limit is 1"),
    ):
        with pytest.raises(ConfigError) as caught:
            validate(Outer, value, "config", keys=place)
        assert str(caught.value).startswith(said)


def test_what_is_decided_elsewhere_may_not_be_named():
    assert validate(Outer, {"limit": 5}, "config", fixed={"count": 2}) == Outer(count=2, limit=5)
    with pytest.raises(ConfigError) as caught:
        validate(Outer, {"count": 3}, "config", keys="a", fixed={"count": 2})
    assert str(caught.value) == (
        "config key 'a.count' is decided elsewhere; allowed here: limit, lengths, inner, inners, named, free."
    )
    with pytest.raises(ConfigError) as caught:
        validate(Outer, {"cuont": 3}, "config", fixed={"count": 2})
    assert "count," not in str(caught.value).split("allowed:")[1]


# Help


def test_help_says_types_in_words_and_defaults_as_json():
    text = options_text(Outer, "--options")
    assert text.splitlines() == [
        "--options:",
        "  count (whole number at least 1; needed)",
        "      how many, in a sentence of two lines",
        "  limit (whole number at least 1 or null; default null)",
        "      the most; none where null",
        "  lengths (list of whole numbers at least 2 and a multiple of 2; default [2, 4])",
        "      lengths",
        '  inner (keys share, word; default {"share": 0.5, "word": "one"})',
        "      what is inside",
        "  inners (list of keys share, word; default [])",
        "      several",
        "  named (keys of your own; default {})",
        "      by name",
        "  free (keys of your own; default {})",
        "      anything",
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_help_of_every_class_is_readable(kind):
    text = options_text(kind, "--options")
    for word in (
        "tuple[",
        "Literal",
        "Optional",
        "typing",
        "<class",
        "NoneType",
        "Annotated",
        "True",
        "False",
        " None",
    ):
        assert word not in text
    assert max(map(len, text.splitlines())) <= 100
    assert all(f"  {field.name} (" in text for field in fields(kind))


# No second default


@cache
def defaults() -> dict[str, set[tuple[type, Any]]]:
    """The defaults of all options by name; those that say nothing (null, empty) are left out."""
    found: dict[str, set[tuple[type, Any]]] = {}
    for kind in KINDS:
        for field in fields(kind):
            if isinstance(field.default, int | float | str) or (isinstance(field.default, tuple) and field.default):
                found.setdefault(field.name, set()).add((type(field.default), field.default))
    return found


def parameters(tree: ast.AST) -> Iterator[tuple[str, Any, int]]:
    """Parameters of functions that have a literal default."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            given = [*node.args.posonlyargs, *node.args.args]
            pairs = [*zip(reversed(given), reversed(node.args.defaults), strict=False)]
            pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            for parameter, value in pairs:
                try:
                    yield parameter.arg, ast.literal_eval(value), node.lineno
                except (ValueError, TypeError, SyntaxError):
                    continue


def repeated(tree: ast.AST) -> list[str]:
    """Parameters whose literal default is that of an option of the same name."""
    known = defaults()
    return [
        f"{name}={value!r} in line {line}"
        for name, value, line in parameters(tree)
        # The seed of a bootstrap is no option.
        if name != "seed"
        and isinstance(value, int | float | str | tuple)
        and (type(value), value) in known.get(name, ())
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_default_of_an_option_stands_a_second_time(path):
    """A command or a function that needs one says whose it is: ``text_key=CorpusOptions.text_key``."""
    assert repeated(ast.parse(path.read_text())) == []


def test_a_second_default_would_be_found():
    assert repeated(ast.parse("def build(source, *, text_key: str = 'text'): ...")) == ["text_key='text' in line 1"]
    assert repeated(ast.parse("def f(a, schedule='cosine'): ...")) == ["schedule='cosine' in line 1"]
    assert repeated(ast.parse("def f(checkpoint_every=250): ...")) == ["checkpoint_every=250 in line 1"]
    assert repeated(ast.parse("def f(batch_size=1, text_key=CorpusOptions.text_key, seed=0): ...")) == []
    assert len(defaults()) > 60


def test_the_workflow_names_no_option():
    """Rules hand options over whole; what a preset or a rule repeated would be a second default."""
    rules = [*CONFIG.parent.glob("workflow/**/*.smk"), CONFIG.parent / "Snakefile"]
    assert len(rules) > 6
    names = {name for name in defaults() if "_" in name} - {"mem_mb", "test_documents"}
    assert {"batch_size", "read_to", "checkpoint_every"} & names
    for path in rules:
        words = set(path.read_text().replace('"', " ").replace("'", " ").replace("=", " ").split())
        assert not words & names, path.name


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_preset_repeats_a_default_of_a_study(path):
    """``default.yaml`` is made from the defaults; a preset holds what differs."""
    from ropewalk.study import Config

    values = yaml.safe_load(path.read_text())
    top = {field.name: field.default for field in fields(Config) if field.default is not dataclasses.MISSING}
    if path.name != "default.yaml":
        assert not [key for key, value in values.items() if key in top and top[key] == value and key != "factor"]

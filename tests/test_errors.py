"""Errors are types with fields: code asks the type, and never looks for words in a message."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from ropewalk.errors import ConfigError, NoRoomError, OptionError, UserError, ValueFault
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.options import from_json
from ropewalk.reading.needle import hide
from ropewalk.reading.options import CopyingOptions
from ropewalk.reading.puzzles import PUZZLES, make_prompt
from ropewalk.rope import Rope, default_rope
from ropewalk.rope.prediction import Setting, predict

PACKAGE = Path(__file__).parent.parent / "src/ropewalk"
FOREIGN = {"reading/nll.py", "files.py"}
"""Where errors of torch and of libraries that write files are told apart, which have no types of their own."""


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Setting(63, 1e4, 64, 64, 1e4), "rotary_dim"),
        (lambda: Setting(64, 1.0, 64, 64, 1e4), "base"),
        (lambda: Setting(64, 1e4, 64, 64, 1.0), "new_base"),
        (lambda: Setting(64, 1e4, 0, 64, 1e4), "train_length"),
        (lambda: Setting(64, 1e4, 64, 32, 1e4), "tune_length"),
        (lambda: predict(Setting(64, 1e4, 64, 64, 1e4), 32), "target_length"),
        (lambda: Rope(64, 1e4, 64, [1.0]), "inv_freq"),
        (lambda: default_rope(64, float("nan"), 64), "base"),
    ],
)
def test_a_value_that_cannot_be_has_a_name(make, name):
    with pytest.raises(ValueFault) as caught:
        make()
    assert caught.value.name == name
    assert str(caught.value) == f"{name} {caught.value.said}"


def test_a_text_without_room_says_how_much_is_needed():
    text, tokenizer = np.zeros(64, dtype=np.int64), byte_tokenizer()
    with pytest.raises(NoRoomError, match="a fact, its question and its answer alone take") as caught:
        hide(tokenizer, text, 64, deepest=0.5, rng=np.random.default_rng(0))
    assert caught.value.length == 64 <= caught.value.needed
    puzzle = PUZZLES["multi-key"](np.random.default_rng(0))
    with pytest.raises(NoRoomError, match="facts, question and answer of this task alone take") as caught:
        make_prompt(tokenizer, puzzle, text, length=64, depth=0.5, seed=0)
    assert str(caught.value.needed) in str(caught.value)
    needed = caught.value.needed
    longer = np.zeros(needed + 1, dtype=np.int64)
    assert len(make_prompt(tokenizer, puzzle, longer, length=needed + 1, depth=0.5, seed=0).tokens) <= needed + 1


def test_a_fault_of_an_option_has_its_name_only_where_it_is_its_alone():
    with pytest.raises(OptionError) as caught:
        CopyingOptions(gaps=(1,))
    assert (caught.value.option, str(caught.value)) == ("gaps", "gaps is 1; expected at least 2.")
    with pytest.raises(OptionError) as caught:
        CopyingOptions(gaps=())
    assert (caught.value.option, str(caught.value)) == (
        None,
        "gaps is empty; expected at least one distance in tokens.",
    )
    with pytest.raises(ConfigError):
        from_json(CopyingOptions, "{}")


def test_a_damaged_rope_names_its_file_once(tmp_path, monkeypatch):
    """Also where the name of the file stands in the sentence anyway."""
    monkeypatch.chdir(tmp_path)
    path = Path("format")
    path.write_text('{"format": "other"}')
    with pytest.raises(UserError) as caught:
        Rope.load(path)
    assert str(caught.value) == "format: format is 'other'; expected 'ropewalk.rope/1'."
    path.write_text("[")
    with pytest.raises(UserError, match="^format is damaged or not a rope") as caught:
        Rope.load(path)
    with pytest.raises(UserError, match="^none.json: no such file"):
        Rope.load("none.json")


def test_no_code_looks_for_words_in_a_message():
    """``"words" in str(error)``, ``str(error).startswith(...)``, ``re.sub(..., str(error))``."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            compared = isinstance(node, ast.Compare) and any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
            called = isinstance(node, ast.Call) and re.match(
                r"re\.|str\(error\)\.(startswith|endswith|find|index|count)", ast.unparse(node)
            )
            if (compared or called) and "str(error)" in ast.unparse(node):
                found.add(str(path.relative_to(PACKAGE)))
    assert found == FOREIGN

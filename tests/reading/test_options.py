from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import get_args

import pytest

from ropewalk.errors import OptionError, UserError
from ropewalk.options import descriptions, from_json, to_json
from ropewalk.reading.leval.tasks import TASKS
from ropewalk.reading.options import (
    CopyingOptions,
    LEvalOptions,
    LEvalTask,
    NeedleOptions,
    NllOptions,
    PocketOptions,
    Puzzle,
)
from ropewalk.reading.puzzles import PUZZLES

MADE = [
    NllOptions(read_to=128, dynamic_lengths=(32, 64), window=16, window_stride=4),
    CopyingOptions(gaps=(8, 64)),
    NeedleOptions(lengths=(64, 128), depths=(0, 0.5)),
    LEvalOptions(data="pocket", pocket=PocketOptions(documents=1), documents=3, prompts="mine"),
    PocketOptions(),
]


@pytest.mark.parametrize("made", MADE, ids=lambda made: type(made).__name__)
def test_every_option_is_described_and_read_back_from_json(made):
    assert set(descriptions(type(made))) == {field.name for field in fields(made)}
    assert from_json(type(made), to_json(made)) == made


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"read_to": 1}, "read_to is 1; expected at least 2"),
        ({"documents": 0}, "documents is 0; expected at least 1"),
        ({"split": "tests"}, "split is 'tests'; expected one of train, search, selection, test"),
        ({"dynamic_lengths": (64, 1)}, "dynamic_lengths is 1; expected at least 2"),
        ({"dynamic_lengths": (64, 256)}, "dynamic_lengths go to 256; expected at most read_to, 128"),
        ({"window": 256}, "window is 256; expected an even number of 2 to 128 tokens"),
        ({"window": 33}, "window is 33; expected an even number of 2 to 128 tokens"),
        ({"window": 256, "window_stride": 3}, "window is 256; expected 2 to 128 tokens"),
        ({"window": 32, "window_stride": 32}, "window_stride is 32; expected fewer tokens than the window"),
        ({"window_stride": 4}, "window_stride is 4; expected fewer tokens than the window"),
        ({"chunk": 0}, "chunk is 0; expected at least 1"),
        ({"dtype": "int8"}, "dtype is 'int8'; expected one of auto, float32, bfloat16, float16"),
    ],
)
def test_documents_that_cannot_be_read_so(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        NllOptions(**{"read_to": 128, **changes})


def test_a_window_may_be_odd_where_its_stride_is_given():
    assert NllOptions(read_to=128, window=33, window_stride=8).window == 33


@pytest.mark.parametrize(
    ("read_to", "lengths"),
    [(1024, [64, 128, 256, 512, 1024]), (1000, [125, 250, 500, 1000]), (100, [100]), (2, [2])],
)
def test_doublings_end_at_what_is_read(read_to, lengths):
    assert NllOptions(read_to=read_to).doublings == lengths


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gaps": ()}, "gaps is empty; expected at least one distance in tokens"),
        ({"gaps": (8, 1)}, "gaps is 1; expected at least 2"),
        ({"samples": 1}, "samples is 1; expected at least 2"),
    ],
)
def test_strings_that_cannot_be_copied(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        CopyingOptions(**{"gaps": (8,), **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lengths": ()}, r"lengths are \[\]; expected ascending ones"),
        ({"lengths": (128, 64)}, r"lengths are \[128, 64\]; expected ascending ones"),
        ({"lengths": (64, 64)}, r"lengths are \[64, 64\]; expected ascending ones"),
        ({"tasks": ("triple",)}, "tasks is 'triple'; expected one of single, passkey"),
        ({"tasks": ()}, "tasks and depths: expected at least one of each"),
        ({"depths": ()}, "tasks and depths: expected at least one of each"),
        ({"depths": (0.5, 1.5)}, "depths is 1.5; expected at least 0 and at most 1"),
        ({"samples": 0}, "samples is 0; expected at least 1"),
        ({"by": "ear"}, "by is 'ear'; expected one of generation, nll"),
    ],
)
def test_facts_that_cannot_be_hidden(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        NeedleOptions(**{"lengths": (64,), **changes})


def test_a_list_of_words_has_no_depth():
    options = NeedleOptions(lengths=(64, 128), tasks=("single", "common-words"), depths=(0.25, 0.75))
    assert options.cells() == [
        *(("single", length, depth) for length in (64, 128) for depth in (0.25, 0.75)),
        *(("common-words", length, 0.25) for length in (64, 128)),
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": "somewhere"}, "data is 'somewhere'; expected pocket, folder:PATH or hub:L4NLP/LEval"),
        ({"data": "folder:"}, "data is 'folder:'; expected pocket"),
        ({"data": "ftp:x"}, "data is 'ftp:x'; expected pocket"),
        ({"context": 500}, "max_new_tokens 512 leaves nothing of the context 500"),
        ({"context": 512}, "max_new_tokens 512 leaves nothing of the context 512"),
        ({"tasks": ()}, "tasks is empty; expected at least one"),
        ({"tasks": ("tpo", "poems")}, "tasks is 'poems'; expected one of tpo, quality"),
        ({"rows": 0}, "rows is 0; expected at least 1"),
        ({"questions": 0}, "questions is 0; expected at least 1"),
    ],
)
def test_questions_that_cannot_be_asked(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        LEvalOptions(**{"data": "pocket", **changes})


def test_a_pocket_edition_that_cannot_be_made_is_named_with_its_key():
    with pytest.raises(OptionError, match="words is 49; expected at least 50"):
        PocketOptions(words=49)
    with pytest.raises(UserError, match="key 'pocket.documents' is 0; expected at least 1"):
        from_json(LEvalOptions, '{"data": "pocket", "pocket": {"documents": 0}}')


def test_every_puzzle_and_task_can_be_asked_for():
    assert set(get_args(Puzzle)) == set(PUZZLES)
    assert list(get_args(LEvalTask)) == list(TASKS)
    assert set(LEvalOptions(data="pocket").tasks) == set(TASKS)


def test_options_are_read_without_torch_or_pydantic():
    code = "import sys, ropewalk.reading.options; sys.exit(bool({'torch', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

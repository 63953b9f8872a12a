from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import pytest

from ropewalk.errors import OptionError, UserError
from ropewalk.options import descriptions, from_json, to_json
from ropewalk.posgen.model import StackedDecoder
from ropewalk.posgen.options import PosGenLayout, PosGenOptions, ScoringOptions
from ropewalk.posgen.tasks import KINDS, Task


def test_defaults_are_those_of_the_paper():
    options = PosGenOptions()
    assert [options.task(kind) for kind in KINDS] == [Task(kind) for kind in KINDS]
    assert (options.given, options.sequences) == (4, 12_000)
    assert -(-options.train_sequences // options.batch_size) * 150 == options.steps, "150 epochs, last batches cut"


@pytest.mark.parametrize("kind", [PosGenOptions, PosGenLayout, ScoringOptions])
def test_every_option_is_described_and_read_back_from_json(kind):
    assert set(descriptions(kind)) == {field.name for field in fields(kind)}
    assert from_json(kind, to_json(kind())) == kind()


def test_a_mistyped_key_is_named():
    with pytest.raises(UserError, match="--options key 'head_dims' is not known .did you mean 'head_dim'"):
        from_json(PosGenOptions, json.dumps({"head_dims": 64}))


def test_layout_is_no_part_of_what_decides_a_result():
    assert not {field.name for field in fields(PosGenLayout)} & {field.name for field in fields(PosGenOptions)}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"modulus": 1}, "modulus is 1; expected at least 2"),
        ({"near": 0}, "near is 0; expected at least 1"),
        ({"data_seed": -1}, "data_seed is -1; expected at least 0"),
        ({"test_sequences": 0}, "test_sequences is 0"),
        ({"head_dim": 7}, "head_dim is 7; expected at least 2 and a multiple of 2"),
        ({"layers": 0}, "layers is 0"),
        ({"base": 1.0}, "base is 1.0; expected above 1"),
        ({"seeds": (-1, 2)}, "seeds is -1; expected at least 0"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected above 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; expected at least 0"),
        ({"dropout": 1.0}, "dropout is 1.0; expected at least 0 and below 1"),
        ({"starts": "other"}, "starts is 'other'; expected one of disjoint, cycled"),
        ({"schedule": "linear"}, "schedule is 'linear'; expected one of constant, one-cycle"),
        ({"keep": "first"}, "keep is 'first'; expected one of last, best"),
        ({"precision": "low"}, "precision is 'low'; expected one of highest, high"),
    ],
)
def test_values_that_an_option_cannot_have_are_named(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        PosGenOptions(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"modulus": 7}, "modulus 7 has 2,401 different starts of 4 tokens; expected at least 12,000"),
        ({"modulus": 3, "starts": "cycled"}, "modulus is 3; expected at least 4"),
        ({"train_length": 4}, "train_length is 4; expected more than the 4 tokens"),
        ({"far": 61}, "train_length is 64; expected more than the 64 tokens"),
        ({"test_length": 64}, "test_length is 64; expected more than train_length, 64"),
        ({"seeds": (1, 2, 1)}, "seeds are 1, 2, 1; expected two or more, all different"),
        ({"seeds": (5,)}, "seeds are 5; expected two or more"),
        ({"cycle_momentum": True}, "cycle_momentum needs the schedule one-cycle; it is constant"),
    ],
)
def test_options_that_do_not_fit_each_other_are_named(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        PosGenOptions(**changes)


def test_an_unknown_kind_of_task_is_named():
    with pytest.raises(UserError, match="task is 'recursiv'; expected one of recursive"):
        PosGenOptions().task("recursiv")


def test_as_many_sequences_can_be_continued_as_there_are():
    ScoringOptions(generated_sequences=1000).check_with(PosGenOptions())
    with pytest.raises(OptionError, match="generated_sequences is 1001; expected at most test_sequences, 1000"):
        ScoringOptions(generated_sequences=1001).check_with(PosGenOptions())
    with pytest.raises(OptionError, match="generated_sequences is 0; expected at least 1"):
        ScoringOptions(generated_sequences=0)


def test_options_are_read_without_torch_or_pydantic():
    code = "import sys, ropewalk.posgen.options; sys.exit(bool({'torch', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("sizes", [{}, {"layers": 3, "heads": 1, "head_dim": 6, "hidden_size": 10}])
def test_parameters_are_those_of_the_decoder(sizes):
    options = PosGenOptions(**sizes)
    assert options.parameters == sum(weights.numel() for weights in StackedDecoder(options, [0]).parameters())

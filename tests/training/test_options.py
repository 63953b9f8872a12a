from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from ropewalk.errors import OptionError, UserError
from ropewalk.options import descriptions, from_json, to_json
from ropewalk.training.options import AdapterOptions, Layout, PretrainingOptions, TrainingOptions, TuningOptions

PRETRAINING = {"steps": 100, "learning_rate": 1e-3}
TUNING = {**PRETRAINING, "length": 64, "batch_tokens": 256}
MADE = [
    PretrainingOptions(**PRETRAINING),
    TuningOptions(**TUNING, lora=AdapterOptions(rank=4, targets=("q_proj",), train_whole=("norm",))),
    AdapterOptions(rank=16),
    Layout(shard=True, context_parallel=2, attention="sdpa"),
]


@pytest.mark.parametrize("made", MADE, ids=lambda made: type(made).__name__)
def test_every_option_is_described_and_read_back_from_json(made):
    assert set(descriptions(type(made))) == {field.name for field in fields(made)}
    assert from_json(type(made), to_json(made)) == made


def test_layout_is_no_part_of_what_decides_a_result():
    deciding = {field.name for kind in (PretrainingOptions, TuningOptions) for field in fields(kind)}
    assert not {field.name for field in fields(Layout)} & deciding


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected above 0"),
        ({"warmup_steps": -1}, "warmup_steps is -1; expected at least 0"),
        ({"schedule": "step"}, "schedule is 'step'; expected one of cosine, linear, constant"),
        ({"final_fraction": 1.5}, "final_fraction is 1.5; expected at least 0 and at most 1"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; expected at least 0"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0; expected at least 0"),
        ({"accumulation": 0}, "accumulation is 0; expected at least 1"),
        ({"copy_fraction": 1.1}, "copy_fraction is 1.1; expected at least 0 and at most 1"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
    ],
)
def test_values_that_no_training_can_have_are_named(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        PretrainingOptions(**{**PRETRAINING, **changes})
    with pytest.raises(OptionError, match=sentence):
        TuningOptions(**{**TUNING, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"length": 1}, "length is 1; expected at least 2"),
        ({"batch_tokens": 100}, "batch_tokens is 100; expected a multiple of the sequence length, 64"),
        ({"accumulation": 3}, "accumulation is 3; expected a divisor of the 4 sequences of 64 tokens in a batch"),
        ({"packed": True, "copy_fraction": 0.5}, "packed sequences are documents only; expected a copy_fraction of 0"),
    ],
)
def test_a_tuning_that_does_not_fit_itself_is_named(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        TuningOptions(**{**TUNING, **changes})


def test_a_pre_training_is_cut_evenly():
    assert PretrainingOptions(**PRETRAINING, batch_size=12, accumulation=3).accumulation == 3
    with pytest.raises(OptionError, match="accumulation is 3; expected a divisor of batch_size, 16"):
        PretrainingOptions(**PRETRAINING, accumulation=3)


def test_sequences_are_cut_among_processes_that_share_the_weights_only():
    with pytest.raises(OptionError, match="context_parallel cuts sequences among processes that share the weights"):
        Layout(context_parallel=2)
    with pytest.raises(OptionError, match="checkpoint_every is 0; expected at least 1"):
        Layout(checkpoint_every=0)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ('{"rank": 0}', "key 'lora.rank' is 0; expected at least 1"),
        ('{"rank": 4, "alpha": 0}', "key 'lora.alpha' is 0.0; expected above 0"),
        ('{"rank": 4, "targets": []}', "key 'lora': targets is empty; expected the name of at least one linear layer"),
        ('{"alpha": 4}', "key 'lora.rank' is missing; it has no default"),
        ('{"rank": 4, "target": ["q_proj"]}', "key 'lora.target' is not known .did you mean 'targets'"),
    ],
)
def test_faults_of_adapters_are_named_with_their_key(value, sentence):
    told = to_json(TuningOptions(**TUNING)).replace('"lora": null', f'"lora": {value}')
    with pytest.raises(UserError, match=sentence):
        from_json(TuningOptions, told)


def test_a_tuning_counts_its_sequences():
    assert TuningOptions(**TUNING).sequences == 4


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("cosine", [0.5, 1.0, 0.55, 0.1]), ("linear", [0.5, 1.0, 0.55, 0.1]), ("constant", [0.5, 1.0, 1.0, 1.0])],
)
def test_schedules_pass_through_their_known_points(schedule, expected):
    options = TrainingOptions(steps=12, learning_rate=1.0, warmup_steps=2, schedule=schedule)
    assert [options.learning_rate_at(step) for step in (0, 2, 7, 12)] == pytest.approx(expected)


def test_a_cosine_is_not_a_line():
    cosine, linear = (TrainingOptions(steps=12, learning_rate=1.0, schedule=kind) for kind in ("cosine", "linear"))
    assert cosine.learning_rate_at(3) == pytest.approx(0.1 + 0.9 * (1 + 2**-0.5) / 2)
    assert linear.learning_rate_at(3) == pytest.approx(0.1 + 0.9 * 0.75)


def test_options_are_read_without_torch_or_pydantic():
    code = "import sys, ropewalk.training.options; sys.exit(bool({'torch', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

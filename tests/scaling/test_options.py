from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import pytest

from ropewalk.errors import OptionError
from ropewalk.options import descriptions, from_json, to_json
from ropewalk.scaling.options import SweepOptions

SHARED = {"experiment": "mine", "confidence": 0.95}


def test_every_option_is_described_and_read_back_from_json():
    options = SweepOptions(**SHARED, thresholds=(0.5, 2.0), tuning_loss=0.3)
    assert set(descriptions(SweepOptions)) == {field.name for field in fields(SweepOptions)}
    assert from_json(SweepOptions, to_json(options)) == options
    assert from_json(SweepOptions, json.dumps(SHARED)) == SweepOptions(**SHARED)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"thresholds": (0.1, 0.0)}, "thresholds is 0.0; expected above 0"),
        ({"thresholds": ()}, "thresholds is empty; expected at least one"),
        ({"tuning_loss": 0}, "tuning_loss is 0; expected above 0"),
        ({"context_use": -1.0}, "context_use is -1.0; expected at least 0"),
        ({"perplexity_ratio": 1.0}, "perplexity_ratio is 1.0; expected above 1"),
        ({"confidence": 1.0}, "confidence is 1.0; expected above 0 and below 1"),
    ],
)
def test_values_that_an_option_cannot_have_are_named(changes, sentence):
    with pytest.raises(OptionError, match=sentence):
        SweepOptions(**{**SHARED, **changes})


def test_rules_are_named_the_main_one_first():
    options = SweepOptions(**SHARED, thresholds=(0.5, 2.0), perplexity_ratio=1.25)
    assert options.rules == ["0.5 nats", "2 nats", "perplexity × 1.25"]


def test_options_are_read_without_torch_or_pydantic():
    code = "import sys, ropewalk.scaling.options; sys.exit(bool({'torch', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

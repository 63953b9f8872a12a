from __future__ import annotations

import json

import pytest

from ropewalk.errors import UserError
from ropewalk.rope.factor_files import read_factors

FACTORS = [1.0, 1.5, 4.25]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "1.0\n1.5\n4.25\n"),
        ("a.csv", "1.000000000000000000e+00\n1.5e0\n4.25\n\n"),
        ("a.csv", "1,1.5,4.25"),
        ("a.csv", "1 1.5 4.25\n1 1.5 4.25\n"),
        ("a.csv", "1,1.5,4.25\n1,1.5,4.25\n"),
        ("c.json", json.dumps({"rope_scaling": {"long_factor": FACTORS, "short_factor": [1, 1, 1]}})),
        ("c.json", json.dumps({"rope_parameters": {"long_factor": FACTORS}, "rope_scaling": None})),
        ("c.json", json.dumps({"text_config": {"rope_parameters": {"long_factor": FACTORS}}})),
    ],
)
def test_factors_are_read_as_others_publish_them(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert read_factors(tmp_path / name, "long_factor") == FACTORS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "is empty; expected divisors"),
        ("a.csv", "1\ntwo\n", "line 2 has 'two'; expected a number"),
        ("a.csv", "1,2\n1,3\n", "line 2 differs from line 1: one rope for each layer"),
        ("c.json", "{}", "no long_factor in rope_parameters or rope_scaling"),
        ("c.json", "[1, 2]", "no long_factor"),
        ("c.json", "{", "damaged or not a model configuration"),
    ],
)
def test_other_files_are_refused(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_factors(tmp_path / name, "long_factor")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv: expected a CSV file of divisors"):
        read_factors(tmp_path / "none.csv", "long_factor")

from __future__ import annotations

import json
import math
from dataclasses import fields

import pytest
from mlflow.utils.validation import _validate_metric_name

from ropewalk.errors import UserError
from ropewalk.scores import Score, Scores, bare_rows, metric_name, number_rows, table_rows

SETTING = {"stage": "finetune", "experiment": "mine", "confidence": 0.9, "ropes": [{"rope": "setting"}]}
ENDS = {"documents": (1.0, 3.0), "seeds": (0.5, 4.0)}


def test_what_is_written_is_what_is_read(tmp_path):
    rows = (
        *number_rows("gain", 2.0, intervals=ENDS, confidence=0.9, rope="reference", length=64, n_seeds=3),
        *bare_rows({"tokens": 7, "seconds": 0.5, "tokens_per_second": None}),
    )
    found = Scores(SETTING, rows)
    found.write(tmp_path / "scores.json")
    assert Scores.read(tmp_path / "scores.json") == found
    first = json.loads((tmp_path / "scores.json").read_text())["rows"][0]
    assert first == {
        "quantity": "gain",
        "value": 2.0,
        "low": 1.0,
        "high": 3.0,
        "confidence": 0.9,
        "over": "documents",
        "rope": "reference",
        "length": 64,
        "n_seeds": 3,
    }
    assert [row.quantity for row in found.rows] == ["gain", "gain", "tokens", "seconds"]


def test_a_number_has_a_row_for_each_interval_and_one_without_any():
    assert [row.over for row in number_rows("x", 1.0, intervals=ENDS)] == ["documents", "seeds"]
    [row] = number_rows("x", 1.0, intervals={"documents": (math.nan, math.nan)}, confidence=0.9)
    assert (row.over, row.low, row.confidence) == (None, None, None)
    assert list(number_rows("x", math.nan)) == []
    [row] = table_rows({"x": 1.0, "x_low": 0.5, "x_high": 2.0}, "x", "y", over="seeds", confidence=0.9, task="t")
    assert row == Score(quantity="x", value=1.0, low=0.5, high=2.0, over="seeds", confidence=0.9, task="t")


def test_what_is_beyond_all_that_was_measured_is_censored(tmp_path):
    rows = tuple(number_rows("limit", math.inf, intervals={"documents": (700.0, math.inf)}, base=1e6))
    Scores({"stage": "scaling"}, rows).write(tmp_path / "scores.json")
    [row] = Scores.read(tmp_path / "scores.json").rows
    assert (row.value, row.censored, row.low, row.high) == (None, True, 700.0, None)


def test_rows_are_chosen_by_their_columns():
    rows = [*number_rows("nll", 2.0, intervals=ENDS, rope="a"), Score(quantity="nll", value=3.0, rope="a", seed=0)]
    found = Scores(SETTING, tuple(rows))
    assert [row.over for row in found.select(rope="a", seed=None)] == ["documents", "seeds"]
    assert found.one(rope="a", seed=0).value == 3.0
    assert found.one(rope="b") is None
    with pytest.raises(ValueError, match="3 rows have"):
        found.one(rope="a")
    both, alone = found.by_interval(quantity="nll")
    assert set(both) == {"documents", "seeds"}
    assert (both["seeds"].high, alone[None].seed) == (4.0, 0)
    with pytest.raises(AttributeError):
        found.select(roap="a")


def test_names_of_metrics_are_legal_and_tell_rows_apart():
    texts = [column.name for column in fields(Score) if column.type == "str | None" and column.name != "over"]
    rows = [Score(quantity="x", value=0.0, **{name: text}) for name in texts for text in ("a+b", "a_b", "a/b", "a × b")]
    rows += [Score(quantity="x", value=1.0, base=base) for base in (1e4, 10_000.5, 1e-7)]
    rows += [Score(quantity="x", value=1.0, log_scaled=flag) for flag in (None, True, False)]
    found = Scores({"stage": "x"}, (*rows, *number_rows("y", 1.0, intervals=ENDS, rope="a")))
    metrics = found.metrics()
    assert len(metrics) == len(found.rows) + 4
    for name in metrics:
        _validate_metric_name(name)
    assert metrics["rope-a/over-seeds/y_high"] == 4.0
    assert metric_name(Score(quantity="objective", value=1.0, method="gp/ramp", factor=4.0)) == (
        "method-gp:ramp/factor-4/objective"
    )


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"quantity": "x", "value": 1.0, "roap": "a"}, "unexpected keyword argument 'roap'"),
        ({"quantity": "x", "value": "1"}, "value is '1'; expected float"),
        ({"quantity": "x", "value": 1.0, "seed": 0.5}, "seed is 0.5; expected int"),
        ({"quantity": "x", "value": True}, "value is True; expected float"),
        ({"quantity": "x"}, "x has no value"),
        ({"quantity": "x", "value": 1.0, "censored": True}, "x has a value and is censored"),
        ({"quantity": "x", "value": math.inf}, "value is inf; expected a finite number"),
    ],
)
def test_a_file_of_another_version_is_one_sentence(tmp_path, row, fault):
    (tmp_path / "scores.json").write_text(json.dumps({"setting": SETTING, "rows": [row]}))
    with pytest.raises(UserError, match="is damaged or of another version") as error:
        Scores.read(tmp_path / "scores.json")
    assert fault in str(error.value)


@pytest.mark.parametrize("content", ["{}", "[]", '{"setting": {}, "rows": []}', '{"accuracy": 0.5}'])
def test_a_file_without_setting_is_of_another_version(tmp_path, content):
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(UserError, match=r"scores\.json is damaged or of another version"):
        Scores.read(tmp_path / "scores.json")


def test_two_rows_of_one_thing_are_refused(tmp_path):
    row = {"quantity": "x", "value": 1.0, "rope": "a"}
    with pytest.raises(UserError, match="two scores are of rope-a/x"):
        Scores(SETTING, (Score(**row), Score(**row)))
    (tmp_path / "scores.json").write_text(json.dumps({"setting": SETTING, "rows": [row, row]}))
    with pytest.raises(UserError, match=r"scores\.json is damaged .*two scores are of rope-a/x"):
        Scores.read(tmp_path / "scores.json")

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from torch import nn

from ropewalk.errors import UserError
from ropewalk.models import binding
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.shape import ModelShape
from ropewalk.options import plain
from ropewalk.reading.copying import copy_accuracy, copy_strings, read_copying
from ropewalk.reading.options import CopyingOptions
from ropewalk.rope import apply, default_rope
from ropewalk.scores import Scores

SYMBOLS = range(10, 20)


def test_strings_repeat_once_after_the_gap_and_are_the_same_for_every_rope():
    strings = copy_strings(SYMBOLS, 24, 5, seed=0)
    assert strings.shape == (5, 48)
    assert (strings[:, 24:] == strings[:, :24]).all()
    assert (strings == copy_strings(SYMBOLS, 24, 5, seed=0)).all()
    assert set(strings.ravel()) == set(SYMBOLS)


class Copier(nn.Module):
    """Predicts the token seen ``gap`` before the next one."""

    def __init__(self, inner: nn.Module, gap: int) -> None:
        super().__init__()
        self.inner, self.gap = inner, gap
        self.config, self.device = inner.config, torch.device("cpu")

    def forward(self, input_ids, use_cache, logits_to_keep):
        predicted = input_ids.roll(self.gap - 1, dims=1)
        return type("Output", (), {"logits": nn.functional.one_hot(predicted, 30)[:, -logits_to_keep:].float()})


def test_accuracy_of_a_model_that_copies_one_distance_only(monkeypatch):
    monkeypatch.setattr(binding, "_prove", lambda *_: None)  # it has no rope to follow
    inner = fresh_llama(ModelShape(16, 1, 1, 1, 16, length=16), 30, seed=0)
    table = copy_accuracy(Copier(inner, 24), read_rope(inner.config), SYMBOLS, [12, 24, 30], samples=20, seed=0)
    accuracy = table.groupby("gap")["accuracy"].mean()
    assert accuracy[24] == 1.0
    # Half of a period of twice the gap is a whole period of this one.
    assert accuracy[12] == 1.0
    assert accuracy[30] < 0.3


def test_an_untrained_model_is_at_chance():
    model = fresh_llama(ModelShape(16, 1, 1, 1, 16, length=16), 30, seed=0).eval()
    table = copy_accuracy(model, read_rope(model.config), SYMBOLS, [20], samples=40, seed=0)
    assert table["accuracy"].mean() < 0.25
    assert len(table) == 40


def test_a_gap_must_leave_something_to_score():
    model = fresh_llama(ModelShape(16, 1, 1, 1, 16, length=16), 30, seed=0).eval()
    with pytest.raises(UserError, match="copying gap 1: expected at least 2 tokens"):
        copy_accuracy(model, read_rope(model.config), SYMBOLS, [1], samples=2, seed=0)


def test_what_is_read_says_what_it_is(make_model, tmp_path):
    source = make_model(ModelShape(16, 1, 1, 1, 16, length=16))
    rope = apply(default_rope(16, 10_000.0, 16), "yarn", factor=4.0)
    options = CopyingOptions(gaps=(4, 12), samples=5, seed=3, dtype="float32")
    columns = {"model": "m", "rope": "yarn"}
    read_copying(source, rope, options, columns=columns, folder=tmp_path / "out")
    strings = pd.read_csv(tmp_path / "out/copying.csv")
    assert strings["gap"].tolist() == [4] * 5 + [12] * 5
    header = json.loads((tmp_path / "out/reading.json").read_text())
    assert header == {"columns": columns, "model": str(source), "rope": rope.to_json(), "options": plain(options)}
    scores = Scores.read(tmp_path / "out/scores.json")
    assert scores.setting == {"stage": "copying", **columns}
    means = strings.groupby("gap")["accuracy"].mean()
    assert {row.gap: row.value for row in scores.select(quantity="copy_accuracy")} == pytest.approx(dict(means))
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert {line["step"]: line["copy_accuracy"] for line in lines} == pytest.approx(dict(means))

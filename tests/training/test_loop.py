from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from ropewalk.errors import UserError
from ropewalk.metrics import MetricsFile, read_metrics
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.shape import ModelShape
from ropewalk.training.batches import Batch
from ropewalk.training.loop import count_parameters, train
from ropewalk.training.options import Layout, TrainingOptions

SHAPE = ModelShape(hidden_size=16, layers=1, heads=1, kv_heads=1, intermediate_size=16, length=16)
OPTIONS = TrainingOptions(steps=40, learning_rate=1e-2, warmup_steps=5)
LAYOUT = Layout(checkpoint_every=10)


def batches(step: int) -> Batch:
    return Batch(np.random.default_rng([7, step]).integers(0, 11, size=(4, 16)) // 3)


class Stop(Exception):
    pass


def curve(state, *, stop_at=None, options=OPTIONS, model=None, layout=LAYOUT, asked=None):
    metrics = state.parent / f"{state.name}.jsonl"

    def data(step):
        if step == stop_at:
            raise Stop
        if asked is not None:
            asked.append(step)
        return batches(step)

    model = model or fresh_llama(SHAPE, 11, seed=0)
    with MetricsFile(metrics) as sink:
        result = train(model, data, options, state=state, identity={"seed": 0}, sink=sink, layout=layout)
    return result, {line["step"]: line["loss"] for line in read_metrics(metrics)}, model


def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path):
    whole, losses, model = curve(tmp_path / "whole")
    with pytest.raises(Stop):
        curve(tmp_path / "cut", stop_at=27)
    resumed, resumed_losses, resumed_model = curve(tmp_path / "cut")
    assert list(resumed_losses) == [10, 20, 30, 40]
    assert resumed_losses == pytest.approx(losses, rel=1e-6)
    assert resumed.final_loss == pytest.approx(whole.final_loss, rel=1e-6)
    for a, b in zip(model.parameters(), resumed_model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    assert losses[40] < losses[10], "nothing was learned"


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    _, losses, _ = curve(tmp_path / "whole")
    with pytest.raises(Stop):
        curve(tmp_path / "cut", stop_at=35)
    newest = tmp_path / "cut" / "step-00000030" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    _, resumed, _ = curve(tmp_path / "cut")
    assert "is damaged" in capsys.readouterr().out
    assert resumed == pytest.approx(losses, rel=1e-6)


def test_other_settings_start_afresh(tmp_path):
    curve(tmp_path / "state")
    other = TrainingOptions(steps=40, learning_rate=1e-3, warmup_steps=5)
    _, again, _ = curve(tmp_path / "state", options=other)
    _, expected, _ = curve(tmp_path / "other", options=other)
    assert again == pytest.approx(expected, rel=1e-6)


def test_the_layout_is_no_part_of_what_a_training_is(tmp_path):
    _, losses, _ = curve(tmp_path / "whole")
    with pytest.raises(Stop):
        curve(tmp_path / "cut", stop_at=27)
    # Steps before the checkpoint of step 20 are not asked for again, though the rest is laid out otherwise.
    other = Layout(checkpoint_every=40, activation_checkpointing=True)
    asked = []
    _, resumed, _ = curve(tmp_path / "cut", layout=other, asked=asked)
    assert asked == list(range(20, 40))
    assert resumed == pytest.approx(losses, rel=1e-5)


def test_a_finished_training_is_not_done_twice(tmp_path):
    first, _, _ = curve(tmp_path / "state")
    second, _, _ = curve(tmp_path / "state", stop_at=0)
    assert second.final_loss == first.final_loss
    assert second.tokens_per_second is None


def test_accumulation_changes_nothing_but_memory(tmp_path):
    _, plain, _ = curve(tmp_path / "a")
    options = TrainingOptions(steps=40, learning_rate=1e-2, warmup_steps=5, accumulation=2)
    _, cut, _ = curve(tmp_path / "b", options=options)
    assert cut == pytest.approx(plain, rel=1e-4)
    odd = TrainingOptions(steps=40, learning_rate=1e-2, accumulation=3)
    with pytest.raises(UserError, match="a batch of 4 sequences cannot be cut into 1 processes times 3"):
        curve(tmp_path / "c", options=odd)


def test_a_loss_that_is_no_number_stops_with_a_sentence_and_keeps_the_checkpoint(tmp_path):
    with pytest.raises(Stop):
        curve(tmp_path / "state", stop_at=15)
    model = fresh_llama(SHAPE, 11, seed=0)

    def broken(step):
        with torch.no_grad():
            next(model.parameters()).fill_(math.nan)
        return batches(step)

    with pytest.raises(UserError, match=r"the loss is nan by step 20 at learning rate .*; expected a finite number"):
        train(model, broken, OPTIONS, state=tmp_path / "state", identity={"seed": 0}, layout=LAYOUT)
    assert json.loads((tmp_path / "state/step-00000010/progress.json").read_text())["step"] == 10


def test_what_is_trained_is_counted(tmp_path, capsys):
    model = fresh_llama(SHAPE, 11, seed=0)
    everything = 2 * 11 * 16 + 4 * 16 * 16 + 3 * 16 * 16 + 3 * 16
    assert count_parameters(model) == (everything, everything)
    model.model.embed_tokens.weight.requires_grad = False
    before = model.model.embed_tokens.weight.clone()
    curve(tmp_path / "state", model=model)
    assert torch.equal(model.model.embed_tokens.weight, before)
    assert f"{everything - 11 * 16:,} of {everything:,} parameters are trained" in capsys.readouterr().out

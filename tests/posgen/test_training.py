from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ropewalk.errors import UserError
from ropewalk.metrics import MetricsFile, read_metrics
from ropewalk.posgen.data import batch_rows, make_data
from ropewalk.posgen.model import StackedDecoder, rotations
from ropewalk.posgen.options import PosGenLayout, PosGenOptions
from ropewalk.posgen.training import Member, Validation, train, training_losses
from ropewalk.rope import default_rope
from ropewalk.rope.methods import apply

ROPE = default_rope(8, 100.0, 16)
ROPES = {"rope": ROPE, "resonance": apply(ROPE, "resonance")}
OPTIONS = PosGenOptions(
    modulus=7,
    train_sequences=40,
    validation_sequences=5,
    test_sequences=5,
    train_length=16,
    test_length=32,
    hidden_size=16,
    heads=2,
    head_dim=8,
    intermediate_size=24,
    steps=12,
    batch_size=8,
    learning_rate=1e-2,
    dropout=0.0,
    schedule="one-cycle",
    validate_every=5,
)
LAYOUT = PosGenLayout(checkpoint_every=4)
DATA = make_data("chain-of-thought", OPTIONS)


def trained(folder, members, options=OPTIONS, *, layout=LAYOUT, stop=None, accuracy=lambda step: 0.0):
    """Train, and return the models, the metrics by step and the result; ``stop`` ends it after so many validations."""
    decoder, count = StackedDecoder(OPTIONS, [member.seed for member in members]), 0

    def validate(models):
        nonlocal count
        count += 1
        if count == stop:
            raise KeyboardInterrupt
        return Validation({}, [accuracy(count)] * len(members))

    with MetricsFile(folder / "metrics.jsonl") as sink:
        result = train(
            decoder,
            members,
            ROPES,
            DATA.train,
            options,
            layout=layout,
            state=folder / "state",
            identity={"members": [list(member) for member in members]},
            validate=validate,
            sink=sink,
            name="test",
        )
    return decoder, metrics_of(folder), result


def metrics_of(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    return {line["step"]: {key: value for key, value in line.items() if "/" in key} for line in lines}


def test_each_model_of_a_stack_is_trained_as_it_would_be_alone(tmp_path):
    members = [Member(name, seed) for seed in (0, 1) for name in ROPES]
    stacked, together, _ = trained(tmp_path / "all", members)
    for i, member in enumerate(members):
        alone, losses, _ = trained(tmp_path / f"{i}", [member])
        for step, values in losses.items():
            [(name, loss)] = values.items()
            assert together[step][name] == pytest.approx(loss, abs=1e-5)
        for many, single in zip(stacked.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(many[i : i + 1], single, rtol=1e-3, atol=1e-4)
    finals = [together[12][f"{member.rope}/{member.seed}/training_loss"] for member in members]
    assert len({round(loss, 4) for loss in finals}) == 4, "the models differ"


@pytest.mark.parametrize("cycle_momentum", [False, True])
def test_a_model_alone_is_trained_as_plain_torch_would_do_it(tmp_path, cycle_momentum):
    """The same twelve steps, written out with torch's own optimiser, schedule and mean loss.

    A cycled beta1 is that of the released code, which uses torch's schedule and its default of 0.95 to 0.85.
    """
    ours, metrics, _ = trained(tmp_path, [Member("rope", 3)], replace(OPTIONS, cycle_momentum=cycle_momentum))
    model = StackedDecoder(OPTIONS, [3])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2, fused=False, foreach=False)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-2, total_steps=12, pct_start=0.1, cycle_momentum=cycle_momentum
    )
    losses = []
    for step in range(12):
        rows = DATA.train[batch_rows(40, 8, step, 3)]
        inputs = np.concatenate([np.full((8, 1), 7), rows[:, :-1]], axis=1)
        logits = model(torch.from_numpy(inputs)[None], rotations([ROPE], 16))[0]
        loss = F.cross_entropy(logits[:, 4:].reshape(-1, 12), torch.from_numpy(rows[:, 4:]).reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    assert metrics[5]["rope/3/training_loss"] == pytest.approx(np.mean(losses[:5]), abs=1e-5)
    assert metrics[12]["rope/3/training_loss"] == pytest.approx(np.mean(losses[10:]), abs=1e-5)
    for mine, theirs in zip(ours.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_it_learns(tmp_path):
    options = replace(OPTIONS, steps=150, validate_every=50)
    _, metrics, _ = trained(tmp_path, [Member("rope", 0)], options)
    losses = [values["rope/0/training_loss"] for values in metrics.values()]
    assert losses[-1] < 1.3 < np.log(7) < losses[0], losses


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.2}, {"keep": "best"}, {"schedule": "constant"}])
def test_a_killed_training_ends_as_if_nothing_had_happened(tmp_path, changes):
    members = [Member(name, 0) for name in ROPES]
    options = replace(OPTIONS, **changes)
    accuracy = {1: 0.5, 2: 0.9, 3: 0.1}.get
    whole, metrics, result = trained(tmp_path / "whole", members, options, accuracy=accuracy)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", members, options, stop=2, accuracy=accuracy)
    checkpoints = sorted(path.name for path in (tmp_path / "killed/state").glob("*.pt"))
    assert checkpoints == ["step-00000004.pt", "step-00000008.pt"]
    resumed, later, again = trained(tmp_path / "killed", members, options, accuracy=lambda count: accuracy(count + 1))
    assert later == metrics, "each step once, those before the kill included"
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again.losses == result.losses


def test_a_damaged_checkpoint_gives_way_to_an_older_one(tmp_path, capsys):
    members = [Member("rope", 0)]
    whole, _, _ = trained(tmp_path / "whole", members)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", members, stop=2)
    (tmp_path / "killed/state/step-00000008.pt").write_bytes(b"torn")
    resumed, _, _ = trained(tmp_path / "killed", members)
    assert "step-00000008.pt is damaged" in capsys.readouterr().err
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_checkpoints_that_are_all_damaged_stop_the_training(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, [Member("rope", 0)], stop=2)
    for path in (tmp_path / "state").glob("*.pt"):
        path.write_bytes(b"torn")
    with pytest.raises(UserError, match="all checkpoints in .* are damaged"):
        trained(tmp_path, [Member("rope", 0)])


def test_checkpoints_of_another_training_are_dropped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, [Member("rope", 0)], stop=2)
    other = replace(OPTIONS, learning_rate=1e-3, validate_every=6)
    _, metrics, _ = trained(tmp_path, [Member("rope", 0)], other)
    assert set(metrics) == {6, 12}, "nothing of the first training is left"
    assert json.loads((tmp_path / "state/identity.json").read_text())["options"]["learning_rate"] == 1e-3


def test_a_killed_training_may_go_on_with_another_layout(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, [Member("rope", 0)], stop=2)
    trained(tmp_path, [Member("rope", 0)], layout=PosGenLayout(checkpoint_every=100))
    assert "resumed at step 8 of 12" in capsys.readouterr().err


def test_best_keeps_the_weights_of_each_models_best_validation(tmp_path):
    members = [Member("rope", 0), Member("resonance", 0)]
    options = replace(OPTIONS, keep="best", schedule="constant")
    decoder = StackedDecoder(OPTIONS, [0, 0])
    seen = []

    def validate(models):
        seen.append([p.detach().clone() for p in models.parameters()])
        return Validation({}, [[0.1, 0.8], [0.7, 0.8], [0.7, 0.2]][len(seen) - 1])

    with MetricsFile(tmp_path / "metrics.jsonl") as sink:
        train(
            decoder,
            members,
            ROPES,
            DATA.train,
            options,
            layout=LAYOUT,
            state=tmp_path / "state",
            identity={},
            validate=validate,
            sink=sink,
            name="test",
        )
    for i, parameter in enumerate(decoder.parameters()):
        assert torch.equal(parameter[0], seen[1][i][0]), "the second validation is the first with 0.7"
        assert torch.equal(parameter[1], seen[0][i][1])


def test_frozen_feed_forward_layers_stay_as_they_were_drawn(tmp_path):
    options = replace(OPTIONS, train_feed_forward=False)
    decoder, _, result = trained(tmp_path, [Member("rope", 0)], options)
    fresh = StackedDecoder(OPTIONS, [0])
    for name, parameter in decoder.named_parameters():
        frozen = any(part in name for part in ("feed_forward_norm", "up", "down"))
        assert torch.equal(parameter, fresh.get_parameter(name)) == frozen, name
    assert result.trainable < result.parameters


def test_a_loss_that_is_no_number_is_named(tmp_path):
    options = replace(OPTIONS, learning_rate=1e30, schedule="constant")
    with pytest.raises(UserError, match="the loss of rope with seed 0 is nan by step 5 at learning rate 1e"):
        trained(tmp_path, [Member("rope", 0)], options)


def test_the_loss_is_a_mean_over_the_tokens_that_are_made(tmp_path):
    decoder, table = StackedDecoder(OPTIONS, [0]), rotations([ROPE], 16)
    batch = torch.from_numpy(DATA.train[None, :6])
    whole = training_losses(decoder, table, batch, 4)
    first = training_losses(decoder, table[:, :10], batch[:, :, :10], 4)
    last = training_losses(decoder, table, batch, 10)
    torch.testing.assert_close(whole, (6 * first + 6 * last) / 12)

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ropewalk.errors import UserError
from ropewalk.options import plain
from ropewalk.posgen.data import make_data
from ropewalk.posgen.models import load_models, train_models
from ropewalk.posgen.options import PosGenLayout, PosGenOptions, ScoringOptions
from ropewalk.posgen.results import score_models, summary
from ropewalk.posgen.scoring import Reading, predict
from ropewalk.posgen.training import Member
from ropewalk.rope import default_rope
from ropewalk.rope.methods import apply
from ropewalk.scores import Scores

OPTIONS = PosGenOptions(
    modulus=7,
    train_sequences=60,
    validation_sequences=6,
    test_sequences=9,
    train_length=12,
    test_length=24,
    hidden_size=16,
    layers=1,
    heads=1,
    head_dim=8,
    intermediate_size=16,
    seeds=(5, 6),
    steps=6,
    batch_size=8,
    validate_every=3,
)
ROPE = default_rope(8, 100.0, 12)
ROPES = {"rope": ROPE, "resonance": apply(ROPE, "resonance")}
YARN = Reading("yarn", apply(ROPE, "yarn", factor=2.0), "rope")
PI = Reading("pi", apply(ROPE, "pi", factor=2.0), "resonance")
OWN = [Reading(name, rope, name) for name, rope in ROPES.items()]


def train(folder, **changes):
    arguments = {"kind": "recursive", "options": OPTIONS, "ropes": ROPES, "swapped": [YARN], **changes}
    train_models(
        **arguments,
        layout=PosGenLayout(checkpoint_every=2),
        state=folder / "state/models",
        metrics=folder / "state/metrics.jsonl",
        folder=folder / "models",
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(folder)
    return folder / "models"


@pytest.fixture(scope="module")
def scored(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored") / "scores"
    score_models(trained, [*OWN, YARN], [PI], ScoringOptions(generated_sequences=4), folder=folder)
    return folder


def test_what_was_trained_can_be_read_again(trained):
    models = load_models(trained)
    assert models.members == [Member(name, seed) for seed in (5, 6) for name in ROPES]
    assert models.ropes == ROPES
    assert (models.kind, models.options, models.decoder.options) == ("recursive", OPTIONS, OPTIONS)
    assert models.info["options"] == plain(OPTIONS)
    assert models.info["data"]["test_in_train"] == 0
    assert not (trained.parent / "state/models").exists(), "the checkpoints are not needed any more"


def test_validation_curves_name_rope_seed_and_quantity(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    for name in ("rope", "resonance", "yarn"):
        for seed in (5, 6):
            assert 0 < lines[-1][f"{name}/{seed}/validation_loss"] < 10
            assert 0 <= lines[-1][f"{name}/{seed}/ood_accuracy"] <= 1
    assert {key for key in lines[0] if key.endswith("training_loss")} == {
        f"{name}/{seed}/training_loss" for name in ROPES for seed in (5, 6)
    }


def test_scores_are_means_of_predictions(trained, scored):
    table = pd.read_parquet(scored / "accuracy.parquet")
    scores = Scores.read(scored / "scores.json")
    models = load_models(trained)
    tokens = make_data("recursive", OPTIONS).test
    place = models.members.index(Member("rope", 6))
    found = predict(models.decoder, [place], [YARN.rope], tokens, 4)
    own = table[(table["rope"] == "yarn") & (table["seed"] == 6)]
    np.testing.assert_allclose(own["accuracy"], found.accuracy[0])
    assert own["position"].tolist() == list(range(4, 24))
    names = {"rope": "yarn", "seed": 6}
    assert scores.one(quantity="id_accuracy", **names).value == pytest.approx(found.accuracy[0, :8].mean())
    assert scores.one(quantity="ood_accuracy", **names).value == pytest.approx(found.accuracy[0, 8:].mean())


def test_models_write_on_their_own_from_the_training_length_on(scored):
    table = pd.read_parquet(scored / "accuracy.parquet").set_index("rope")
    written = table.loc["yarn"].dropna(subset="generated_accuracy")
    assert written["position"].min() == 12
    assert (written["generated_accuracy"] * 4 % 1 == 0).all(), "four sequences"
    assert table.loc["pi", "generated_accuracy"].isna().all(), "brief"
    scores = Scores.read(scored / "scores.json")
    assert {row.quantity for row in scores.select(rope="pi", seed=5)} == {"id_accuracy", "ood_accuracy"}
    assert scores.one(quantity="generated_ood_accuracy", rope="yarn", seed=5) is not None


def test_each_full_reading_and_seed_has_the_files_of_a_run(scored):
    runs = sorted(path.name for path in (scored / "runs").iterdir())
    assert runs == sorted(f"{name}-{seed}" for name in ("rope", "resonance", "yarn") for seed in (5, 6))
    folder = scored / "runs/yarn-6"
    params = json.loads((folder / "params.json").read_text())
    told = {key: params[key] for key in ("task", "rope", "weights", "seed", "made_by", "options")}
    assert list(told.values()) == ["recursive", "yarn", "rope", 6, "yarn", plain(OPTIONS)]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"step", "training_loss", "validation_loss", "id_accuracy", "ood_accuracy"} <= set(lines[0])
    own = Scores.read(scored / "scores.json").select(rope="yarn", seed=6)
    assert Scores.read(folder / "scores.json").metrics() == {row.quantity: row.value for row in own}


def test_summary_divides_at_the_training_length():
    table = pd.DataFrame(
        {
            "rope": "r",
            "seed": 1,
            "position": [4, 5, 6, 7],
            "accuracy": [1.0, 0.5, 0.25, 0.75],
            "generated_accuracy": [np.nan, np.nan, 0.0, 1.0],
        }
    )
    expected = {"id_accuracy": 0.75, "ood_accuracy": 0.5, "generated_ood_accuracy": 0.5}
    assert {row.quantity: row.value for row in summary(table, 6).select(rope="r", seed=1)} == expected


def test_dropped_files_are_named(trained, tmp_path):
    with pytest.raises(UserError, match="no such file; expected a PosGen training"):
        load_models(tmp_path)
    (tmp_path / "training.json").write_text((trained / "training.json").read_text())
    with pytest.raises(UserError, match="is damaged or missing"):
        load_models(tmp_path)


def test_more_sequences_than_there_are_cannot_be_generated(trained, tmp_path):
    with pytest.raises(UserError, match="generated_sequences is 10; expected at most test_sequences, 9"):
        score_models(trained, OWN, [], ScoringOptions(generated_sequences=10), folder=tmp_path / "scores")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ropes": {"rope": default_rope(16, 1e4, 12)}, "swapped": []}, "turns 16 dimensions; expected 8"),
        ({"swapped": [Reading("yarn", ROPE, "other")]}, "weights of 'other'; models were trained with rope, resonance"),
        ({"swapped": [Reading("rope", ROPE, "rope")]}, "rope name 'rope' stands for 2 ropes"),
        ({"kind": "recursiv"}, "task is 'recursiv'; expected one of recursive"),
    ],
)
def test_impossible_trainings_are_named_and_leave_nothing(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        train(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_weights_do_not_depend_on_their_neighbours_or_the_validation(trained, tmp_path):
    """Dropout is drawn for the whole stack, so it is off here."""
    options = replace(OPTIONS, validate_every=6, dropout=0.0)
    train(tmp_path / "one", ropes={"rope": ROPE}, swapped=[], options=options)
    train(tmp_path / "two", options=replace(options, validate_every=2))
    one, two = load_models(tmp_path / "one/models"), load_models(tmp_path / "two/models")
    for alone, beside in zip(one.decoder.parameters(), two.decoder.parameters(), strict=True):
        torch.testing.assert_close(alone[0], beside[0], rtol=1e-3, atol=1e-4)

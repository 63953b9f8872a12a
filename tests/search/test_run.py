"""A search from a model folder to a rope, with a model that has learned nothing."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.models.configurations import load_config
from ropewalk.models.fresh import fresh_model
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.shape import ModelShape
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.rope import Rope, apply
from ropewalk.scores import Scores
from ropewalk.search.by_hand import TunedStep
from ropewalk.search.objective import Objective, Reader, make_probes
from ropewalk.search.spaces import make_space


def test_a_search_writes_a_rope_that_one_command_makes_again(source, searches):
    best = json.loads((searches[0] / "best.json").read_text())
    rope = Rope.load(searches[0] / "rope.json")
    table = read_rope(load_config(source))
    [step] = rope.steps
    assert apply(table, step.method, **step.params) == rope
    assert (best["options"]["factor"], best["length"], best["trials"]) == (4.0, 256, 18)
    assert best["columns"] == {"search": "gp-ramp-4x-seed-0", "experiment": "search", "model": "dull"}
    trials = pd.read_parquet(searches[0] / "trials.parquet")
    assert len(trials) == 18
    assert best["objective"] == trials["objective"][best["chosen"]]
    assert best["chosen"] in [one["number"] for one in best["candidates"]]
    assert best["answers"]["retrieval"] == "none"
    assert best["on_bounds"] == make_space("ramp", table, 4).on_bounds(best["values"])
    scores = Scores.read(searches[0] / "scores.json")
    assert scores.setting == {"stage": "search", **best["columns"]}
    assert scores.one(quantity="objective").value == best["objective"]


def test_the_recorded_objective_is_that_of_the_rope(source, corpus, searches):
    best = json.loads((searches[0] / "best.json").read_text())
    model = load_model(source)
    table = read_rope(model.config)
    for split, value in (("search", best["objective"]), ("selection", _chosen(best)["objective"])):
        probes = make_probes(
            {"text": corpus}, byte_tokenizer(), split=split, documents=4, train_length=64, length=256, retrieval="none"
        )
        objective = Objective([Reader(model, probes, 64)], table, 4.0, 1.0)
        measured = objective.readers[0].read(Rope.load(searches[0] / "rope.json"))
        assert objective.value(measured) == pytest.approx(value, abs=1e-5)


def _chosen(best):
    return next(one for one in best["candidates"] if one["number"] == best["chosen"])


def test_metrics_have_one_line_a_trial_over_interruptions(find, tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    find(tmp_path / "s", sampler="sobol", budget=6, metrics=metrics)
    find(tmp_path / "s", sampler="sobol", budget=9, metrics=metrics)
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, 10))


def test_a_worker_writes_nothing_and_a_last_call_chooses(find, tmp_path):
    options = {"sampler": "sobol", "factor": 2.0, "budget": 8, "candidates": 2, "documents": 3}
    find(tmp_path / "s", worker=True, **options)
    assert {path.name for path in tmp_path.iterdir()} <= {"s.journal", "s.journal.held"}
    find(tmp_path / "s", **options)
    assert len(pd.read_parquet(tmp_path / "s/trials.parquet")) == 8


def test_a_chosen_rope_on_a_bound_is_said(find, tmp_path, capsys, monkeypatch):
    """With two places of a step tried, either is a bound."""
    monkeypatch.setattr(TunedStep, "constants", {"turns": (1.0, 2.0)})
    find(tmp_path / "s", sampler="grid", space="step")
    best = json.loads((tmp_path / "s/best.json").read_text())
    assert best["on_bounds"] == {"turns": best["values"]["turns"]}
    assert f"lies on a bound of the space: turns at {best['values']['turns']:g}" in capsys.readouterr().out


def test_faults_leave_nothing_behind(find, tmp_path):
    with pytest.raises(UserError, match="has 0 of the 4 wanted documents of at least 64000 tokens"):
        find(tmp_path / "s", factor=1000.0)
    assert not (tmp_path / "s").exists()


def test_a_weight_that_is_no_number_is_one_sentence(find, source, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    folder = shutil.copytree(source.name, tmp_path / "m")
    damaged = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        damaged.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    damaged.save_pretrained(folder)
    for _ in range(2):
        with pytest.raises(UserError, match="is no number: its weights are damaged"):
            find(tmp_path / "s", model=ModelSource("folder", str(folder)), retrieval="none")


def test_a_rope_may_be_searched_for_layers_with_windows(find, tmp_path):
    shape = ModelShape(hidden_size=32, layers=3, heads=1, kv_heads=1, intermediate_size=32, length=64, window=16)
    fresh_model(shape, len(byte_tokenizer()), seed=0).save_pretrained(tmp_path / "m")
    byte_tokenizer().save_pretrained(tmp_path / "m")
    model = ModelSource("folder", str(tmp_path / "m"))
    found = find(tmp_path / "s", model=model, layers="local", sampler="sobol", budget=6, candidates=1)
    assert Rope.load(found / "rope.json").layers == "local"
    with pytest.raises(UserError, match="has one rope for all layers"):
        find(tmp_path / "t", layers="local")


def test_a_model_without_rotary_embedding_is_refused(find, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=257, n_embd=16, n_layer=1, n_head=1, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    byte_tokenizer().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(UserError, match="'gpt2' has no rotary position embedding"):
        find(tmp_path / "s", model=ModelSource("folder", str(tmp_path / "gpt2")))

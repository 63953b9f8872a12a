"""From a model folder to a report, with a model that has learned nothing."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from ropewalk.errors import UserError
from ropewalk.models.binding import read_rope
from ropewalk.models.loading import load_config, load_model
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.report.search import write_report
from ropewalk.rope import Rope, apply
from ropewalk.search import causes
from ropewalk.search.comparison import compare
from ropewalk.search.objective import Objective, ObjectiveOptions, Reader, make_probes
from ropewalk.search.results import hand_made, read_comparison, standings
from ropewalk.search.run import search
from ropewalk.search.study import SearchOptions


def find(source, corpus, folder, *, factor=4.0, seed=0, sampler="gp", space="ramp", budget=18, **options):
    search(
        source,
        {"text": corpus},
        space=space,
        factor=factor,
        options=SearchOptions(sampler, budget, seed, candidates=3),
        aim=ObjectiveOptions(retrieval="none", short_cost=1.0, documents=4),
        journal=folder.with_suffix(".journal"),
        folder=folder,
        **options,
    )
    return folder


@pytest.fixture(scope="module")
def searches(source, corpus, tmp_path_factory):
    before, causes.SAMPLES = causes.SAMPLES, 256
    root = tmp_path_factory.mktemp("searches")
    found = [
        find(source, corpus, root / f"{sampler}-{seed}", sampler=sampler, space=space, seed=seed)
        for sampler, space in (("gp", "ramp"), ("scan", "groups"))
        for seed in (0, 1)
    ]
    causes.SAMPLES = before
    return found


@pytest.fixture(scope="module")
def comparison(source, corpus, searches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "compared"
    compare(source, {"text": corpus}, searches, documents=6, folder=folder)
    return folder


def test_a_search_writes_a_rope_that_one_command_makes_again(source, searches):
    best = json.loads((searches[0] / "best.json").read_text())
    rope = Rope.load(searches[0] / "rope.json")
    table = read_rope(load_config(source))
    [step] = rope.steps
    assert apply(table, step.method, **step.params) == rope
    assert (best["factor"], best["length"], best["trials"]) == (4.0, 256, 18)
    trials = pd.read_parquet(searches[0] / "trials.parquet")
    assert len(trials) == 18
    assert best["objective"] == trials["objective"][best["chosen"]]
    assert best["chosen"] in [one["number"] for one in best["candidates"]]
    assert best["answers"]["retrieval"] == "none"


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


def test_metrics_have_one_line_a_trial_over_interruptions(source, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(causes, "SAMPLES", 256)
    metrics = tmp_path / "metrics.jsonl"
    find(source, corpus, tmp_path / "s", sampler="sobol", budget=6, metrics=metrics)
    find(source, corpus, tmp_path / "s", sampler="sobol", budget=9, metrics=metrics)
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, 10))


def test_a_worker_writes_nothing_and_a_last_call_chooses(source, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(causes, "SAMPLES", 256)
    options = {
        "space": "ramp",
        "factor": 2.0,
        "options": SearchOptions("sobol", 8, candidates=2),
        "aim": ObjectiveOptions(retrieval="none", short_cost=1.0, documents=3),
        "journal": tmp_path / "journal",
    }
    search(source, {"text": corpus}, folder=None, **options)
    assert {path.name for path in tmp_path.iterdir()} <= {"journal", "journal.held"}
    search(source, {"text": corpus}, folder=tmp_path / "found", **options)
    assert len(pd.read_parquet(tmp_path / "found/trials.parquet")) == 8


def test_a_comparison_reads_the_objective_on_unseen_documents(comparison, searches):
    compared = read_comparison(comparison, searches)
    assert compared.lengths == [2.0, 4.0]
    assert set(hand_made(compared.contestants["none"].rope, 4.0)) == set(compared.methods(4.0, found=False))
    table = standings(compared, 4.0, 0.95).set_index("method")
    assert table.loc["yarn", "objective"] == 0
    assert table.loc["gp/ramp", "seeds"] == 2
    # The objective by hand: without answers, half of nothing and all of the tail, no more than 1.5 above.
    yarn, gp = (compared.measured[compared.measured["rope"] == name] for name in ("yarn-4x", "gp-ramp-4x-seed-0"))
    paired = gp[gp["at"] == 4].set_index("document")["tail"] - yarn[yarn["at"] == 4].set_index("document")["tail"]
    [first] = [one for one in compared.methods(4.0, found=True)["gp/ramp"] if one.seed == 0]
    assert compared.values([first], 4.0, "yarn-4x").mean() == pytest.approx(paired.clip(upper=1.5).mean())
    searched = set(json.loads((searches[0] / "best.json").read_text())["documents"])
    assert not searched & {f"text/{document}" for document in gp["document"]}


def test_the_report_has_every_table_and_figure(comparison, searches, tmp_path):
    write_report(searches, comparison, tmp_path / "report", confidence=0.9)
    page = (tmp_path / "report/search.html").read_text()
    for words in ("ORoPE-style", "At 4 times the training length", "scan/groups", "90 %", "2 seeds", "found for 4x"):
        assert words in page
    for name in ("convergence", "optimum", "plane", "price", "importances"):
        assert (tmp_path / f"report/{name}.png").stat().st_size > 10_000
    scores = json.loads((tmp_path / "report/scores.json").read_text())
    rivals = pd.read_csv(tmp_path / "report/rivals.csv").set_index("method")
    assert scores["4x"]["rivals"]["scan/groups"]["difference"] == pytest.approx(
        rivals.loc["scan/groups", "tested"] - rivals.loc["gp/ramp", "tested"], abs=1e-5
    )
    assert scores["4x"]["transfer"]["gp/ramp_at_2x"]["difference_low"] < 2


def test_faults_leave_nothing_behind(source, corpus, comparison, searches, tmp_path):
    with pytest.raises(UserError, match="factor is 0.5; expected more than 1"):
        find(source, corpus, tmp_path / "s", factor=0.5)
    with pytest.raises(UserError, match="has 0 of the 4 wanted documents of at least 64000 tokens"):
        find(source, corpus, tmp_path / "s", factor=1000.0)
    assert not (tmp_path / "s").exists()
    with pytest.raises(UserError, match="expected what a search found"):
        compare(source, {"text": corpus}, [tmp_path], documents=2, folder=tmp_path / "c")
    with pytest.raises(UserError, match="searches are called gp-ramp-4x-seed-0; expected different ones"):
        compare(source, {"text": corpus}, [searches[0], searches[0]], documents=2, folder=tmp_path / "c")
    other = find_copy(searches[0], tmp_path / "other", seed=7)
    with pytest.raises(UserError, match="its rope is not the one that was compared"):
        write_report([other], comparison, tmp_path / "report", confidence=0.95)
    assert not (tmp_path / "report").exists()


def find_copy(folder, target, **changes):
    target.mkdir()
    best = json.loads((folder / "best.json").read_text()) | changes
    (target / "best.json").write_text(json.dumps(best))
    (target / "rope.json").write_text((folder / "rope.json").read_text())
    return target


def test_a_model_without_rotary_embedding_is_refused(corpus, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=257, n_embd=16, n_layer=1, n_head=1, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    byte_tokenizer().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(UserError, match="'gpt2' has no rotary position embedding"):
        find(ModelSource("folder", str(tmp_path / "gpt2")), corpus, tmp_path / "s")

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ropewalk import cli
from ropewalk.corpora.options import CorpusOptions
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.rope_writing import write_rope
from ropewalk.models.shape import ModelShape
from ropewalk.options import descriptions
from ropewalk.posgen.options import PosGenLayout, PosGenOptions, ScoringOptions
from ropewalk.reading.options import PocketOptions
from ropewalk.rope import Rope, apply, default_rope
from ropewalk.scores import Scores
from ropewalk.search.options import SearchOptions
from ropewalk.study.kinds import READING_OPTIONS, REPORT_OPTIONS
from ropewalk.training.options import Layout, PretrainingOptions, TuningOptions


def run(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ropewalk", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


TABLE = ("--head-dim", 128, "--base", 10000, "--length", 4096)
TUNING = {"steps": 2, "learning_rate": 1e-3, "length": 64, "batch_tokens": 128}
LLAMA2 = ("--head-dim", 128, "--base", 10000, "--train", 4096)


def test_rope_writes_what_show_reads(monkeypatch, tmp_path, capsys):
    path = tmp_path / "rope.json"
    assert run(monkeypatch, "rope", "yarn", *TABLE, "--factor", 8, "--resonance", "-o", path) == 0
    rope = Rope.load(path)
    assert np.allclose(rope.wavelengths, np.round(rope.wavelengths))
    assert json.loads(path.read_text())["attention_factor"] == pytest.approx(1.2079, abs=1e-4)
    assert run(monkeypatch, "show", path, "--length", 32768) == 0
    assert "critical dimension: 92" in capsys.readouterr().out
    assert (tmp_path / "rope.png").stat().st_size > 10_000


def test_rope_is_printed_where_no_file_is_named(monkeypatch, capsys):
    assert run(monkeypatch, "rope", "pi", *TABLE, "--factor", 2) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["inv_freq"][0] == 0.5


def test_methods_compose_on_a_file(monkeypatch, tmp_path):
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    assert run(monkeypatch, "rope", "abf", *TABLE, "--new-base", 1e6, "-o", first) == 0
    assert run(monkeypatch, "rope", "resonance", "--on", first, "-o", second) == 0
    assert [step.method for step in Rope.load(second).steps] == ["abf", "resonance"]
    factors = ",".join(["2"] * 64)
    assert run(monkeypatch, "rope", "longrope", *TABLE, "--long-factor", factors, "-o", first) == 0
    assert np.allclose(Rope.load(first).factors, 2)


def test_rope_starts_from_a_model(monkeypatch, tmp_path):
    fresh_llama(
        ModelShape(hidden_size=32, layers=1, heads=1, kv_heads=1, intermediate_size=32, length=64), 257, seed=0
    ).save_pretrained(tmp_path / "m")
    assert run(monkeypatch, "rope", "ntk", "--model", tmp_path / "m", "--factor", 4, "-o", tmp_path / "r.json") == 0
    assert Rope.load(tmp_path / "r.json").original_length == 64


def test_a_model_that_was_lengthened_already_is_not_lengthened_again(monkeypatch, tmp_path, capsys):
    model = fresh_llama(
        ModelShape(hidden_size=32, layers=1, heads=1, kv_heads=1, intermediate_size=32, length=64), 257, seed=0
    )
    write_rope(model.config, apply(read_rope(model.config), "yarn", factor=4.0), 256)
    model.save_pretrained(tmp_path / "m")
    own, again = tmp_path / "own.json", tmp_path / "again.json"
    assert run(monkeypatch, "rope", "yarn_written", "--model", tmp_path / "m", "--factor", 2, "-o", again) == 2
    assert "already carries a rope made by yarn" in capsys.readouterr().err
    assert run(monkeypatch, "rope", "default", "--model", tmp_path / "m", "-o", own) == 0
    assert run(monkeypatch, "rope", "yarn_written", "--on", own, "--factor", 2, "-o", again) == 0


def test_predict_prints_text_and_json_and_draws(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    headline = ("predict", *LLAMA2, "--tune", 16384, "--new-base", 1000000)
    assert run(monkeypatch, *headline) == 0
    assert "predicted limit      129,027 tokens" in capsys.readouterr().out
    assert run(monkeypatch, *headline, "--figure", "prediction.png") == 0
    assert (tmp_path / "prediction.png").stat().st_size > 10_000
    capsys.readouterr()
    assert run(monkeypatch, *headline, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    keys = {"critical_dimension", "critical_base", "limit", "limit_continuous", "small_base_thresholds", "regime"}
    assert keys <= set(found)
    assert found["limit"] == pytest.approx(129_027, abs=1)


def test_predict_reads_a_model_or_its_config_without_weights(monkeypatch, tmp_path, capsys):
    model = fresh_llama(
        ModelShape(hidden_size=32, layers=1, heads=1, kv_heads=1, intermediate_size=32, length=64), 257, seed=0
    )
    model.config.save_pretrained(tmp_path / "m")
    (tmp_path / "other.json").write_text((tmp_path / "m/config.json").read_text())
    for name in (tmp_path / "m", tmp_path / "m/config.json", tmp_path / "other.json"):
        assert run(monkeypatch, "predict", "--model", name, "--new-base", 1e6, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["head_dim"], found["base"], found["train_length"]) == (32, 10_000, 64)
    write_rope(model.config, apply(read_rope(model.config), "yarn", factor=4.0), 256)
    model.config.save_pretrained(tmp_path / "m")
    assert run(monkeypatch, "predict", "--model", tmp_path / "m", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["train_length"] == 64
    assert "carries a rope made by yarn" in found["warnings"][0]
    assert run(monkeypatch, "predict", "--model", tmp_path / "m", "--train", 48, "--json") == 0
    assert json.loads(capsys.readouterr().out)["train_length"] == 48
    assert run(monkeypatch, "predict", "--model", tmp_path / "none.json") == 2
    assert "none.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rope", "pi", "--factor", 2), "a rope starts from one of: --model; --on; or --head-dim"),
        (("rope", "pi", "--factor", 2, "--head-dim", 64), "needs --head-dim, --base and --length together"),
        (("rope", "pi", *TABLE, "--factor", 0.5), "factor"),
        (("rope", "pi", "--head-dim", 63, "--base", 1e4, "--length", 128, "--factor", 2), "63"),
        (("rope", "longrope", *TABLE, "--long-factor", "1,two"), "expected numbers with commas between them"),
        (("show", "none.json"), "none.json"),
        (("posgen", "rows", "recursive", "--start", "1,2", "--length", 9), "a start has 2 tokens; expected 4"),
        (("posgen", "rows", "recursive", "--start", "1,2,x,3", "--length", 9), "--start '1,2,x,3': expected whole"),
        (("posgen", "rows", "recursif", "--start", "1,2,3,4", "--length", 9), "task is 'recursif'"),
        (("rope", "pi", *TABLE, "--factor", 2, "-o", "/proc/none/x.json"), "/proc/none"),
        (("predict", "--head-dim", 64), "a prediction needs --head-dim, --base and --train together, or --model"),
        (("predict", "--model", "m", "--base", 9), "starts from --model, or from --head-dim and --base"),
        (("predict", *LLAMA2, "--new-base", 1), "--new-base is 1; expected a number above 1"),
        (("predict", "--head-dim", 64, "--base", 1, "--train", 64), "ropewalk: --base is 1; expected a number above 1"),
        (("predict", *LLAMA2, "--figure", "x.xyz"), "--figure x.xyz: expected a name that ends in .avif, .eps"),
        (("predict", *LLAMA2, "--tune", 1024), "--tune is 1024; expected at least the pre-training length, 4096"),
        (("predict", *LLAMA2, "--target", 1024), "--target is 1024; expected at least the pre-training length"),
        (("predict", "--head-dim", 63, *LLAMA2[2:]), "--head-dim is 63; expected an even number"),
    ],
)
def test_faults_are_one_sentence_and_status_2(monkeypatch, capsys, words, message):
    # What the system says may pass; what a person wrote does not.
    assert run(monkeypatch, *words) == (1 if "/proc/none" in str(words) else 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ropewalk: ")
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder of sixty short texts."""
    text = tmp_path_factory.mktemp("text")
    for i in range(60):
        (text / f"{i}.txt").write_text(f"document {i}: " + "the quick brown fox 0123456789 " * 12)
    return text


@pytest.fixture(scope="module")
def house(texts, tmp_path_factory):
    """A corpus, a model that was pre-trained on it, a rope, and the folder that they are in, by commands."""
    folder = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as patch:
        options = {"source": f"folder:{texts}"}
        words = ("corpus", "--tokenizer", "byte", "--options", json.dumps(options))
        assert run(patch, *words, "-o", folder / "mine") == 0
        sizes = {"hidden_size": 32, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate_size": 32, "length": 32}
        options = {"steps": 12, "batch_size": 4, "learning_rate": 0.002, "warmup_steps": 2}
        words = (
            "pretrain",
            "--corpus",
            folder / "mine",
            "--shape",
            json.dumps(sizes),
            "--options",
            json.dumps(options),
        )
        layout = ("--layout", '{"checkpoint_every": 6}', "--columns", '{"model": "m", "base_model": "m"}')
        assert run(patch, *words, *layout, "-o", folder / "model") == 0
        assert run(patch, "rope", "default", "--model", folder / "model", "-o", folder / "none.json") == 0
        assert run(patch, "rope", "recipe", '["yarn"]', "--model", folder / "model", "-o", folder / "yarn.json") == 2
        steps = '[{"method": "yarn", "factor": "4e0"}, "resonance"]'
        assert run(patch, "rope", "recipe", steps, "--model", folder / "model", "-o", folder / "yarn.json") == 0
    return folder


def columns(name, **more):
    return ("--columns", json.dumps({"reading": name, "rope": name, "model": "m", "base_model": "m", **more}))


def test_a_recipe_is_cooked_on_a_model(house):
    rope = Rope.load(house / "yarn.json")
    assert [step.method for step in rope.steps] == ["yarn", "resonance"]
    assert (rope.original_length, rope.rotary_dim) == (32, 32)
    assert np.allclose(rope.wavelengths, np.round(rope.wavelengths))
    assert not (house / "model.state").exists()


def test_a_recipe_of_nothing_is_the_rope_of_its_start(monkeypatch, house, tmp_path):
    assert run(monkeypatch, "rope", "recipe", "[]", "--on", house / "yarn.json", "-o", tmp_path / "same.json") == 0
    assert Rope.load(tmp_path / "same.json") == Rope.load(house / "yarn.json")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[", "steps '[': expected a JSON list of methods (Expecting value"),
        ("3", "steps '3': 3 is no method; expected a name"),
        ('["yran"]', "method is 'yran'; expected one of default"),
        ('[{"method": "pi", "beta": 2}]', "pi has no parameter 'beta'"),
        ('[{"factor": 2}]', "is no method; expected {method: NAME} or one of"),
        ('[{"file": "x"}, "yarn"]', "expected methods only; a rope starts from --model, --on or a table."),
    ],
)
def test_a_recipe_that_cannot_be_is_one_sentence(monkeypatch, capsys, steps, message):
    assert run(monkeypatch, "rope", "recipe", steps, *TABLE) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ropewalk: steps ")
    assert error.count("\n") == 1


def test_from_text_to_perplexity_and_its_report(monkeypatch, house, tmp_path, capsys):
    made = []
    for name in ("none", "yarn"):
        out = tmp_path / name
        model = ("--model", house / "model", "--rope", house / f"{name}.json", "--corpus", house / "mine")
        options = ("--options", '{"read_to": 128, "documents": 3}')
        assert run(monkeypatch, "read", "nll", *model, *options, *columns(name), "-o", out) == 0
        assert sorted(path.name for path in out.iterdir()) == ["metrics.jsonl", "nll.parquet", "scores.json"]
        made.append(out)
    capsys.readouterr()
    assert run(monkeypatch, "perplexity", made[0] / "nll.parquet", "--lengths", "32,128") == 0
    printed = capsys.readouterr().out
    scores = Scores.read(made[0] / "scores.json")
    assert f"{scores.one(quantity='perplexity', corpus='mine', length=128).value:.2f}" in printed
    options = {"experiment": "text", "confidence": 0.9, "lengths": [32, 128], "reference": "none"}
    words = ("report", "perplexity", *made, "--options", json.dumps(options), "--model", house / "model")
    assert run(monkeypatch, *words, "-o", tmp_path / "report") == 0
    assert "90 %" in (tmp_path / "report/perplexity.html").read_text()
    assert Scores.read(tmp_path / "report/scores.json").setting["experiment"] == "text"

    other = Rope.load(house / "none.json").to_json() | {"rotary_dim": 16, "inv_freq": [1.0] * 8}
    (tmp_path / "other.json").write_text(json.dumps(other))
    before = (made[0] / "nll.parquet").read_bytes()
    model = ("--model", house / "model", "--rope", tmp_path / "other.json", "--corpus", house / "mine")
    assert run(monkeypatch, "read", "nll", *model, "--options", '{"read_to": 128, "documents": 3}', "-o", made[0]) == 2
    assert "the rope rotates 16 dimensions of a head; this model rotates 32" in capsys.readouterr().err
    assert (made[0] / "nll.parquet").read_bytes() == before
    words = ("parity", "--model", house / "model", "--corpus", house / "mine", "--max-length", 64, "--documents", 2)
    assert run(monkeypatch, *words) == 0
    assert float(capsys.readouterr().out) > 1


def test_a_model_is_fetched_and_tuned_and_read_with_another_rope(monkeypatch, house, tmp_path, capsys):
    assert run(monkeypatch, "fetch", f"folder:{house / 'model'}", "-o", tmp_path / "fetched") == 0
    assert (tmp_path / "fetched/config.json").is_file()
    options = {"steps": 2, "learning_rate": 1e-3, "length": 64, "batch_tokens": 128, "seed": 3}
    called = {"model": "t", "base_model": "m", "tuned_rope": "yarn", "regime": "setting", "seed": 3}
    words = ("tune", "--model", tmp_path / "fetched", "--rope", house / "yarn.json", "--corpus", house / "mine")
    json_words = ("--options", json.dumps(options), "--columns", json.dumps(called))
    assert run(monkeypatch, *words, *json_words, "-o", tmp_path / "tuned") == 0
    assert run(monkeypatch, "rope", "recipe", "[]", "--model", tmp_path / "tuned", "-o", tmp_path / "own.json") == 0
    assert np.allclose(Rope.load(tmp_path / "own.json").inv_freq, Rope.load(house / "yarn.json").inv_freq)
    options = {"gaps": [8, 16], "samples": 2}
    words = ("read", "copying", "--model", tmp_path / "tuned", "--rope", house / "none.json")
    columns_ = ("--columns", json.dumps({**called, "reading": "r", "rope": "none"}))
    assert run(monkeypatch, *words, "--options", json.dumps(options), *columns_, "-o", tmp_path / "copied") == 0
    report = ("--options", '{"experiment": "copying", "confidence": 0.95}', "-o", tmp_path / "report")
    assert run(monkeypatch, "report", "copying", tmp_path / "copied", *report) == 0
    assert "none_on-yarn_setting_seed-3" in (tmp_path / "report/scores.json").read_text()
    capsys.readouterr()
    assert run(monkeypatch, "budget", tmp_path / "tuned", "--options", json.dumps(TUNING)) == 0
    printed = capsys.readouterr().out
    assert "GiB" in printed
    assert "tokens" in printed


def test_needles_and_questions_are_asked(monkeypatch, house, tmp_path):
    model = ("--model", house / "model", "--rope", house / "yarn.json")
    options = {"tasks": ["digits"], "lengths": [48], "depths": [0, 1], "samples": 2, "by": "nll"}
    words = ("read", "needle", *model, "--corpus", house / "mine", "--options", json.dumps(options))
    assert run(monkeypatch, *words, *columns("yarn"), "-o", tmp_path / "facts") == 0
    assert not (tmp_path / "facts.state").exists()
    pocket = ("--options", '{"documents": 1, "questions": 1, "words": 60}')
    assert run(monkeypatch, "leval", "pocket", *pocket, "-o", tmp_path / "tasks") == 0
    options = {"data": f"folder:{tmp_path / 'tasks'}", "tasks": ["tpo"], "context": 64, "max_new_tokens": 4}
    words = ("read", "leval", *model, "--options", json.dumps(options), *columns("yarn"))
    assert run(monkeypatch, *words, "-o", tmp_path / "questions") == 0
    report = ("--options", '{"experiment": "x", "confidence": 0.95}')
    assert run(monkeypatch, "report", "needle", tmp_path / "facts", *report, "-o", tmp_path / "a") == 0
    assert run(monkeypatch, "report", "leval", tmp_path / "questions", *report, "-o", tmp_path / "b") == 0
    assert (tmp_path / "a/scores.json").is_file()
    assert (tmp_path / "b/scores.json").is_file()


def test_a_rope_is_searched_probed_and_reported(monkeypatch, house, tmp_path, capsys):
    asked = {"factor": 2, "sampler": "sobol", "budget": 5, "documents": 2, "retrieval": "none"}
    called = {"method": "sobol/ramp", "factor": 2.0, "seed": 0, "search": "s", "model": "m", "experiment": "e"}
    words = ("search", "--model", house / "model", "--corpus", house / "mine", "--options", json.dumps(asked))
    assert run(monkeypatch, *words) == 2
    assert "expected -o FOLDER, or --journal FILE for one of several workers" in capsys.readouterr().err
    assert run(monkeypatch, *words, "--columns", json.dumps(called), "-o", tmp_path / "s") == 0
    assert Rope.load(tmp_path / "s/rope.json").original_length == 32
    ropes = {"none": ("none", None), "yarn": ("yarn", None), "s": ("sobol/ramp", "s")}
    (tmp_path / "none.json").write_bytes((house / "none.json").read_bytes())
    (tmp_path / "s.json").write_bytes((tmp_path / "s/rope.json").read_bytes())
    assert (
        run(monkeypatch, "rope", "yarn", "--model", house / "model", "--factor", 2, "-o", tmp_path / "yarn.json") == 0
    )
    for name, (method, search) in ropes.items():
        more = {"method": method, "factor": None if method == "none" else 2.0, "search": search, "seed": 0}
        words = ("read", "probe", "--model", house / "model", "--rope", tmp_path / f"{name}.json")
        options = ("--corpus", house / "mine", "--options", '{"factors": [2], "documents": 2, "retrieval": "none"}')
        assert run(monkeypatch, *words, *options, *columns(name, **more), "-o", tmp_path / f"probe-{name}") == 0
    options = ("--options", '{"experiment": "e", "confidence": 0.95}', "--search", tmp_path / "s")
    words = ("report", "search", *(tmp_path / f"probe-{name}" for name in ropes), *options, "-o", tmp_path / "report")
    assert run(monkeypatch, *words) == 0
    assert "sobol/ramp" in (tmp_path / "report/search.html").read_text()


READ = ("read", "nll", "--model", "m", "--rope", "r.json", "-o", "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*READ, "--options", "{"), "--options is not JSON (Expecting property name"),
        ((*READ, "--options", "[1]"), "--options is [1]; expected keys: read_to, documents, split"),
        ((*READ, "--options", "{}"), "--options key 'read_to' is missing; it has no default"),
        (
            (*READ, "--options", '{"read_to": 8, "documnts": 3}'),
            "--options key 'documnts' is not known (did you mean 'documents'?); allowed: read_to, documents",
        ),
        ((*READ, "--options", '{"read_to": 1}'), "--options key 'read_to' is 1; expected at least 2."),
        (
            (*READ, "--options", '{"read_to": 8}', "--columns", "{"),
            "--columns is not JSON (Expecting property name",
        ),
        ((*READ, "--options", '{"read_to": 8}', "--columns", "[]"), "--columns is '[]'; expected a JSON object."),
        ((*READ, "--options", '{"read_to": 8}'), "r.json: no such file; expected a rope"),
        (
            ("read", "leval", *READ[2:], "--options", '{"data": "pocket", "pocket": {"wrds": 3}}'),
            "--options key 'pocket.wrds' is not known (did you mean 'words'?); allowed: documents, questions, words",
        ),
        (
            ("tune", *READ[2:], "--corpus", "c", "--options", '{"stpes": 3}'),
            "--options key 'stpes' is not known (did you mean 'steps'?)",
        ),
        (
            ("tune", *READ[2:], "--corpus", "c", "--options", json.dumps(TUNING), "--layout", '{"shrd": true}'),
            "--layout key 'shrd' is not known (did you mean 'shard'?); allowed: checkpoint_every, shard",
        ),
        (
            ("pretrain", "--corpus", "c", "--shape", '{"layrs": 1}', "--options", "{}", "-o", "x"),
            "--shape key 'layrs' is not known (did you mean 'layers'?)",
        ),
        (
            ("search", "--model", "m", "--corpus", "c", "--options", '{"factor": 1}', "-o", "x"),
            "--options key 'factor' is 1.0; expected above 1.",
        ),
        (
            ("corpus", "--tokenizer", "byte", "--options", '{"source": "x"}', "-o", "x"),
            "--options: source is 'x'; expected package:books",
        ),
        (("fetch", "frsh", "-o", "x"), "frsh"),
        (
            ("posgen", "train", "recursive", "--rope", "r.json", "--options", '{"modulus": 1}', "-o", "x"),
            "'modulus' is 1",
        ),
        (
            ("posgen", "score", "m", "--rope", "r.json", "--options", '{"generated": 1}', "-o", "x"),
            "'generated' is not",
        ),
        (("report", "perplexity", "--options", '{"lengths": [2]}', "-o", "x"), "is missing; it has no default"),
        (("report", "search", "--options", '{"confidence": 2}', "-o", "x"), "--options key"),
        (("budget", "m", "--options", "{}"), "--options key 'steps' is missing"),
        (
            ("leval", "pocket", "--options", '{"words": 3}', "-o", "x"),
            "--options key 'words' is 3; expected at least 50",
        ),
        (("study", "none.yaml"), "none.yaml: no such file; expected the configuration of a study."),
    ],
)
def test_json_that_cannot_be_is_one_sentence(monkeypatch, tmp_path, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ropewalk: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_corpus_is_named(monkeypatch, house, tmp_path, capsys):
    model = ("--model", house / "model", "--rope", house / "none.json")
    words = ("read", "nll", *model, "--options", '{"read_to": 64}', "-o", tmp_path / "x")
    assert run(monkeypatch, *words) == 2
    assert capsys.readouterr().err == "ropewalk: --corpus is missing; a reading of kind nll needs text.\n"
    assert run(monkeypatch, *words, "--corpus", tmp_path / "none") == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "none") in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_the_tables_of_a_study_are_printed(monkeypatch, tmp_path, capsys):
    embedded = Path(__file__).parent.parent / "config/embedded.yaml"
    assert run(monkeypatch, "study", embedded, "--results", tmp_path) == 0
    text = capsys.readouterr().out
    for line in ("study embedded", "ropes: ", "models: ", "searches: ", "readings: ", "reports: "):
        assert f"\n{line}" in f"\n{text}"
    assert "0 of them stand" in text
    (tmp_path / "more.yaml").write_text("name: other\ntunings: {finetune: {seeds: [0, 7]}}\n")
    assert run(monkeypatch, "study", embedded, tmp_path / "more.yaml", "--json", "--results", tmp_path) == 0
    tables = json.loads(capsys.readouterr().out)
    assert tables["name"] == "other"
    assert {row["columns"]["seed"] for row in tables["models"] if row["columns"].get("experiment") == "finetune"} == {
        0,
        7,
    }
    assert not any(row["stands"] for row in tables["readings"])


def test_the_configuration_explains_itself(monkeypatch, capsys):
    folder = Path(__file__).parent.parent / "config"
    assert run(monkeypatch, "config", "default") == 0
    assert capsys.readouterr().out == (folder / "default.yaml").read_text()
    assert run(monkeypatch, "config", "schema") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "schema.json").read_text())


def test_a_row_of_figure_2(monkeypatch, capsys):
    words = ("posgen", "rows", "recursive", "--modulus", 7, "--start", "2,0,3,1", "--length", 12)
    assert run(monkeypatch, *words) == 0
    assert capsys.readouterr().out == "2 0 3 1 6 3 6 2 3 0 4 2\n"


def test_posgen_by_hand(monkeypatch, tmp_path, capsys):
    ropes = {"rope": ("default",), "pi": ("pi", "--factor", 2)}
    for name, method in ropes.items():
        table = ("--head-dim", 8, "--base", 100, "--length", 12)
        assert run(monkeypatch, "rope", *method, *table, "-o", tmp_path / f"{name}.json") == 0
    options = {"hidden_size": 16, "layers": 1, "heads": 1, "head_dim": 8, "intermediate_size": 16, "modulus": 7}
    options |= {"train_length": 12, "test_length": 24, "train_sequences": 50, "validation_sequences": 5}
    options |= {"test_sequences": 5, "steps": 4, "batch_size": 4, "seeds": [1, 2], "validate_every": 2}
    swapped = f"{tmp_path}/pi.json=rope"
    train = ("posgen", "train", "semi-recursive", "--rope", tmp_path / "rope.json", "-o", tmp_path / "models")
    assert run(monkeypatch, *train, "--options", json.dumps(options), "--swapped", swapped) == 0
    readings = ("--rope", tmp_path / "rope.json", "--rope", swapped, "--options", '{"generated_sequences": 2}')
    assert run(monkeypatch, "posgen", "score", tmp_path / "models", *readings, "-o", tmp_path / "scores") == 0
    report = ("--options", '{"experiment": "posgen", "confidence": 0.95}', "-o", tmp_path / "report")
    assert run(monkeypatch, "report", "posgen", tmp_path / "scores", *report) == 0
    assert "Semi-recursive" in (tmp_path / "report/accuracy.html").read_text()
    capsys.readouterr()
    before = (tmp_path / "models/models.safetensors").read_bytes()
    assert run(monkeypatch, *train, "--options", json.dumps(options), "--swapped", f"{tmp_path}/pi.json=yarn") == 2
    assert "is to be read with the weights of 'yarn'" in capsys.readouterr().err
    assert run(monkeypatch, *train, "--options", json.dumps({**options, "keep": "first"})) == 2
    assert "--options key 'keep' is 'first': input should be 'last' or 'best'" in capsys.readouterr().err
    assert (tmp_path / "models/models.safetensors").read_bytes() == before


def help_of(*words):
    command = cli_command()
    for word in words:
        command = command.commands[word]
    return command.get_help(command.make_context(words[-1], [], resilient_parsing=True))


def cli_command():
    from typer.main import get_command

    return get_command(cli.app)


@pytest.mark.parametrize(
    ("words", "classes"),
    [
        (("corpus",), [CorpusOptions]),
        (("pretrain",), [ModelShape, PretrainingOptions, Layout]),
        (("tune",), [TuningOptions, Layout]),
        (("budget",), [TuningOptions, Layout]),
        (("read",), [*READING_OPTIONS.values()]),
        (("report",), [*REPORT_OPTIONS.values()]),
        (("search",), [SearchOptions]),
        (("posgen", "train"), [PosGenOptions, PosGenLayout]),
        (("posgen", "score"), [ScoringOptions]),
        (("leval", "pocket"), [PocketOptions]),
    ],
)
def test_help_lists_the_keys_of_options_with_their_descriptions(words, classes):
    text = help_of(*words)
    flat = " ".join(text.split())
    for kind in classes:
        for name, note in descriptions(kind).items():
            assert f"\n  {name} (" in text
            assert note in flat
    for word in ("tuple[", "Literal[", "Optional[", "NoneType", "<class"):
        assert word not in text.split("--options of")[-1].split("\n--options:")[-1]


def test_help_says_what_values_may_be_in_words():
    text = help_of("read")
    assert (
        "  tasks (list of tpo, quality, coursera, sci_fi, gsm100, codeU or topic_retrieval_longchat; default\n" in text
    )
    assert '["tpo", "quality", "coursera", "sci_fi", "gsm100", "codeU", "topic_retrieval_longchat"])' in text
    assert "  window (whole number at least 2 or null; default null)" in text
    assert "  parity (true or false; default false)" in text
    assert "  factors (list of numbers above 1; needed)" in text
    assert max(map(len, text.splitlines())) <= 100


def test_every_command_has_a_help_that_says_what_it_does():
    pending, found = [((), cli_command())], 0
    while pending:
        words, command = pending.pop()
        for name, sub in getattr(command, "commands", {}).items():
            pending.append(((*words, name), sub))
            found += 1
            assert len((sub.help or "").split()) >= 4, f"{' '.join(words)} {name}"
            for parameter in sub.params:
                if parameter.name != "help" and not hasattr(sub, "commands"):
                    assert getattr(parameter, "help", "x"), f"{' '.join(words)} {name} {parameter.name}"
    assert found > 40


def test_help_teaches_and_starts_fast():
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ropewalk.cli", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    listed = {line.split()[0] for line in shown.stdout.split("Commands:")[1].splitlines() if line.strip()}
    assert {"study", "fetch", "corpus", "pretrain", "tune", "read", "search", "posgen", "report", "rope"} <= listed
    lines = [line for line in shown.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip() for line in lines}
    assert {"typer", "numpy"} <= loaded
    assert not loaded & {"torch", "transformers", "mlflow", "pandas", "matplotlib", "scipy", "pydantic", "optuna"}


def test_a_terminal_that_lacks_a_sign_shows_a_question_mark(tmp_path):
    rope = tmp_path / "rope.json"
    default_rope(64, 1e4, 128).save(rope)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "ropewalk.cli", "show", str(rope)], capture_output=True, env=environment, check=True
    )
    assert done.stdout.startswith(b"rotary dimension 64 ? base 10000 ? trained at 128 tokens")

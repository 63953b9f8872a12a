from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from ropewalk import cli
from ropewalk.models.binding import read_rope, write_rope
from ropewalk.models.fresh import ModelShape, fresh_llama
from ropewalk.rope import Rope, apply
from ropewalk.scores import Scores


def run(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ropewalk", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


TABLE = ("--head-dim", 128, "--base", 10000, "--length", 4096)
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
    fresh_llama(ModelShape(32, 1, 1, 1, 32, length=64), 257, seed=0).save_pretrained(tmp_path / "m")
    assert run(monkeypatch, "rope", "ntk", "--model", tmp_path / "m", "--factor", 4, "-o", tmp_path / "r.json") == 0
    assert Rope.load(tmp_path / "r.json").original_length == 64


def test_a_model_that_was_lengthened_already_is_not_lengthened_again(monkeypatch, tmp_path, capsys):
    model = fresh_llama(ModelShape(32, 1, 1, 1, 32, length=64), 257, seed=0)
    write_rope(model.config, apply(read_rope(model.config), "yarn", factor=4.0), 256)
    model.save_pretrained(tmp_path / "m")
    own, again = tmp_path / "own.json", tmp_path / "again.json"
    assert run(monkeypatch, "rope", "yarn_written", "--model", tmp_path / "m", "--factor", 2, "-o", again) == 1
    assert "already carries a rope made by longrope" in capsys.readouterr().err
    assert run(monkeypatch, "original-rope", tmp_path / "m", "-o", own) == 1
    assert not own.exists()
    assert run(monkeypatch, "rope", "default", "--model", tmp_path / "m", "-o", own) == 0
    assert run(monkeypatch, "rope", "yarn_written", "--on", own, "--factor", 2, "-o", again) == 0


def test_predict_prints_text_and_json_and_draws(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    headline = ("predict", *LLAMA2, "--tune", 16384, "--new-base", 1000000)
    assert run(monkeypatch, *headline) == 0
    assert "predicted limit      129,027 tokens" in capsys.readouterr().out
    assert (tmp_path / "prediction.png").stat().st_size > 10_000
    assert run(monkeypatch, *headline, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    keys = {"critical_dimension", "critical_base", "limit", "limit_continuous", "small_base_thresholds", "regime"}
    assert keys <= set(found)
    assert found["limit"] == pytest.approx(129_027, abs=1)


def test_predict_reads_a_model_or_its_config_without_weights(monkeypatch, tmp_path, capsys):
    model = fresh_llama(ModelShape(32, 1, 1, 1, 32, length=64), 257, seed=0)
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
    assert "carries a rope made by longrope" in found["warnings"][0]
    assert run(monkeypatch, "predict", "--model", tmp_path / "none.json") == 1
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
        (("predict", "--model", "m", "--base", 9), "starts from --model, or from --head-dim, --base and --train"),
        (("predict", *LLAMA2, "--new-base", 1), "--new-base is 1; expected a number above 1"),
        (("predict", "--head-dim", 64, "--base", 1, "--train", 64), "ropewalk: --base is 1; expected a number above 1"),
        (("predict", *LLAMA2, "--figure", "x.xyz"), "--figure x.xyz: expected a name that ends in .avif, .eps"),
        (("predict", *LLAMA2, "--tune", 1024), "--tune is 1024; expected at least the pre-training length, 4096"),
        (("predict", *LLAMA2, "--target", 1024), "--target is 1024; expected at least the pre-training length"),
        (("predict", "--head-dim", 63, *LLAMA2[2:]), "--head-dim is 63; expected an even number"),
        (("scaling", "predict", *TABLE, "--cell", "500", "-o", "x"), "--cell '500': expected BASE@LENGTH"),
    ],
)
def test_faults_are_one_sentence_and_status_1(monkeypatch, capsys, words, message):
    assert run(monkeypatch, *words) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ropewalk: ")
    assert error.count("\n") == 1


def test_from_text_to_perplexity(monkeypatch, tmp_path, capsys):
    text = tmp_path / "text"
    text.mkdir()
    for i in range(60):
        (text / f"{i}.txt").write_text(f"document {i}: " + "the quick brown fox 0123456789 " * 12)
    corpus, model, rope = tmp_path / "corpora/mine", tmp_path / "model", tmp_path / "none.json"
    sizes = ("--hidden-size", 32, "--layers", 1, "--heads", 1, "--kv-heads", 1, "--intermediate-size", 32)
    short = ("--length", 32, "--steps", 12, "--batch-size", 4, "--checkpoint-every", 6, "--warmup-steps", 2)
    kept = ("--state", tmp_path / "s", "--metrics", tmp_path / "m.jsonl")
    assert run(monkeypatch, "corpus", f"folder:{text}", "--tokenizer", "byte", "-o", corpus) == 0
    assert run(monkeypatch, "pretrain", "--corpus", corpus, *sizes, *short, *kept, "-o", model) == 0
    assert not (tmp_path / "s").exists()
    assert run(monkeypatch, "rope", "default", "--model", model, "-o", rope) == 0
    out = tmp_path / "evaluations/none"
    measured = ("--corpus", corpus, "--documents", 3, "--lengths", "32,128", "--gaps", "8,16", "--samples", 2)
    assert run(monkeypatch, "evaluate", "--model", model, "--rope", rope, *measured, "-o", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["copying.csv", "metrics.jsonl", "nll.parquet", "scores.json"]
    capsys.readouterr()
    assert run(monkeypatch, "perplexity", out / "nll.parquet", "--lengths", "32,128") == 0
    printed = capsys.readouterr().out
    scores = Scores.read(out / "scores.json")
    assert f"{scores.one(quantity='perplexity', corpus='mine', length=128).value:.2f}" in printed

    other = Rope.load(rope).to_json() | {"rotary_dim": 16, "inv_freq": [1.0] * 8}
    (tmp_path / "other.json").write_text(json.dumps(other))
    before = (out / "nll.parquet").read_bytes()
    assert run(monkeypatch, "evaluate", "--model", model, "--rope", tmp_path / "other.json", *measured, "-o", out) == 1
    assert "the rope rotates 16 dimensions of a head; this model rotates 32" in capsys.readouterr().err
    assert (out / "nll.parquet").read_bytes() == before
    assert run(monkeypatch, "parity", "--model", model, "--corpus", corpus, "--max-length", 64, "--documents", 2) == 0
    assert float(capsys.readouterr().out) > 1


def test_a_row_of_figure_2(monkeypatch, capsys):
    words = ("posgen", "rows", "recursive", "--modulus", 7, "--start", "2,0,3,1", "--length", 12)
    assert run(monkeypatch, *words) == 0
    assert capsys.readouterr().out == "2 0 3 1 6 3 6 2 3 0 4 2\n"


def test_posgen_by_hand(monkeypatch, tmp_path, capsys):
    ropes = {"rope": ("default",), "pi": ("pi", "--factor", 2)}
    for name, method in ropes.items():
        table = ("--head-dim", 8, "--base", 100, "--length", 12)
        assert run(monkeypatch, "rope", *method, *table, "-o", tmp_path / f"{name}.json") == 0
    sizes = ("--hidden-size", 16, "--layers", 1, "--heads", 1, "--head-dim", 8, "--intermediate-size", 16)
    data = ("--modulus", 7, "--train-length", 12, "--test-length", 24, "--train-sequences", 50)
    held = ("--validation-sequences", 5, "--test-sequences", 5, "--steps", 4, "--batch-size", 4)
    kept = ("--state", tmp_path / "s", "--metrics", tmp_path / "m.jsonl", "-o", tmp_path / "models")
    options = ("--rope", tmp_path / "rope.json", "--seeds", "1,2", "--validate-every", 2)
    swapped = f"{tmp_path}/pi.json=rope"
    train = ("posgen", "train", "semi-recursive", *options, *sizes, *data, *held, *kept)
    assert run(monkeypatch, *train, "--swapped", swapped) == 0
    readings = ("--rope", tmp_path / "rope.json", "--rope", swapped, "--generated-sequences", 2)
    assert run(monkeypatch, "posgen", "score", tmp_path / "models", *readings, "-o", tmp_path / "scores") == 0
    assert run(monkeypatch, "posgen", "report", "--scores", tmp_path / "scores", "-o", tmp_path / "report") == 0
    assert "Semi-recursive" in (tmp_path / "report/accuracy.html").read_text()
    capsys.readouterr()
    before = (tmp_path / "models/models.safetensors").read_bytes()
    assert run(monkeypatch, *train, "--swapped", f"{tmp_path}/pi.json=yarn") == 1
    assert "is to be read with the weights of 'yarn'" in capsys.readouterr().err
    assert run(monkeypatch, *train, "--keep", "first") == 1
    assert "keep is 'first'; expected 'last' or 'best'" in capsys.readouterr().err
    assert (tmp_path / "models/models.safetensors").read_bytes() == before


def test_help_teaches_and_starts_fast():
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ropewalk.cli", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "evaluate" in shown.stdout
    for heavy in ("torch", "transformers", "mlflow", "pandas", "matplotlib"):
        assert f"| {heavy}\n" not in shown.stderr, f"{heavy} is imported before it is needed"

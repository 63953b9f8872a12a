"""Files that an engine loads here, and models with weights of their own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from ropewalk.cli import app
from ropewalk.doctor.check import check
from ropewalk.doctor.diagnosis import diagnose
from ropewalk.doctor.faults import RIGHT
from ropewalk.doctor.probes import FILE, Probe
from ropewalk.errors import UserError
from ropewalk.files import read_json, write_json
from ropewalk.models.sources import ModelSource
from ropewalk.rope import Rope, default_rope


def run(*words: object):
    return CliRunner().invoke(app, ["doctor", "check", *map(str, words)])


@pytest.fixture(scope="module")
def ignoring(tiny, tmp_path_factory):
    """A checkpoint whose configuration lost its YaRN, as an engine sees it that does not know the keys."""
    folder = tmp_path_factory.mktemp("ignoring") / "llama-yarn"
    shutil.copytree(tiny / "llama-yarn", folder)
    (folder / FILE).unlink()
    config = read_json(folder / "config.json", "a configuration")
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 500_000.0}
    write_json(folder / "config.json", config)
    return folder


def test_plain_transformers(tiny, ignoring):
    assert check(str(tiny / "qwen3-yarn")).verdict == "applies"
    found = run(ignoring, "--model", tiny)
    assert found.exit_code == 1
    assert "FAULT: ignored. The engine ignores the rope" in found.stdout
    found = run(tiny / "llama-yarn", "--json")
    assert found.exit_code == 0
    value = json.loads(found.stdout)
    assert (value["verdict"], value["best"], value["original_length"]) == ("applies", "right", 256)
    assert value["tokens"] == [96, 240, 640, 1000]


def test_a_model_with_weights_of_its_own(tiny, ignoring, tmp_path):
    # Its own rope is plain, and the one that is meant comes from a file.
    rope = tiny / "llama-yarn/rope.json"
    found = check(str(ignoring), model=str(ignoring), rope=Rope.load(rope))
    assert (found.verdict, found.best) == ("fault", "ignored"), found
    assert 500 < found.tokens[0] <= 512
    own = tmp_path / "own"
    shutil.copytree(tiny / "llama-yarn", own)
    (own / FILE).unlink()
    assert check(str(own)).verdict == "applies"
    # Two tables are asked about on both sides of the switch.
    other = tmp_path / "phi"
    shutil.copytree(tiny / "phi-longrope", other)
    (other / FILE).unlink()
    found = check(str(other))
    assert found.verdict == "applies"
    assert len(found.tokens) == 2
    assert {"short-table-for-long", "long-table-for-short"} <= set(found.distances)


def test_what_is_too_near_is_not_told(tiny):
    probe = Probe.load(tiny / "llama-yarn")
    right = probe.expected[RIGHT]
    assert diagnose(right, replace(probe, noise=10.0)).said.startswith("No wrong rope changes")
    found = diagnose(right, replace(probe, noise=0.21))
    assert found.verdict == "applies"
    assert {"bf16-frequencies", "attention-factor-dropped"} <= set(found.hidden)
    # As far aside as the two are apart.
    aside = [values + 0.22 * (-1) ** np.arange(len(values)) for values in right]
    found = diagnose(aside, replace(probe, noise=0.06))
    assert found.verdict == "cannot-be-told"
    assert "attention-factor-dropped" in found.said
    # Faults that are near each other and far from what is right.
    near = {**probe.expected, "linear-instead": [values + 0.01 for values in probe.expected["ignored"]]}
    found = diagnose(probe.expected["ignored"], replace(probe, expected=near))
    assert (found.verdict, found.best, found.rivals) == ("fault", "ignored", ("linear-instead",))
    assert " Or: it " in found.said


def test_what_fits_nothing(tiny):
    probe = Probe.load(tiny / "llama-yarn")
    found = diagnose([np.full_like(values, -5.0) for values in probe.expected[RIGHT]], probe)
    assert found.verdict == "cannot-be-told"
    assert "another model" in found.said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "no such checkpoint"),
        (["nowhere.gguf"], "no such file"),
        (["{tiny}/llama-yarn", "--name", "x"], "--name is what an endpoint"),
        (["{tiny}/llama-yarn", "--rope", "nowhere.json"], "nowhere.json: no such file"),
        (["{tiny}/llama-yarn", "--rope", "{tiny}/llama-yarn/rope.json"], "expected no --rope"),
        (["{tiny}/llama-yarn", "--length", "512"], "no --length"),
        (["{ignoring}", "--length", "20"], "at least 64 tokens"),
        (["{ignoring}", "--rope", "{other}"], "this model has base"),
        (["{still}"], "has no rotary position embedding"),
    ],
)
def test_mistakes_are_one_sentence(tiny, ignoring, tmp_path, words, said):
    from transformers import GPT2Config, GPT2LMHeadModel

    other, still = tmp_path / "other.json", tmp_path / "still"
    default_rope(64, 10_000.0, 256).save(other)
    if "{still}" in words:
        GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=257)).save_pretrained(still)
    places = {"tiny": tiny, "ignoring": ignoring, "other": other, "still": still}
    found = run(*(word.format(**places) for word in words))
    assert isinstance(found.exception, UserError)
    assert said in str(found.exception)
    assert found.exception.status == 2


@pytest.fixture
def written(tiny, tmp_path):
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    from ropewalk.export import gguf

    def write(name, change=lambda rope: rope):
        file = tmp_path / f"{name}.gguf"
        source, rope = ModelSource("folder", str(tiny / name)), Rope.load(tiny / name / "rope.json")
        gguf.export(source, change(rope), file, length=1024)
        return str(file)

    return write


@pytest.mark.parametrize("name", ["llama-yarn", "phi-longrope"])
def test_llama_cpp_applies_what_a_file_says(tiny, written, name):
    found = check(written(name), model=str(tiny))
    assert found.verdict == "applies"
    assert found.distances[RIGHT] < found.noise / 4


@pytest.mark.parametrize(
    ("name", "fault", "change"),
    [
        ("llama-yarn", "ignored", lambda rope: default_rope(64, rope.base, 256)),
        ("llama-yarn", "attention-factor-dropped", lambda rope: replace(rope, attention_factor=1.0)),
        # llama.cpp passes over the constants of the ramp that the file holds.
        ("qwen3-yarn", "wrong-ramp-defaults", lambda rope: rope),
    ],
)
def test_llama_cpp_with_a_fault(tiny, written, name, fault, change):
    found = check(written(name, change), model=str(tiny))
    assert (found.verdict, found.best) == ("fault", fault), found


def test_llama_cpp_is_asked_for_in_one_sentence(tiny, tmp_path, monkeypatch):
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    file = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    monkeypatch.setitem(__import__("sys").modules, "llama_cpp", None)
    with pytest.raises(UserError, match="needs llama-cpp-python"):
        check(str(file), model=str(tiny))

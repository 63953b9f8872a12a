from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from ropewalk import cli
from ropewalk.errors import UserError
from ropewalk.export import gguf, verify
from ropewalk.export.huggingface import export
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.rope import methods

needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="the package gguf is not installed")
needs_llama_cpp = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"
)


def run(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ropewalk", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_export_and_verify_by_hand(monkeypatch, make, tmp_path, capsys):
    made, rope, out = make(), tmp_path / "rope.json", tmp_path / "out"
    made.rope.save(rope)
    model = ("--model", made.folder)
    assert run(monkeypatch, "export", rope, *model, "--to", "hf", "-o", out) == 0
    printed = capsys.readouterr().out
    assert f"wrote {out}: 8 pairs, context length 256 tokens" in printed
    assert "--print ENGINE" in printed
    assert run(monkeypatch, "verify-export", out, "--rope", rope, *model, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["engine"], found["passed"], found["tokens"], found["original_length"]) == (
        "transformers",
        True,
        128,
        64,
    )
    assert found["max_difference"] < 1e-4
    assert found["correlation"] > 0.999999
    assert found["positions_beyond"] == 32


def test_an_export_of_another_rope_is_found_out(monkeypatch, make, tmp_path, capsys):
    made, rope, out = make(), tmp_path / "rope.json", tmp_path / "out"
    export(ModelSource.parse(str(made.folder)), methods.pi(methods.default_rope(16, 1e4, 64), factor=4.0), out)
    made.rope.save(rope)

    def here(script, path, text):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        with torch.no_grad():
            return model(torch.from_numpy(text.tokens)[None]).logits[0, text.positions].numpy()

    monkeypatch.setattr(verify, "_run", here)  # a process that imports transformers takes ten seconds
    assert run(monkeypatch, "verify-export", out, "--rope", rope, "--model", made.folder) == 1
    printed = capsys.readouterr().out
    assert "DIFFERS: difference at most " in printed
    assert "32 beyond the original length of 64" in printed


def test_the_other_process_knows_nothing_of_this_package():
    for script in (verify._WITH_TRANSFORMERS, verify._WITH_LLAMA_CPP):
        assert [line for line in script.splitlines() if "ropewalk" in line] == ['assert "ropewalk" not in sys.modules']
        compile(script, "script", "exec")


def test_what_is_not_a_number_never_passes():
    wanted, found = np.ones((2, 3), np.float32), np.full((2, 3), np.nan, np.float32)
    difference, correlation = verify._compare(wanted, found)
    assert difference > 1e30
    assert correlation == 0
    with pytest.raises(UserError, match=r"logits of shape \(2, 4\); the model gives \(2, 3\)"):
        verify._compare(wanted, np.ones((2, 4), np.float32))


def test_what_does_not_run_is_one_sentence(make, tmp_path):
    made = make()
    with pytest.raises(UserError, match=r"expected an export, a folder with config\.json or a \.gguf file"):
        verify.verify(tmp_path / "none", made.rope, ModelSource.parse(str(made.folder)))
    text = verify._Text.beyond(made.rope, 97)
    for script in ("raise ValueError('a weight\\nis missing')", "import os; os.abort()"):
        with pytest.raises(UserError, match=r"out cannot be run: (is missing|exit status -6)") as caught:
            verify._run(script, tmp_path / "out", text)
        assert "\n" not in str(caught.value)


@needs_gguf
def test_without_llama_cpp_the_file_is_read_back(monkeypatch, make, tmp_path, capsys):
    made, rope, out = make(), tmp_path / "rope.json", tmp_path / "out.gguf"
    made.rope.save(rope)
    monkeypatch.setattr(verify, "find_spec", lambda name: None)
    assert run(monkeypatch, "export", rope, "--model", made.folder, "--to", "gguf", "-o", out) == 0
    words = ("verify-export", out, "--model", made.folder, "--rope")
    assert run(monkeypatch, *words, rope) == 0
    printed = capsys.readouterr().out
    assert "llama-cpp-python is not installed, so logits were not verified; tensor and keys were read back." in printed
    assert "agrees: divisors, attention factor" in printed
    methods.pi(methods.default_rope(16, 1e4, 64), factor=4.0).save(rope)
    assert run(monkeypatch, *words, rope) == 1
    printed = capsys.readouterr().out
    assert "At 64 tokens the file turns pair 0 otherwise than the rope." in printed
    assert "DIFFERS" in printed


@needs_gguf
@needs_llama_cpp
def test_llama_cpp_gives_the_logits_of_the_patched_model(make, tmp_path):
    made = make(vocab_size=257, attention_bias=True)
    byte_tokenizer().save_pretrained(made.folder)
    source = ModelSource.parse(str(made.folder))
    gguf.export(source, made.rope, tmp_path / "out.gguf")
    right = verify.verify(tmp_path / "out.gguf", made.rope, source)
    assert right.passed
    assert right.max_difference < 5e-3
    plain = methods.default_rope(16, 1e4, 64)
    gguf.export(source, plain, tmp_path / "plain.gguf", length=64)
    assert not verify.verify(tmp_path / "plain.gguf", made.rope, source).passed
    # Grafted onto a file that exists, it is the same model. (transformers leaves the biases of a GGUF file behind.)
    made = make(vocab_size=257)
    gguf.export(ModelSource.parse(str(made.folder)), plain, tmp_path / "plain.gguf", length=64)
    plain_source = ModelSource.parse(str(tmp_path / "plain.gguf"))
    gguf.export(plain_source, made.rope, tmp_path / "graft.gguf")
    assert verify.verify(tmp_path / "graft.gguf", made.rope, plain_source).passed


TABLE = methods.default_rope(16, 1e4, 64)
# llama.cpp rounds the context that it allocates up to 256 tokens, and chooses a table by that.
TWO = methods.longrope(
    methods.default_rope(16, 1e4, 256), long_factor=[4.0] * 8, short_factor=[1.5] * 8, factor=4.0, attention_factor=1.2
)


@needs_gguf
@needs_llama_cpp
@pytest.mark.parametrize(
    ("family", "rope"),
    [
        ("llama", TWO),
        ("phi3", TWO),
        ("phi3", methods.resonance(methods.yarn(TABLE, factor=4.0))),
        ("qwen2", methods.yarn(TABLE, factor=4.0)),
        ("qwen2", methods.yarn(TABLE, factor=4.0, attention_factor=1.0)),
        ("qwen2", methods.pi(TABLE, factor=4.0)),
        ("qwen3", methods.yarn(TABLE, factor=4.0)),
        ("qwen3", methods.ntk(TABLE, factor=4.0)),
    ],
)
def test_llama_cpp_takes_ropes_by_keys_and_by_two_tables(family, rope, make, tmp_path):
    made = make(family, vocab_size=257, rope_parameters={"rope_type": "default", "rope_theta": 1e4})
    source = ModelSource.parse(str(made.folder))
    gguf.export(source, rope, tmp_path / "out.gguf")
    assert gguf.read_back(tmp_path / "out.gguf", rope) == []
    assert verify.verify(tmp_path / "out.gguf", rope, source).passed
    other = methods.default_rope(16, 1e4, 64)
    gguf.export(source, other, tmp_path / "plain.gguf", length=256)
    assert not verify.verify(tmp_path / "plain.gguf", rope, source).passed


@needs_gguf
@needs_llama_cpp
def test_a_quantised_file_is_held_against_its_own_noise(quantised, small, tmp_path):
    source = ModelSource.parse(str(quantised))
    gguf.export(source, small.rope, tmp_path / "out.gguf")
    right = verify.verify(tmp_path / "out.gguf", small.rope, source)
    assert right.passed, right
    assert right.correlation > 0.99
    assert "of the same weights with the rope of pre-training" in right.criterion
    wrong = verify.verify(quantised, small.rope, source)
    assert not wrong.passed
    assert wrong.correlation < 0.9


@needs_gguf
@needs_llama_cpp
def test_llama_cpp_cuts_text_as_the_tokenizer_does(make, tmp_path):
    import llama_cpp

    made = make(vocab_size=257)
    byte_tokenizer().save_pretrained(made.folder)
    gguf.export(ModelSource.parse(str(made.folder)), made.rope, tmp_path / "out.gguf")
    loaded = llama_cpp.Llama(str(tmp_path / "out.gguf"), vocab_only=True, verbose=False)
    text = 'Æsop said: "42 ropes"\n\t漢字 \U0001f9f5  it\'s'
    assert loaded.tokenize(text.encode(), add_bos=False) == byte_tokenizer()(text)["input_ids"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.json", "--model", "m", "--to", "hf", "-o", "x"), "none.json: no such file; expected a rope"),
        (("{rope}", "--model", "{model}", "--to", "onnx", "-o", "x"), "--to 'onnx': expected hf or gguf"),
        (("{rope}", "--model", "folder:none", "--to", "hf", "-o", "x"), "no config.json there"),
        (("{rope}", "--model", "none.gguf", "--to", "gguf", "-o", "x.gguf"), "no such file"),
        (("{rope}", "--model", "{model}", "--to", "hf", "-o", "/proc/none/x"), "/proc/none"),
        (("{rope}", "--model", "{model}", "--to", "hf", "-o", "x", "--length", 9), "length is 9; expected"),
        (("{rope}", "--model", "{model}", "--to", "gguf", "-o", "x.gguf", "--fold-temperature"), "expected --to hf"),
    ],
)
def test_faults_are_one_sentence_and_status_2(monkeypatch, make, tmp_path, capsys, words, message):
    made = make()
    made.rope.save(tmp_path / "rope.json")
    monkeypatch.chdir(tmp_path)
    words = [str(word).format(rope=tmp_path / "rope.json", model=made.folder) for word in words]
    assert run(monkeypatch, "export", *words) == (1 if "/proc/none" in str(words) else 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ropewalk: ")
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama", "rope.json"]


def test_the_engines_are_printed_without_a_rope(monkeypatch, capsys):
    assert run(monkeypatch, "export", "--engines") == 0
    assert "llama.cpp" in capsys.readouterr().out

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from typer.testing import CliRunner

from ropewalk.cli import app
from ropewalk.corpora import Corpus
from ropewalk.errors import UserError
from ropewalk.extending import run
from ropewalk.extending.run import Wish, extend
from ropewalk.extending.texts import count, open_texts
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.rope import Rope

from .conftest import LENGTH


@pytest.fixture
def wish(source, folder_of_texts) -> Wish:
    return Wish(source, LENGTH, (str(folder_of_texts),), (), budget=600, short_cost=0.05, confidence=0.95)


@pytest.fixture(scope="module")
def answered(source, folder_of_texts, tmp_path_factory):
    """The folder of an answer, with both searches."""
    folder = tmp_path_factory.mktemp("answer") / "answer"
    lavish = Wish(source, LENGTH, (str(folder_of_texts),), ("vllm",), budget=600, short_cost=1.0, confidence=0.95)
    return lavish, folder, extend(lavish, folder)


def test_texts_to_choose_by_and_texts_to_report_on_differ(folder_of_texts, tmp_path):
    corpora = open_texts([str(folder_of_texts)], byte_tokenizer(), tmp_path, LENGTH, trained=False)
    numbers = [count(corpora, split)[folder_of_texts.name] for split in ("search", "selection", "test")]
    assert numbers == [3, 3, 18]
    [corpus] = corpora.values()
    assert corpus.documents["length"].min() >= LENGTH
    # A model that was trained here may have seen the split train.
    whole = Corpus.open(tmp_path / folder_of_texts.name)
    trained = set(whole.documents[whole.documents["split"] == "train"]["id"])
    [other] = open_texts([str(folder_of_texts)], byte_tokenizer(), tmp_path, LENGTH, trained=True).values()
    assert trained
    assert not trained & set(other.documents["id"])


def test_an_answer_has_a_page_a_figure_and_all_ropes(answered):
    _, folder, found = answered
    names = [row["rope"] for row in found["ropes"]]
    assert names == ["native", "yarn", "mrrope-pro", "ntk", "yarn, tuned", "searched"]
    assert len(found["documents"]) == 18
    assert found["comparisons"] == 5
    assert found == json.loads((folder / "answer.json").read_text())
    page = (folder / "page.html").read_text()
    assert run.__name__ not in page
    assert "<Macro" not in page
    assert (folder / "front.png").stat().st_size > 10_000
    for row in found["ropes"]:
        assert Rope.load(folder / "ropes" / f"{row['rope'].replace(', ', '-')}.json").rotary_dim == 32
    # A model that has learned nothing has nothing to gain.
    assert found["answer"] != "use"
    assert not (folder / "rope.json").exists()


def test_readings_are_those_of_transformers(answered, source):
    """The short part and the tail of one document, with the model's own rope, by a pass of transformers' own."""
    lavish, folder, _ = answered
    first = json.loads((folder / "state/readings.jsonl").read_text().splitlines()[0])
    [place] = lavish.corpora
    text = (folder.parent / place / first["document"]).read_text()
    ids = torch.tensor(byte_tokenizer()(text)["input_ids"][:LENGTH])
    model = AutoModelForCausalLM.from_pretrained(source.name)
    with torch.no_grad():
        logits = model(ids[None]).logits[0, :-1]
    nll = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
    assert first["candidate"] == "native"
    assert first["short"] == pytest.approx(float(nll[:63].mean()), abs=1e-4)
    assert first["tail"] == pytest.approx(float(nll[63:].mean()), abs=1e-4)


def test_called_again_it_reads_nothing_and_after_a_kill_what_is_missing(answered):
    lavish, folder, found = answered
    kept = folder / "state/readings.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    assert extend(lavish, folder)["ropes"] == found["ropes"]
    assert kept.read_text() == "".join(lines)
    # What a kill leaves: one reading torn, ten not begun.
    kept.write_text("".join(lines[:-11]) + lines[-11][:20])
    assert extend(lavish, folder)["ropes"] == found["ropes"]
    again = kept.read_text().splitlines(keepends=True)
    assert again[:-11] == lines[:-11]
    assert len(again) == len(lines)
    # Another length is another question.
    other = extend(replace(lavish, length=96, budget=5), folder)
    assert other["length"] == 96
    assert set(other["documents"]) <= {f"{json.loads(x)['corpus']}/{json.loads(x)['document']}" for x in lines}


def test_what_is_recommended_is_told_to_engines_and_proved(wish, tmp_path, monkeypatch):
    """A model for which each rope is better than none cannot be made in a test; the rule is told that one is."""
    rule = run.recommend

    def generous(found, bound, confidence):
        said = rule(found, bound, confidence)
        return replace(said, answer="use", rope="yarn") if said.documents > 2 else said

    monkeypatch.setattr(run, "recommend", generous)
    found = extend(replace(wish, budget=20, engines=("vllm", "llama.cpp")), tmp_path / "answer")
    assert Rope.load(tmp_path / "answer/rope.json").recipe == "yarn"
    assert found["engines"]["vllm"]["text"].startswith("vllm serve")
    assert "--rope-scaling yarn" in found["engines"]["llama.cpp"]["text"]
    assert found["proof"]["passed"]
    config = AutoConfig.from_pretrained(tmp_path / "answer/export")
    assert config.rope_parameters["factor"] == 2.0
    assert config.max_position_embeddings == LENGTH
    assert not list((tmp_path / "answer").rglob("*.safetensors"))


def test_the_command_says_what_it_found(source, folder_of_texts, tmp_path):
    words = ["extend", source.name, "--length", str(LENGTH), "--corpus", str(folder_of_texts), "--budget", "4s"]
    result = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "answer"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"] == str(source)


def test_what_cannot_be_is_one_sentence(wish, source, tmp_path, folder_of_texts):
    with pytest.raises(UserError, match="no text has 5000 tokens"):
        extend(replace(wish, length=5000), tmp_path / "a")
    with pytest.raises(UserError, match="--length 64: the model says that it reads 64 tokens"):
        extend(replace(wish, length=64), tmp_path / "b")
    with pytest.raises(UserError, match="expected at least"):
        extend(replace(wish, budget=1e-6), tmp_path / "c")
    with pytest.raises(UserError, match="--engine 'tgi'"):
        extend(replace(wish, engines=("tgi",)), tmp_path / "d")
    with pytest.raises(UserError, match="no such folder"):
        extend(replace(wish, corpora=("nowhere",)), tmp_path / "e")
    with pytest.raises(UserError, match="holds other files"):
        extend(wish, folder_of_texts)

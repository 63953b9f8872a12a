from __future__ import annotations

import json
import sys

import pytest
import torch

from ropewalk.errors import UserError
from ropewalk.models.binding import patch
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.shape import ModelShape
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.reading.harness import run_harness
from ropewalk.rope import apply, default_rope
from ropewalk.scores import Scores

SHAPE = ModelShape(hidden_size=32, layers=2, heads=1, kv_heads=1, intermediate_size=32, length=64)
TASK = """
task: toy
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{target}}}}"
target_delimiter: ""
metric_list: [{{metric: perplexity, aggregation: perplexity, higher_is_better: false}}]
"""


@pytest.fixture(scope="module")
def source(make_model) -> ModelSource:
    return make_model(SHAPE)


def test_the_harness_scores_the_model_with_its_rope(source, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed; uv sync --extra lm-eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    lines = [{"text": "long ago," * 12, "target": " there was a king"}, {"text": "so, so" * 20, "target": " it goes"}]
    (tmp_path / "toy.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "toy.yaml").write_text(TASK.format(file=tmp_path / "toy.jsonl"))
    rope = apply(default_rope(32, 10_000.0, 64), "yarn", factor=4.0)
    folder = tmp_path / "out"
    scores = run_harness(source, rope, ["toy"], length=256, include=tmp_path, dtype="float32", folder=folder)
    written = Scores.read(folder / "scores.json")
    assert written.one(quantity="perplexity none", task="toy").value == scores["toy"]["perplexity,none"]
    model = fresh_llama(SHAPE, len(byte_tokenizer()), seed=0).eval()
    patch(model, rope)
    total = []
    for line in lines:
        text, target = (byte_tokenizer()(line[key])["input_ids"] for key in ("text", "target"))
        with torch.no_grad():
            logits = model(torch.tensor([text + target])).logits[0, len(text) - 1 : -1].log_softmax(-1)
        total.append(float(logits.gather(1, torch.tensor(target)[:, None]).sum()))
    assert scores["toy"]["perplexity,none"] == pytest.approx(float(torch.tensor(total).mean().neg().exp()), rel=1e-4)


def test_without_the_package_it_says_what_to_install(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match="needs the package lm-eval; run: uv sync --extra lm-eval"):
        run_harness(source, None, ["ruler"], length=256, folder=tmp_path / "out")


def test_tasks_that_make_prompts_to_a_length_get_the_tokenizer(source, tmp_path):
    """RULER's; the harness tells its tasks of a tokenizer only by a manager that knows it."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed; uv sync --extra lm-eval")
    found = run_harness(source, None, ["niah_single_1"], length=2300, lengths=[2048], limit=1, folder=tmp_path / "out")
    assert found["niah_single_1"]["2048,none"] in (0.0, 1.0)

"""The studies that are shipped get through every check short of a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import LlamaConfig

from ropewalk.cli.costs import costs_text, study_costs
from ropewalk.corpora import Corpus, build
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.study.needs import needs_of
from ropewalk.study.reading import read_files
from ropewalk.study.rows import Study

CONFIG = Path(__file__).parents[1] / "config"
PRESETS = sorted(path.stem for path in CONFIG.glob("*.yaml") if path.stem not in ("default", "posgen-switches"))
H100 = {"utilisation": 0.4, "peak_flops": 989e12}
KNOWN = {
    "llama2": LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
    ),
    "smollm2": LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49_152,
        tie_word_embeddings=True,
    ),
}
"""Shapes of models on the hub, by their names in the presets."""


@pytest.fixture(params=PRESETS)
def study(request) -> Study:
    return read_files([CONFIG / f"{request.param}.yaml"])


def test_tunings_fit_into_the_gpus_and_the_time_that_are_asked_for(study):
    of = None if not any(row.source for row in study.models.values()) else lambda row: KNOWN[row.id]
    costs = study_costs(study, config_of=of, **H100)
    assert sum(len(one.models) for one in costs) == sum(row.kind == "tune" for row in study.models.values())
    for one in costs:
        assert not one.faults(80.0), one.models[0]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> dict[str, Corpus]:
    """What comes with the installation, one token a byte, by its source."""
    folder = tmp_path_factory.mktemp("corpora")
    names = ("books", "government", "mathematics")
    return {f"package:{name}": build(f"package:{name}", byte_tokenizer(), folder / name) for name in names}


def test_texts_of_the_installation_have_the_documents_that_are_asked_of_them(study, corpora):
    for id_, row in study.corpora.items():
        corpus = corpora.get(row.options.source)
        if corpus is None or row.tokenizer != "byte" or row.options.limit:
            continue
        needs = needs_of(study, id_)
        assert needs, id_
        for need in needs:
            assert len(corpus.select(need.split, need.length, need.documents)) == need.documents


def test_what_does_not_fit_is_said():
    study = read_files([CONFIG / "paper-finetune.yaml"])
    costs = study_costs(study, config_of=lambda row: KNOWN[row.id], **H100)
    assert [(len(one.models), one.gpus) for one in costs] == [(6, 8), (6, 8)]
    small = costs_text(costs, 20.0)
    assert "GiB of 20 on each GPU" in small
    assert "GiB of 80" not in costs_text(costs, 80.0)
    slow = study_costs(study, config_of=lambda row: KNOWN[row.id], utilisation=0.4, peak_flops=5e12)
    assert "h of the 24.0 h that resources.tune.runtime asks for" in costs_text(slow, 80.0)

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ropewalk.errors import UserError
from ropewalk.models import binding
from ropewalk.models.binding import patch
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.reading import nll
from ropewalk.reading.nll import token_nll
from ropewalk.rope import methods
from ropewalk.search.objective import (
    SLACK,
    Objective,
    ProbeResults,
    Reader,
    ability,
    copy_string,
    make_probes,
)

LENGTH = 256


@pytest.fixture(scope="module")
def model(source):
    return load_model(source)


def probes(corpus, retrieval="copy", split="search", documents=4, length=LENGTH):
    return make_probes(
        {"text": corpus},
        byte_tokenizer(),
        split=split,
        documents=documents,
        train_length=64,
        length=length,
        retrieval=retrieval,
    )


def test_parts_of_a_document_are_means_of_its_token_nll(model, corpus):
    table = read_rope(model.config)
    rope = methods.yarn(table, factor=4)
    wanted = probes(corpus)
    found = Reader(model, wanted, 64).read(rope)
    patch(model, rope)
    for k, probe in enumerate(wanted):
        of_tokens = token_nll(model, probe.text, chunk=48)
        assert found.short[k] == pytest.approx(of_tokens[:63].mean(), abs=1e-5)
        assert found.tail[k] == pytest.approx(of_tokens[63:].mean(), abs=1e-5)
        assert found.answer[k] == pytest.approx(token_nll(model, probe.string)[-16:].mean(), abs=1e-5)
    assert found.done.all()


def test_needles_count_from_the_same_pass(model, corpus):
    rope = methods.yarn(read_rope(model.config), factor=8)
    wanted = probes(corpus, "needle", length=512)
    found = Reader(model, wanted, 64).read(rope)
    patch(model, rope)
    for k, probe in enumerate(wanted):
        of_tokens = token_nll(model, probe.text)
        assert found.answer[k] == pytest.approx(of_tokens[-probe.answer :].mean(), abs=1e-5)
        assert found.tail[k] == pytest.approx(of_tokens[63 : probe.tail_stop - 1].mean(), abs=1e-5)
        assert byte_tokenizer().decode(probe.text[-probe.answer :]).strip().isdigit()


def test_chunks_and_batches_change_nothing(model, corpus, monkeypatch):
    rope, wanted = methods.yarn(read_rope(model.config), factor=4), probes(corpus)
    whole = Reader(model, wanted, 64).read(rope)
    monkeypatch.setattr(nll, "CPU_TOKENS", 2 * LENGTH)
    small = Reader(model, wanted, 64)
    small.chunk = 50
    parts = small.read(rope, order=[3, 1, 0, 2])
    for name, values in vars(whole).items():
        np.testing.assert_allclose(getattr(parts, name), values, atol=1e-5)


def test_a_rope_that_is_given_up_has_its_short_parts_all_the_same(model, corpus, monkeypatch):
    monkeypatch.setattr(nll, "CPU_TOKENS", LENGTH)
    rope, reader = methods.pi(read_rope(model.config), factor=4), Reader(model, probes(corpus), 64)
    whole = reader.read(rope)
    asked = []

    def go_on(measured: ProbeResults) -> bool:
        asked.append(int(measured.done.sum()))
        return len(asked) <= 2

    part = reader.read(rope, order=[2, 0, 1, 3], go_on=go_on)
    assert asked == [0, 1, 2]
    assert part.done.tolist() == [True, False, True, False]
    np.testing.assert_allclose(part.short, whole.short, atol=1e-6)
    # Going on later ends where an undisturbed reading does.
    rest = reader.read(rope, order=[1, 3], known=part)
    np.testing.assert_allclose(rest.tail, whole.tail, atol=1e-6)
    np.testing.assert_allclose(rest.answer, whole.answer, atol=1e-6)


def test_values_are_paired_weighted_and_capped(model, corpus):
    objective = Objective([Reader(model, probes(corpus), 64)], read_rope(model.config), 4, None)
    reference = objective.reference
    assert objective.value(reference) == 0
    tail = reference.tail - np.array([0.2, 0, 0, 9])
    answer = reference.answer + np.array([0.5, 9, 0, 0])
    other = ProbeResults(reference.short, tail, answer, reference.accuracy)
    np.testing.assert_allclose(objective.values(other), [0.4, 1.5, 0, -4.5])
    yarn_costs = float((reference.short - objective.original).mean())
    assert objective.short_cost == pytest.approx(max(0, yarn_costs) + SLACK)
    assert objective.excess(reference) == pytest.approx(yarn_costs - objective.short_cost)


def test_what_is_compared_with_survives_json(model, corpus):
    reader, table = Reader(model, probes(corpus), 64), read_rope(model.config)
    first = Objective([reader], table, 4, 0.1)
    again = Objective([reader], table, 4, 0.1, json.loads(json.dumps(first.to_json())))
    measured = reader.read(methods.ntk(table, factor=4))
    assert again.value(measured) == first.value(measured)
    assert again.excess(measured) == first.excess(measured)


def test_splits_share_neither_documents_nor_words(corpus):
    seen, said = {}, {}
    for split in ("search", "selection", "test"):
        found = probes(corpus, "needle", split, documents=3, length=400)
        seen[split] = {probe.document for probe in found}
        said[split] = {byte_tokenizer().decode(p.text[p.tail_stop :]).split("code of the ")[1] for p in found}
    assert not seen["search"] & seen["selection"] | seen["search"] & seen["test"]
    assert not said["search"] & said["test"]


def test_strings_repeat():
    string = copy_string(range(10, 20), 32, 100, np.random.default_rng(0))
    assert (string[32:] == string[:-32]).all()
    assert len(string) == 100


def able(model, corpus, retrieval):
    table, corpora = read_rope(model.config), {"text": corpus}
    return ability(model, byte_tokenizer(), table, corpora, split="search", documents=3, retrieval=retrieval)


def test_answers_are_dropped_where_the_model_cannot_give_them(model, corpus):
    dull = able(model, corpus, "copy")
    assert (dull.retrieval, dull.asked) == ("none", "copy")
    assert "answers are left out: the model gets" in dull.reason
    short = able(model, corpus, "needle")
    assert short.retrieval == "none"
    assert "a fact, its question and its answer alone take" in short.reason


class Copier(torch.nn.Module):
    """A model that knows the next token of a periodic string of period 16 or 32."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config, self.device, self.dtype = inner, inner.config, inner.device, inner.dtype

    def forward(self, input_ids, **options):
        logits = 9.0 * torch.nn.functional.one_hot(input_ids.roll(31, dims=1), 257)
        return type("Output", (), {"logits": logits[:, -options.get("logits_to_keep", 0) :]})


def test_answers_count_where_the_model_can(model, corpus, monkeypatch):
    monkeypatch.setattr(binding, "_prove", lambda *_: None)  # it has no rope to follow
    found = able(Copier(model), corpus, "copy")
    assert (found.retrieval, found.accuracy) == ("copy", 1.0)


def test_too_few_documents_are_one_sentence(corpus):
    with pytest.raises(UserError, match="has 0 of the 4 wanted documents of at least 100000 tokens"):
        probes(corpus, length=100_000)

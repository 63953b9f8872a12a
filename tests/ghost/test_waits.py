"""What the host waits for the device for, and which kernel attention takes."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
import stages
from pretended import ITEM, TO_DEVICE, TO_HOST, group_of_one, pretended_gpus

from ropewalk.models import binding
from ropewalk.models.heads import has_plain_head
from ropewalk.models.loading import load_model
from ropewalk.models.pieces import reads_in_pieces
from ropewalk.reading import nll
from ropewalk.reading.nll import token_nll
from ropewalk.training.options import AdapterOptions, Layout

UNSAVED = Layout(checkpoint_every=1000)
STEPS = 4
AT_THE_END = ("_save", "_gather")
"""Functions that run once a training here, and move all weights."""
LOOKED_AT = {"schedule": "constant", "copy_fraction": 0.0}


def waits_a_step(run, folder) -> Counter:
    """Waits of twice as many steps less those of so many, a step; both look at their metrics once, in the end."""
    found = []
    for steps in (STEPS, 2 * STEPS):
        with pretended_gpus() as gpus:
            run(folder / str(steps), steps)
        waits = gpus.waits_by_function()
        found.append(Counter({key: count for key, count in waits.items() if key[2] not in AT_THE_END}))
    more = found[1] - found[0]
    assert not found[0] - found[1]
    return Counter({key: count / STEPS for key, count in more.items()})


@pytest.fixture
def posgen_waits(tmp_path):
    return waits_a_step(lambda folder, steps: stages.posgen_training(folder, steps=steps, validate_every=100), tmp_path)


@pytest.fixture
def tuning_waits(material, tmp_path):
    def measure(layout=UNSAVED, **changed):
        def run(folder, steps):
            with group_of_one() if layout.shard else nullcontext():
                stages.tuning(material, folder, layout, steps=steps, **LOOKED_AT | changed)

        return waits_a_step(run, tmp_path)

    return measure


def within(found: Counter, allowed: dict) -> bool:
    return all(count <= allowed.get(key, 0) for key, count in found.items())


def test_a_step_of_posgen_waits_for_nothing(posgen_waits):
    assert not posgen_waits


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(
    ("changed", "layout"),
    [
        ({}, UNSAVED),
        ({"packed": True}, UNSAVED),
        ({"lora": AdapterOptions(rank=4, alpha=8.0)}, UNSAVED),
        ({}, Layout(checkpoint_every=1000, activation_checkpointing=True)),
        ({}, Layout(checkpoint_every=1000, shard=True)),
    ],
    ids=["plain", "packed", "adapters", "checkpointed", "sharded"],
)
def test_a_step_of_tuning_waits_for_nothing(tuning_waits, changed, layout, accumulation):
    """Left to itself, transformers asks the device in each pass whether a sequence holds several documents."""
    found = tuning_waits(layout, accumulation=accumulation, **changed)
    assert not found, found


@pytest.fixture
def model(material):
    """On a pretended GPU, which is there during the test."""
    with pretended_gpus() as gpus:
        loaded = load_model(material.source)
        binding.patch(loaded, stages.ROPE)
        assert has_plain_head(loaded)  # what is looked at once in a model
        assert reads_in_pieces(loaded)
        gpus.waits.clear()
        gpus.attention.clear()
        yield loaded, gpus


def test_reading_a_text_waits_for_its_tokens_its_numbers_and_once_a_pass(model):
    loaded, gpus = model
    token_nll(loaded, np.arange(200) % 50, chunk=32)
    allowed = {
        (TO_DEVICE, "reading/nll.py", "token_nll"): 1,
        (TO_HOST, "reading/nll.py", "token_nll"): 1,
        (ITEM, "reading/nll.py", "chunk_logits"): 1,
    }
    assert within(gpus.waits_by_function(), allowed), gpus.waits


def test_a_text_that_is_read_at_once_takes_flash_attention(model):
    loaded, gpus = model
    token_nll(loaded, np.arange(200) % 50, chunk=32)
    assert {(call.kernel, call.dtype, call.queries, call.keys) for call in gpus.attention} == {
        ("flash", "bfloat16", 199, 199)
    }


def test_of_a_text_that_is_read_in_pieces_the_first_alone_takes_flash_attention(model, monkeypatch):
    """The others need a mask: their first token sees what was read before, and torch counts from its own."""
    loaded, gpus = model
    monkeypatch.setattr(nll, "one_pass_fits", lambda *_: False)
    token_nll(loaded, np.arange(200) % 50, chunk=64)
    calls = sorted((call.keys, call.queries, call.kernel, call.masked) for call in gpus.attention)
    assert calls == [
        (64, 64, "flash", False),
        (128, 64, "efficient", True),
        (192, 64, "efficient", True),
        (199, 7, "efficient", True),
    ]


@pytest.mark.parametrize(
    ("changed", "layout"),
    [
        ({}, UNSAVED),
        ({"lora": AdapterOptions(rank=4, alpha=8.0)}, UNSAVED),
        ({}, Layout(checkpoint_every=1000, activation_checkpointing=True)),
    ],
    ids=["plain", "adapters", "checkpointed"],
)
def test_tuning_takes_flash_attention_in_bfloat16(changed, layout, material, tmp_path):
    with pretended_gpus() as gpus:
        stages.tuning(material, tmp_path, layout, **changed)
    assert {(call.kernel, call.dtype, call.masked) for call in gpus.attention} == {("flash", "bfloat16", False)}


def test_pre_training_takes_flash_attention_in_bfloat16(material, tmp_path):
    with pretended_gpus() as gpus:
        stages.pretraining(material, tmp_path, UNSAVED)
    assert {(call.kernel, call.dtype, call.masked) for call in gpus.attention} == {("flash", "bfloat16", False)}


def test_packed_sequences_are_masked(material, tmp_path):
    with pretended_gpus() as gpus:
        stages.tuning(material, tmp_path, UNSAVED, packed=True)
    assert ("efficient", True) in {(call.kernel, call.masked) for call in gpus.attention}
    assert {call.kernel for call in gpus.attention if not call.masked} <= {"flash"}


def test_a_search_takes_flash_attention(material, tmp_path):
    with pretended_gpus() as gpus:
        stages.searching(material, tmp_path, dtype="auto")
    assert {(call.kernel, call.dtype) for call in gpus.attention} == {("flash", "bfloat16")}


def test_posgen_attends_in_32_bits_without_a_mask(tmp_path):
    with pretended_gpus() as gpus:
        stages.posgen_training(tmp_path)
    assert {(call.kernel, call.dtype, call.masked) for call in gpus.attention} == {("efficient", "float32", False)}

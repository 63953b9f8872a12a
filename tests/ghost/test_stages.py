"""Every stage on a GPU that is none: nothing mixes devices, the work is done there, and comes to what the CPU says."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stages
import torch
from pretended import group_of_one, pretended_gpus
from stages import STAGES
from torch.distributed.fsdp import FSDPModule
from transformers import AutoModelForCausalLM

from ropewalk.export import verify
from ropewalk.export.prove import export_proved
from ropewalk.models.loading import load_model
from ropewalk.posgen import models as posgen_models
from ropewalk.training import loop
from ropewalk.training.batches import TrainingBatches
from ropewalk.training.options import AdapterOptions

HALF = ("pretraining", "tuning", "packed", "adapters", "checkpointed")
"""Trained in bfloat16 on a GPU."""
PROVED_FIRST = HALF[1:]
"""Whether the model follows its rope is looked at on the CPU, before the loop moves it."""


def check_close(found, expected, *, off):
    """Numbers differ by no more than a share of their size, text does not differ."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        one, other = np.asarray(found[name]), np.asarray(value)
        assert other.size, name
        if other.dtype.kind not in "fi":
            assert np.array_equal(one, other), name
        else:
            assert np.array_equal(np.isnan(one), np.isnan(other)), name
            assert np.linalg.norm(np.nan_to_num(one - other)) <= off * np.linalg.norm(np.nan_to_num(other)), name


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_computes_on_the_gpu_what_it_computes_on_the_cpu(name, material, tmp_path):
    expected = STAGES[name](material, tmp_path / "cpu")
    with pretended_gpus() as gpus:
        found = STAGES[name](material, tmp_path / "gpu")
    check_close(found, expected, off=2e-2 if name in HALF else 1e-5)
    assert gpus.computed_on() == ({"cuda:0", "cpu"} if name in PROVED_FIRST else {"cuda:0"})
    assert gpus.attention


def test_a_search_measures_on_every_gpu(material, tmp_path):
    expected = stages.searching(material, tmp_path / "cpu", devices=("cpu", "cpu"))
    for devices in ((), ("cuda:0", "cuda:1")):
        with pretended_gpus(2) as gpus:
            found = stages.searching(material, tmp_path / f"gpu{len(devices)}", devices=devices)
        check_close(found, expected, off=1e-5)
        assert gpus.computed_on() == {"cuda:0", "cuda:1"}
        used = [sum(count for (device, _), count in gpus.products.items() if device == f"cuda:{i}") for i in range(2)]
        assert min(used) > max(used) / 3, used


@pytest.mark.parametrize(
    ("changed", "layout"),
    [
        ({}, {}),
        ({"accumulation": 2}, {"activation_checkpointing": True}),
        ({"packed": True}, {}),
        ({"lora": AdapterOptions(rank=4, alpha=8.0)}, {}),
    ],
    ids=["whole", "checkpointed", "packed", "adapters"],
)
def test_weights_that_are_shared_out_compute_on_the_gpu(changed, layout, material, tmp_path, monkeypatch):
    """In a group of one process: nothing travels, but all is cut and put together."""
    expected = stages.tuning(material, tmp_path / "cpu", **changed)
    wrapped, gather = [], loop._gather
    with pretended_gpus() as gpus, group_of_one(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            loop, "_gather", lambda a, prepared, model: wrapped.append(prepared) or gather(a, prepared, model)
        )
        found = stages.tuning(material, tmp_path / "gpu", replace(stages.SEEN, shard=True, **layout), **changed)
        kinds = [type(module).__name__ for module in wrapped[0].modules() if isinstance(module, FSDPModule)]
    check_close(found, expected, off=2e-2)
    assert len(kinds) == 1 + stages.SHAPE.layers, kinds
    assert {call.dtype for call in gpus.attention} == {"bfloat16"}
    assert gpus.products["cuda:0", "bfloat16"] > gpus.products["cpu", "float32"]


class Stop(Exception):
    """A kill."""


def test_a_posgen_training_that_was_killed_on_a_gpu_goes_on_there(material, tmp_path, monkeypatch):
    with pretended_gpus():
        expected = stages.posgen(material, tmp_path / "whole", validate_every=4)
    predict, calls = posgen_models.predict, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 4:  # in the second validation, at the end
            raise Stop
        return predict(*args)

    with monkeypatch.context() as patch, pretended_gpus(), pytest.raises(Stop):
        patch.setattr(posgen_models, "predict", killed)
        stages.posgen(material, tmp_path / "killed", validate_every=4)
    assert list((tmp_path / "killed/state").glob("step-*"))
    with pretended_gpus() as gpus:
        found = stages.posgen(material, tmp_path / "killed", validate_every=4)
    check_close(found, expected, off=0)
    assert gpus.computed_on() == {"cuda:0"}


@pytest.mark.parametrize("shard", [False, True])
def test_a_tuning_that_was_killed_on_a_gpu_goes_on_there(shard, material, tmp_path, monkeypatch, capsys):
    layout = replace(stages.SEEN, shard=shard)

    def tuned(folder):
        with pretended_gpus(), group_of_one() if shard else nullcontext():
            return stages.tuning(material, folder, layout)

    expected = tuned(tmp_path / "whole")
    make = TrainingBatches.__call__

    def killed(batches, step):
        if step == 3:
            raise Stop
        return make(batches, step)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(TrainingBatches, "__call__", killed)
        tuned(tmp_path / "killed")
    found = tuned(tmp_path / "killed")
    assert "resumed at step 2 of 4" in capsys.readouterr().out
    check_close(found, expected, off=0)


def test_weights_are_of_sixteen_bits_on_a_gpu_where_nothing_else_is_said(material):
    with pretended_gpus():
        model = load_model(material.source)
        assert (str(model.device), model.dtype) == ("cuda:0", torch.bfloat16)
        assert {str(buffer.device) for buffer in model.buffers()} == {"cuda:0"}
    assert str(model.device) == "cpu"


def test_an_export_is_proved_on_the_cpu(material, tmp_path, monkeypatch):
    """Its tolerance is that of 32 bits on one kind of processor."""

    def here(script: str, path: Path, text) -> np.ndarray:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        with torch.no_grad():
            return model(torch.from_numpy(text.tokens)[None]).logits[0, text.positions].numpy()

    monkeypatch.setattr(verify, "_run", here)  # a process that imports transformers takes ten seconds
    with pretended_gpus() as gpus:
        _, proof = export_proved(material.source, stages.ROPE, "hf", tmp_path / "out", columns={})
    assert proof.passed
    assert gpus.computed_on() == {"cpu"}
    assert not gpus.waits

"""Faults of placement, put in one at a time, are found by running the stage."""

from __future__ import annotations

import pytest
from pretended import MixedDevices, pretended_gpus
from stages import STAGES

from ropewalk.models import loading

FORGOTTEN = [
    ("posgen", "posgen/model.py", "rotations"),
    ("posgen", "posgen/model.py", "StackedDecoder.forward"),
    ("posgen", "posgen/training.py", "train"),
    ("posgen", "posgen/training.py", "_Run.__init__"),
    ("posgen", "posgen/scoring.py", "_over_parts"),
    ("pretraining", "devices.py", "copied"),
    ("packed", "devices.py", "copied"),
    ("nll", "models/heads.py", "few_tokens"),
    ("nll", "reading/nll.py", "token_nll"),
    ("nll", "reading/nll.py", "window_nll"),
    ("parity", "reading/parity.py", "window_means"),
    ("needles", "reading/retrieval.py", "answer_nll"),
    ("needles-in-words", "reading/generation.py", "generate"),
    ("leval", "reading/generation.py", "_continue"),
    ("copying", "reading/copying.py", "copy_accuracy"),
    ("search", "search/objective.py", "Reader.__init__"),
    ("probe", "search/objective.py", "Reader._read_batch"),
]
"""A stage, and a function whose moves and named devices are left out."""


@pytest.mark.parametrize(("name", "file", "function"), FORGOTTEN)
def test_a_move_that_is_forgotten_is_found(name, file, function, material, tmp_path):
    with pretended_gpus() as gpus, pytest.raises((MixedDevices, TypeError), match=r"on the (same )?device|to numpy"):
        gpus.forgotten.add((file, function))
        STAGES[name](material, tmp_path)
    assert gpus.forgot


def test_a_model_that_is_left_on_the_cpu_is_seen_by_where_it_computes(material, tmp_path, monkeypatch):
    """Nothing mixes devices then: all follows the model."""
    with pretended_gpus() as gpus:
        gpus.forgotten.add(("posgen/models.py", "train_models"))
        STAGES["posgen"](material, tmp_path / "posgen")
    assert gpus.forgot
    assert "cpu" in gpus.computed_on()
    monkeypatch.setattr(loading, "has_gpu", lambda: False)
    with pretended_gpus() as gpus:
        STAGES["nll"](material, tmp_path / "nll")
    assert gpus.computed_on() == {"cpu"}

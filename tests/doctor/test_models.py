from __future__ import annotations

import filecmp

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ropewalk.doctor.making import make
from ropewalk.doctor.probes import FILE, Probe, repeated_numbers
from ropewalk.doctor.tiny import TINY
from ropewalk.errors import UserError
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.rope import Rope


@pytest.mark.parametrize("name", TINY)
def test_a_model_is_small_and_whole(tiny, name):
    folder = tiny / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    probe = Probe.load(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for prompt in probe.prompts:
        assert tuple(tokenizer(prompt.text)["input_ids"]) == prompt.tokens
    lengths = [len(prompt.tokens) for prompt in probe.prompts]
    assert lengths == list(TINY[name].lengths)
    assert lengths[1] < probe.original_length < lengths[-1]
    assert Rope.load(folder / "rope.json").original_length == probe.original_length
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    # A server generates a token after the longest prompt.
    assert lengths[-1] < model.config.max_position_embeddings


def test_a_seed_makes_the_same_model_again(tiny, tmp_path):
    make("llama-yarn", tmp_path / "again")
    for name in ("model.safetensors", FILE, "rope.json"):
        assert filecmp.cmp(tmp_path / "again" / name, tiny / "llama-yarn" / name, shallow=False)
    make("llama-yarn", tmp_path / "other", seed=1)
    assert not filecmp.cmp(tmp_path / "other" / FILE, tiny / "llama-yarn" / FILE, shallow=False)


def test_a_damaged_file_is_one_sentence(tmp_path):
    (tmp_path / FILE).write_text('{"format": "ropewalk.doctor/0"}')
    with pytest.raises(UserError, match="make it anew"):
        Probe.load(tmp_path)


def test_numbers_are_repeated_and_fit():
    prompt = repeated_numbers(byte_tokenizer(), 200)
    assert 190 < len(prompt.tokens) <= 200
    numbers = prompt.text.split()
    assert numbers[: len(numbers) // 2] == numbers[len(numbers) // 2 :]
    with pytest.raises(UserError, match="at least 64"):
        repeated_numbers(byte_tokenizer(), 20)

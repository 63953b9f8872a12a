from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ropewalk.errors import UserError
from ropewalk.models import binding
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.shape import ModelShape
from ropewalk.reading import nll
from ropewalk.reading.generation import generate
from ropewalk.rope import apply, methods

SHAPE = ModelShape(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=32, length=32)


def sharpened(model):
    with torch.no_grad():  # far from uniform, so that positions matter
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model


@pytest.fixture
def model():
    return sharpened(fresh_llama(SHAPE, 50, seed=0).eval())


def draw(*lengths):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 50, size=length) for length in lengths]


def alone(model, prompt, new, stop=()) -> list[int]:
    """What transformers itself continues one whole prompt with."""
    ids = torch.tensor(np.asarray(prompt))[None]
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=new,
        eos_token_id=list(stop) or None,
        pad_token_id=0,
    )
    found = out[0, ids.shape[1] :].tolist()
    return next((found[:i] for i, token in enumerate(found) if token in stop), found)


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("chunk", [7, 1024])
def test_equals_transformers_on_each_prompt_alone(model, rows, chunk):
    model.generation_config.eos_token_id = None
    prefix, *endings = draw(40, 5, 1, 9, 5, 12)
    found = generate(model, prefix, endings, max_new_tokens=20, stop=(), chunk=chunk, rows=rows)
    for ending, text in zip(endings, found, strict=True):
        assert text.tolist() == alone(model, [*prefix, *ending], 20)
    assert len({tuple(text) for text in found}) > 1


@pytest.mark.parametrize("lengths", [(1, 3, 6), (30, 0, 4), (0, 3, 6, 3)])
def test_short_and_empty_prefixes_and_endings(model, lengths):
    model.generation_config.eos_token_id = None
    prefix, *endings = draw(*lengths)
    for ending, text in zip(endings, generate(model, prefix, endings, max_new_tokens=8, stop=()), strict=True):
        assert text.tolist() == alone(model, [*prefix, *ending], 8)


def test_each_row_ends_at_its_own_stop_token(model):
    prefix, *endings = draw(40, 5, 1, 9)
    stop = set(range(0, 50, 6))
    found = generate(model, prefix, endings, max_new_tokens=30, stop=stop)
    for ending, text in zip(endings, found, strict=True):
        assert text.tolist() == alone(model, [*prefix, *ending], 30, stop)
    assert len({len(text) for text in found}) > 1, "otherwise the rows say nothing about each other"


@pytest.mark.parametrize("method", ["yarn", "log_scaling"])
def test_a_bound_rope_sees_the_positions_of_the_unpadded_text(model, method):
    rope = read_rope(model.config)
    model.generation_config.eos_token_id = None
    binding.patch(
        model, apply(rope, "log_scaling", length=16) if method == "log_scaling" else methods.yarn(rope, factor=4.0)
    )
    prefix, *endings = draw(60, 11, 2, 7)
    for ending, text in zip(endings, generate(model, prefix, endings, max_new_tokens=12, stop=()), strict=True):
        assert text.tolist() == alone(model, [*prefix, *ending], 12)


@pytest.mark.parametrize("family", ["gemma2", "mistral", "qwen2"])
def test_families_with_sliding_windows(family):
    config = AutoConfig.for_model(
        family,
        vocab_size=50,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=None,
    )
    config.sliding_window = 24 if family != "qwen2" else None
    torch.manual_seed(0)
    model = sharpened(AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval())
    model.generation_config.eos_token_id = None
    prefix, *endings = draw(40, 6, 3, 6)
    found = generate(model, prefix, endings, max_new_tokens=10, stop=(), chunk=16)
    for ending, text in zip(endings, found, strict=True):
        assert text.tolist() == alone(model, [*prefix, *ending], 10)


def test_nothing_to_do_and_nothing_to_start_from(model):
    prefix, ending = draw(5, 2)
    assert generate(model, prefix, [], max_new_tokens=5, stop=()) == []
    assert [len(text) for text in generate(model, prefix, [ending], max_new_tokens=0, stop=())] == [0]
    with pytest.raises(UserError, match="a text of 0 tokens cannot be continued"):
        generate(model, prefix[:0], [ending, ending[:0]], max_new_tokens=5, stop=())


def test_memory_is_looked_at_first_and_decides_the_rows(model, monkeypatch):
    prefix, *endings = draw(40, 5, 1, 9)
    whole = generate(model, prefix, endings, max_new_tokens=5, stop=())
    monkeypatch.setattr(nll, "free_memory", lambda device: 30_000)  # a row takes 54 tokens of 256 bytes
    few = generate(model, prefix, endings, max_new_tokens=5, stop=())
    assert [text.tolist() for text in few] == [text.tolist() for text in whole]
    monkeypatch.setattr(nll, "free_memory", lambda device: 1_000)
    with pytest.raises(UserError, match=r"a length of 54 tokens needs .*; 0\.0 GiB are free"):
        generate(model, prefix, endings, max_new_tokens=5, stop=())

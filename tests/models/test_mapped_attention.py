"""Maps of positions against a dense reference: unrotated queries and keys, turned by each pair's relative position."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from ropewalk.errors import UserError
from ropewalk.models import binding, mapped_attention
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.mapped_attention import Bound
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.shape import ModelShape
from ropewalk.reading.nll import token_nll
from ropewalk.rope import Rope, apply, default_rope
from ropewalk.rope.position_map import PositionMap

from tiny import tiny_config, tiny_model  # isort: skip

TOKENS = 75
MAPS = [
    PositionMap("self_extend", 16, 4),
    PositionMap("self_extend", 10, 3),
    PositionMap("leaky_rerope", 16, 4.0),
    PositionMap("leaky_rerope", 0, 2.0),
    PositionMap("dual_chunk", 8, 16),
    PositionMap("string", 6, 20),
]


def model_of(family: str, **changed):
    config = tiny_config(family)
    for key, value in {"sliding_window": None, **changed}.items():
        if hasattr(config, key):
            setattr(config, key, value)
    return tiny_model(config)


@pytest.fixture(scope="module")
def llama():
    return model_of("llama")


def rope_of(model, position_map, *, method=None, **parameters) -> Rope:
    rope = read_rope(model.config)
    rope = apply(rope, method, **parameters) if method else rope
    return apply_map(rope, position_map)


def apply_map(rope: Rope, wanted: PositionMap) -> Rope:
    match wanted.kind:
        case "self_extend" | "leaky_rerope":
            return apply(rope, wanted.kind, window=wanted.window, group=wanted.group)
        case "dual_chunk":
            return apply(rope, "dual_chunk", chunk=wanted.group, window=wanted.window)
    return apply(rope, "string", shift=wanted.group, window=wanted.window)


def dense(query, key, value, relative, inv_freq, scaling):
    """Each score by itself: the query turned by the pair's relative position, against a key that is not turned."""
    pairs = len(inv_freq)
    out = torch.zeros(*query.shape[:3], value.shape[-1], dtype=torch.float64)
    groups = query.shape[1] // key.shape[1]
    for head in range(query.shape[1]):
        q, k, v = query[0, head].double(), key[0, head // groups].double(), value[0, head // groups].double()
        for i in range(len(q)):
            scores = torch.zeros(i + 1, dtype=torch.float64)
            for j in range(i + 1):
                angle = torch.from_numpy(relative[i, j] * inv_freq)
                a, b = q[i, :pairs], q[i, pairs : 2 * pairs]
                turned = torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])
                scores[j] = (turned @ k[j, : 2 * pairs] + q[i, 2 * pairs :] @ k[j, 2 * pairs :]) * scaling
            out[0, head, i] = scores.softmax(0) @ v[: i + 1]
    return out.transpose(1, 2).float()


def rotated(states, inv_freq):
    """The first dimensions, as halves, turned to their places."""
    half = len(inv_freq)
    turns = torch.polar(
        torch.ones(states.shape[2], half), torch.outer(torch.arange(states.shape[2]), torch.tensor(inv_freq)).float()
    )
    pairs = torch.complex(states[..., :half], states[..., half : 2 * half]) * turns
    return torch.cat([pairs.real, pairs.imag, states[..., 2 * half :]], -1)


@pytest.mark.parametrize("wanted", MAPS, ids=str)
def test_blocks_compute_what_a_dense_reference_computes(wanted, monkeypatch):
    """With half of each head rotated, keys shared by two heads, and blocks of some ten queries."""
    monkeypatch.setattr(mapped_attention, "SCORE_BYTES", 4 * 4 * TOKENS * 11)
    torch.manual_seed(0)
    inv_freq = default_rope(8, 1e4, 64).inv_freq
    query, key, value = (torch.randn(1, heads, TOKENS, 16) for heads in (4, 2, 2))
    positions = np.arange(TOKENS)
    module = torch.nn.Module()
    module._ropewalk_map = Bound(wanted, inv_freq, "halves")
    turned = [rotated(states, inv_freq) for states in (query, key)]
    found, _ = mapped_attention.mapped_attention(module, *turned, value, None, scaling=0.3)
    expected = dense(query, key, value, wanted.relative(positions, positions), inv_freq, 0.3)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "family", ["llama", "qwen2", "qwen3", "gpt_neox", "cohere", "olmo2", "phi", "phi3", "starcoder2", "glm"]
)
def test_without_a_window_it_is_position_interpolation(family):
    """Whatever a family rotates, halves or pairs, all of a head or a part."""
    model = model_of(family)
    tokens = np.arange(TOKENS) % 90
    own = read_rope(model.config)
    binding.patch(model, apply(own, "pi", factor=3.0))
    wanted = token_nll(model, tokens)
    binding.patch(model, apply(own, "leaky_rerope", window=0, group=3.0))
    np.testing.assert_allclose(token_nll(model, tokens), wanted, atol=2e-3)
    binding.patch(model, own)
    assert np.abs(token_nll(model, tokens) - wanted).max() > 0.01
    assert model.config._attn_implementation != mapped_attention.NAME


@pytest.mark.parametrize("wanted", [wanted for wanted in MAPS if wanted.window], ids=str)
def test_a_window_that_holds_the_text_changes_nothing_and_a_smaller_one_does(llama, wanted):
    tokens = np.arange(TOKENS) % 90
    own = read_rope(llama.config)
    binding.patch(llama, own)
    plain = token_nll(llama, tokens)
    binding.patch(llama, apply_map(own, wanted))
    mapped = token_nll(llama, tokens)
    near = {"dual_chunk": wanted.group, "string": wanted.group}.get(wanted.kind, wanted.window)
    np.testing.assert_allclose(mapped[: int(near) - 1], plain[: int(near) - 1], atol=1e-4)
    assert np.abs(mapped - plain).max() > 0.01


@pytest.mark.parametrize("wanted", MAPS, ids=str)
def test_it_composes_with_ropes_and_reads_alike_in_pieces_and_with_a_cache(llama, wanted):
    rope = rope_of(llama, wanted, method="yarn", factor=2.0)
    binding.patch(llama, rope)
    tokens = torch.arange(TOKENS)[None] % 90
    with torch.no_grad():
        whole = llama(tokens, use_cache=False).logits
        cache, parts = DynamicCache(config=llama.config), []
        for piece in (tokens[:, :40], tokens[:, 40:41], tokens[:, 41:43], tokens[:, 43:]):
            passed = llama(piece, past_key_values=cache, use_cache=True)
            parts.append(passed.logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-3, rtol=1e-3)


def test_rows_of_other_lengths_answer_as_alone(llama):
    """Padding at the left, as generation has it: positions begin after it, and so do groups."""
    binding.patch(llama, rope_of(llama, PositionMap("self_extend", 10, 4)))
    long, short = torch.arange(TOKENS) % 90, torch.arange(50) % 71
    padded = torch.stack([long, torch.cat([torch.zeros(TOKENS - 50, dtype=torch.long), short])])
    mask = torch.ones_like(padded)
    mask[1, : TOKENS - 50] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    positions[1, : TOKENS - 50] = torch.arange(-(TOKENS - 50), 0)
    with torch.no_grad():
        both = llama(padded, attention_mask=mask, position_ids=positions, use_cache=False).logits
        for row, alone in enumerate((long, short)):
            wanted = llama(alone[None], use_cache=False).logits[0]
            torch.testing.assert_close(both[row, -len(alone) :], wanted, atol=2e-3, rtol=1e-3)


def test_generation_goes_on_as_the_whole_text_says(llama):
    binding.patch(llama, rope_of(llama, PositionMap("self_extend", 8, 4)))
    start = torch.arange(1, 41)[None] % 90  # none of them is padding
    written = llama.generate(start, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    with torch.no_grad():
        logits = llama(written, use_cache=False).logits
    assert written[0, 40:].tolist() == logits[0, 39:-1].argmax(-1).tolist()


def test_memory_grows_with_the_length(monkeypatch):
    """Blocks of scores stay within their bound, and what is kept for each branch grows with the keys."""
    sizes = []
    real = torch.einsum

    def seen(equation, *operands):
        out = real(equation, *operands)
        sizes.append(out.numel() * out.element_size())
        return out

    monkeypatch.setattr(mapped_attention, "SCORE_BYTES", 2**16)
    monkeypatch.setattr(torch, "einsum", seen)
    module = torch.nn.Module()
    module._ropewalk_map = Bound(PositionMap("self_extend", 64, 8), default_rope(16, 1e4, 64).inv_freq, "halves")
    states = torch.randn(1, 1, 2048, 16)
    mapped_attention.mapped_attention(module, states, states, states, None)
    assert max(sizes) <= 2**16
    assert 100 * max(sizes) < 2048**2 * 4


def test_families_whose_attention_is_not_plain_are_refused():
    own = default_rope(16, 1e4, 64)
    gemma = model_of("gemma3_text", sliding_window=48)
    wide = read_rope(gemma.config)
    with pytest.raises(UserError, match="whose layers all attend to the whole text"):
        binding.patch(gemma, apply(wide, "self_extend", window=8, group=4))
    with pytest.raises(UserError, match="have mapped already|has mapped already"):
        apply(apply(own, "self_extend", window=8, group=4), "string", shift=20, window=4)


def test_a_model_in_training_is_asked_without_dropout_and_stays_in_training():
    """Both layouts are tried; with dropout, which no map goes with, the second would be refused."""
    model = model_of("llama", attention_dropout=0.5)
    model.train()
    binding.patch(model, rope_of(model, PositionMap("self_extend", 16, 4)))
    assert model.training
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_a_short_type_takes_a_map_and_keeps_its_weights(dtype):
    """Weights as they are drawn hardly attend, so that rounding hides what tells halves from pairs."""
    model = fresh_llama(ModelShape(hidden_size=64, layers=4, heads=2, intermediate_size=128), 300, seed=0).to(dtype)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    binding.patch(model.eval(), apply(read_rope(model.config), "self_extend", window=16, group=4))
    assert all(torch.equal(tensor, before[name]) and tensor.dtype == dtype for name, tensor in model.named_parameters())
    assert model.config._attn_implementation == mapped_attention.NAME

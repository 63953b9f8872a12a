from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AttentionInterface, Gemma2Config, Gemma2ForCausalLM, masking_utils

from ropewalk.models import binding
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.shape import ModelShape
from ropewalk.rope import apply
from ropewalk.training import loss as module
from ropewalk.training.batches import Batch
from ropewalk.training.loss import CausalLoss, documents_within
from ropewalk.training.options import FarOptions

SHAPE = ModelShape(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=32, length=64)


def tensors(batch: Batch):
    parts = [batch.ids, batch.targets] + ([] if batch.positions is None else [batch.positions])
    return [torch.from_numpy(part) for part in parts]


@pytest.mark.parametrize("pieces", [1, 5])
def test_it_is_transformers_own_loss_with_its_gradient(monkeypatch, pieces):
    model = fresh_llama(SHAPE, 50, seed=0)
    ids = np.random.default_rng(0).integers(0, 50, (3, 40))
    monkeypatch.setattr(module, "LOGIT_BYTES", 4 * 50 * (120 // pieces))
    total = CausalLoss(model)(*tensors(Batch(ids)))
    total.backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    expected = model(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(ids)).loss * 3 * 39
    expected.backward()
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    for mine, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-4)


def test_packed_documents_are_what_they_are_alone():
    model = fresh_llama(SHAPE, 50, seed=0).eval()
    rng = np.random.default_rng(1)
    documents = [rng.integers(0, 50, n) for n in (9, 17, 14)]
    positions = np.concatenate([np.arange(len(one)) for one in documents])
    packed = CausalLoss(model)(*tensors(Batch(np.concatenate(documents)[None], positions[None])))
    with torch.no_grad():
        alone = [
            functional.cross_entropy(
                model(torch.from_numpy(one)[None]).logits[0, :-1], torch.from_numpy(one)[1:], reduction="sum"
            )
            for one in documents
        ]
    torch.testing.assert_close(packed, sum(alone), rtol=1e-5, atol=1e-4)


@pytest.fixture
def flash_stand_in():
    """An attention that sees bounds of documents alone, as flash attention does where it is given them."""

    def attention(module, query, key, value, attention_mask, scaling, cu_seq_lens_q, cu_seq_lens_k, **given):
        assert attention_mask is None
        assert len(query) == 1
        assert torch.equal(cu_seq_lens_q, cu_seq_lens_k)
        lengths = torch.diff(cu_seq_lens_q).long()
        assert (given["max_length_q"], given["max_length_k"]) == (lengths.max(), lengths.max())
        which = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        mask = (which[:, None] == which[None, :]).tril()
        key, value = (t.repeat_interleave(module.num_key_value_groups, dim=1) for t in (key, value))
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
        return out.transpose(1, 2), None

    AttentionInterface.register("flash_stand_in", attention)
    yield "flash_stand_in"
    del AttentionInterface._global_mapping["flash_stand_in"]


def test_flash_attention_is_told_of_documents_in_batches_of_several_rows(flash_stand_in):
    model = fresh_llama(SHAPE, 50, seed=0).eval()
    rng = np.random.default_rng(2)
    positions = np.stack([np.r_[np.arange(9), np.arange(15)], np.r_[np.arange(20), np.arange(4)]])
    batch = Batch(rng.integers(0, 50, (2, 24)), positions)
    expected = CausalLoss(model)(*tensors(batch))
    model.config._attn_implementation = flash_stand_in  # the setter would look for a kernel of that name
    bounds, longest = documents_within(batch, flash_stand_in)
    assert bounds.tolist() == [0, 9, 24, 44, 48]
    assert longest == 20
    torch.testing.assert_close(
        CausalLoss(model)(*tensors(batch), torch.from_numpy(bounds), longest), expected, rtol=1e-5, atol=1e-4
    )


def test_one_text_has_two_bounds_and_several_rows_of_one_text_need_none():
    bounds, longest = documents_within(Batch(np.zeros((1, 24), int)), "flash_attention_2")
    assert (bounds.tolist(), longest) == ([0, 24], 24)
    assert documents_within(Batch(np.zeros((2, 24), int)), "flash_attention_2") == (None, 0)
    assert documents_within(Batch(np.zeros((1, 24), int)), "sdpa") == (None, 0)


def test_transformers_is_not_let_to_ask_for_documents(monkeypatch):
    def asked(position_ids):
        raise AssertionError("this waits for the GPU")

    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", asked)
    model = fresh_llama(SHAPE, 50, seed=0).eval()
    ids, positions = np.zeros((1, 24), int), np.arange(24)[None] % 9
    CausalLoss(model)(*tensors(Batch(ids, positions)))
    with pytest.raises(AssertionError, match="waits"):
        model(torch.from_numpy(ids), position_ids=torch.from_numpy(positions), use_cache=False)


def test_a_head_of_its_own_is_not_passed_by():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Gemma2Config(
        vocab_size=50, intermediate_size=32, head_dim=16, final_logit_softcapping=0.5, pad_token_id=0, **sizes
    )
    model = Gemma2ForCausalLM(config).eval()
    ids = np.random.default_rng(0).integers(0, 50, (2, 20))
    total = CausalLoss(model)(*tensors(Batch(ids)))
    expected = model(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(ids)).loss * 2 * 19
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pieces", [1, 5])
def test_what_the_far_context_tells_weighs_more(monkeypatch, pieces):
    """LongCE by hand: each token with the whole context, and with the window that it is in the last half of."""
    model = fresh_llama(SHAPE, 50, seed=0)
    for parameter in model.parameters():
        parameter.data.mul_(4)  # so that context matters
    ids = np.random.default_rng(3).integers(0, 50, (2, 40))
    monkeypatch.setattr(module, "LOGIT_BYTES", 4 * 50 * (80 // pieces))
    total = CausalLoss(model, FarOptions(window=16, ceiling=2.0))(*tensors(Batch(ids)))
    total.backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    expected, seen = torch.zeros(()), []
    for row in ids:
        near = []
        for place in range(39):
            start = max(s for s in (0, 8, 16, 24) if place >= s + (8 if s else 0))
            with torch.no_grad():
                last = model(torch.from_numpy(row[start : place + 1])[None]).logits[0, -1]
            near.append(functional.cross_entropy(last, torch.tensor(row[place + 1])))
        near = torch.stack(near)
        logits = model(torch.from_numpy(row)[None]).logits[0, :-1]
        far = functional.cross_entropy(logits, torch.from_numpy(row)[1:], reduction="none")
        weights = (near - far.detach()).exp().clamp(max=2.0)
        expected = expected + (weights * far).sum()
        seen.append(weights)
    expected.backward()
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-3)
    for mine, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-3, atol=1e-3)
    weights = torch.stack(seen)
    # Near and far are the same in the first window; some tokens weigh as much as they may, and some less than one.
    torch.testing.assert_close(weights[:, :15], torch.ones(2, 15), rtol=1e-4, atol=1e-4)
    assert (weights == 2.0).any()
    assert (weights < 0.9).any()


def test_of_two_tables_each_pass_takes_its_own():
    model = fresh_llama(SHAPE, 50, seed=0)
    own = read_rope(model.config)
    longer = apply(own, "pi", factor=4.0)
    ids = np.random.default_rng(4).integers(0, 50, (2, 40))
    both = CausalLoss(model, tables=(own, longer))
    with torch.no_grad():
        found = [both(*tensors(Batch(ids)), short=short) for short in (True, False, True)]
        wanted = []
        for rope in (own, longer, own):
            binding.patch(model, rope)
            wanted.append(CausalLoss(model)(*tensors(Batch(ids))))
    assert found == wanted
    assert found[0] != found[1]

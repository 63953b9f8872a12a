from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import Gemma2Config, Gemma2ForCausalLM

from ropewalk.models.fresh import fresh_llama
from ropewalk.models.shape import ModelShape
from ropewalk.training import loss as module
from ropewalk.training.batches import Batch
from ropewalk.training.loss import CausalLoss

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

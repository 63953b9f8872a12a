from __future__ import annotations

import numpy as np
import pytest
import torch

from ropewalk.models.fresh import fresh_llama
from ropewalk.models.shape import ModelShape
from ropewalk.reading.parity import perplexity, window_means

SHAPE = ModelShape(hidden_size=32, layers=1, heads=2, kv_heads=2, intermediate_size=32, length=64)


@pytest.fixture(scope="module")
def model():
    model = fresh_llama(SHAPE, 50, seed=0).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    return model


def yarn_script(model, documents, max_length, bos, stride, truncate):
    """What the YaRN repository's script does: labels masked by -100, and the model's own mean loss of each window."""
    limit = max_length - 1 if bos is not None else max_length
    if truncate:
        documents, stride = [d[:limit] for d in documents], limit
    losses = []
    for document in documents:
        previous_end = 0
        for begin in range(0, len(document), stride):
            end = min(begin + limit, len(document))
            target_length = end - previous_end
            inputs = torch.tensor(document[begin:end])[None]
            if bos is not None:
                inputs = torch.cat([torch.tensor([[bos]]), inputs], dim=1)
            targets = inputs.clone()
            targets[:, :-target_length] = -100
            with torch.no_grad():
                losses.append(model(inputs, labels=targets).loss)
            previous_end = end
            if end == len(document):
                break
    return float(torch.exp(torch.stack(losses).mean()))


@pytest.mark.parametrize("bos", [None, 1])
@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize(("max_length", "stride"), [(64, 16), (65, 16), (300, 16), (32, 31)])
def test_equals_the_script(model, bos, truncate, max_length, stride):
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 50, size=n) for n in (150, 97, 64)]
    ours = perplexity(model, documents, max_length=max_length, bos=bos, stride=stride, truncate=truncate)
    theirs = yarn_script(model, documents, max_length, bos, stride, truncate)
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_window_means_are_not_the_mean_over_tokens(model):
    document = np.random.default_rng(1).integers(0, 50, size=200)
    means = window_means(model, document, max_length=64, bos=None, stride=16)
    assert len(means) == 1 + -(-(200 - 64) // 16)

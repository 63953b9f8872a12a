from __future__ import annotations

import pytest
import torch

from ropewalk.models.fresh import fresh_llama
from ropewalk.models.heads import has_plain_head
from ropewalk.models.shape import ModelShape

SHAPE = ModelShape(hidden_size=32, layers=1, heads=2, kv_heads=1, intermediate_size=32, length=32)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_head_that_scales_where_no_configuration_says_so_is_seen(scaled):
    model = fresh_llama(SHAPE, 50, seed=0).eval()
    if scaled:
        forward = model.forward

        def doubled(*args, **kwargs):
            output = forward(*args, **kwargs)
            output.logits = output.logits * 2
            return output

        model.forward = doubled
    assert has_plain_head(model) is not scaled
    assert torch.is_grad_enabled()

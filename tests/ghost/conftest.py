from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def material(lettered, make_model):
    """A model whose answers depend on what it reads, and a text."""
    import torch
    from stages import SHAPE, Material

    from ropewalk.models.loading import load_model

    source = make_model(SHAPE)
    model = load_model(source, dtype="float32", device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    model.save_pretrained(source.name)
    return Material(source, lettered)

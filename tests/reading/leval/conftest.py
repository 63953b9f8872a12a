from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL = Path(os.environ.get("ROPEWALK_LEVAL", Path(__file__).parents[4] / "shared/data/leval"))


@pytest.fixture(scope="session")
def real_documents() -> Path:
    """The folder of the real documents, which are no part of the project."""
    if not (REAL / "tpo.jsonl").is_file():
        pytest.skip(f"the real documents of L-Eval are not at {REAL}; ROPEWALK_LEVAL names another place")
    return REAL


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with a random byte-level model whose answers depend on what it reads."""
    import torch

    from ropewalk.models.fresh import fresh_llama
    from ropewalk.models.shape import ModelShape
    from ropewalk.models.tokenizers import byte_tokenizer

    folder = tmp_path_factory.mktemp("model")
    shape = ModelShape(hidden_size=32, layers=1, heads=2, kv_heads=1, intermediate_size=32, length=64)
    model = fresh_llama(shape, 257, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder

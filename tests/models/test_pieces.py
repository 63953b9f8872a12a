from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_config, tiny_model

from ropewalk.errors import UserError
from ropewalk.models.pieces import reads_in_pieces
from ropewalk.reading import nll


@pytest.mark.parametrize(
    "family", ["llama", "gemma3_text", "gemma4_text", "deepseek_v3", "qwen3_5_text", "lfm2", "minimax"]
)
def test_a_text_in_pieces_is_the_text(family, monkeypatch):
    model = tiny_model(tiny_config(family))
    assert reads_in_pieces(model)
    monkeypatch.setattr(nll, "one_pass_fits", lambda *_: False)
    _agrees(model)


def test_a_family_that_loses_its_state_is_read_at_once(monkeypatch):
    """transformers gives the state-space layers of Bamba nothing of what came before a piece of several tokens."""
    model = tiny_model(tiny_config("bamba"))
    assert not reads_in_pieces(model)
    monkeypatch.setattr(nll, "one_pass_fits", lambda *_: False)
    _agrees(model)
    with pytest.raises(UserError, match="'bamba' loses what it read where a text goes on by several tokens"):
        nll.prefill(model, torch.arange(1, 30)[None], 8)


def _agrees(model) -> None:
    tokens = np.arange(1, 90) % 97
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens)[None], use_cache=False).logits[0].float()
    wanted = torch.nn.functional.cross_entropy(logits[:-1], torch.from_numpy(tokens[1:]), reduction="none").numpy()
    assert np.abs(nll.token_nll(model, tokens, chunk=16) - wanted).max() < 5e-3

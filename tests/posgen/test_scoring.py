from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from ropewalk.posgen import scoring
from ropewalk.posgen.model import StackedDecoder, rotations
from ropewalk.posgen.options import PosGenOptions
from ropewalk.posgen.scoring import generate, predict
from ropewalk.rope import default_rope
from ropewalk.rope.methods import apply

OPTIONS = PosGenOptions(modulus=5, starts="cycled", hidden_size=16, heads=2, head_dim=8, intermediate_size=24)
ROPE = default_rope(8, 100.0, 16)
ROPES = [ROPE, apply(ROPE, "pi", factor=2.0), ROPE]
TOKENS = OPTIONS.task("recursive").rows(np.random.default_rng(0).integers(0, 5, size=(9, 4)), 24)
DECODER = StackedDecoder(OPTIONS, [0, 1])
CHOSEN = [1, 0, 0]


def by_hand(model: int, rope, tokens: np.ndarray) -> torch.Tensor:
    inputs = np.concatenate([np.full((len(tokens), 1), 5), tokens[:, :-1]], axis=1)
    alone = DECODER.select([model])
    with torch.no_grad():
        return alone(torch.from_numpy(inputs)[None], rotations([rope], tokens.shape[1]))[0]


def test_predictions_are_means_over_sequences_by_place():
    found = predict(DECODER, CHOSEN, ROPES, TOKENS, 4)
    assert found.accuracy.shape == found.loss.shape == (3, 20)
    truth = torch.from_numpy(TOKENS[:, 4:])
    for i, (model, rope) in enumerate(zip(CHOSEN, ROPES, strict=True)):
        logits = by_hand(model, rope, TOKENS)[:, 4:]
        right = (logits.argmax(-1) == truth).double().mean(0)
        loss = F.cross_entropy(logits.transpose(1, 2), truth, reduction="none").mean(0)
        np.testing.assert_allclose(found.accuracy[i], right)
        np.testing.assert_allclose(found.loss[i], loss, rtol=1e-4)


def test_generated_tokens_are_those_of_whole_passes_over_what_was_written():
    found = generate(DECODER, CHOSEN, ROPES, TOKENS, 6)
    assert found.accuracy.shape == (3, 18)
    for i, (model, rope) in enumerate(zip(CHOSEN, ROPES, strict=True)):
        written = TOKENS.copy()
        written[:, 6:] = 0
        for place in range(6, 24):
            written[:, place] = by_hand(model, rope, written)[:, place].argmax(-1).numpy()
        np.testing.assert_allclose(found.accuracy[i], (written == TOKENS)[:, 6:].mean(0))


def test_parts_add_up_to_the_whole(monkeypatch):
    whole, text = predict(DECODER, CHOSEN, ROPES, TOKENS, 4), generate(DECODER, CHOSEN, ROPES, TOKENS, 4)
    for at_once in (24, 60, 24 * 9 * 2):
        monkeypatch.setattr(scoring, "TOKENS_AT_ONCE", at_once)
        np.testing.assert_allclose(predict(DECODER, CHOSEN, ROPES, TOKENS, 4).loss, whole.loss, rtol=1e-5)
        np.testing.assert_allclose(generate(DECODER, CHOSEN, ROPES, TOKENS, 4).accuracy, text.accuracy)

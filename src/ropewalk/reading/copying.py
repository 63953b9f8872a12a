"""Can the model copy over a distance? Random digits, repeated after a gap, predicted by the model.

Perplexity can stay flat while a model has stopped using its context (Men et al., arXiv 2405.14591); copying cannot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from ropewalk.errors import UserError
from ropewalk.models import binding
from ropewalk.progress import Progress
from ropewalk.reading.nll import memory_errors
from ropewalk.rope import Rope

BATCH_TOKENS = 16_384
"""Tokens in a forward pass, where one string has no more."""
SCORED = 16
"""Tokens scored at the end of each string: near the same distance and position for all of them."""


def copy_strings(symbols: Sequence[int], gap: int, count: int, seed: int) -> np.ndarray:
    """Strings that repeat after ``gap`` tokens, for twice the gap: token ids, shape (count, 2 × gap)."""
    rng = np.random.default_rng([seed, gap])
    return np.tile(rng.choice(np.asarray(symbols), size=(count, gap)), 2)


@torch.inference_mode()
def copy_accuracy(
    model: PreTrainedModel,
    rope: Rope,
    symbols: Sequence[int],
    gaps: Sequence[int],
    *,
    samples: int,
    seed: int,
) -> pd.DataFrame:
    """Share of tokens that the model predicts right one period after it saw them.

    Args:
        model: stays patched with the rope.
        rope: is fixed at twice the gap where it changes with the length.
        symbols: token ids of the alphabet; chance is one over their number.
        gaps: distances in tokens; the model reads twice as many.
        samples: strings a gap.
        seed: of the strings, the same for every model and rope.

    Returns:
        One row a string: ``gap`` and ``accuracy`` over the last 16 tokens (fewer where the gap is shorter).
    """
    if min(gaps) < 2:
        raise UserError(f"copying gap {min(gaps)}: expected at least 2 tokens.")
    rows = []
    with Progress("copying", len(gaps) * samples, unit="string") as progress:
        for gap in gaps:
            binding.patch(model, rope.at(2 * gap))
            strings = torch.from_numpy(copy_strings(symbols, gap, samples, seed)).to(model.device)
            scored = min(SCORED, gap - 1)
            for part in strings.split(max(1, BATCH_TOKENS // (2 * gap))):
                with memory_errors(2 * gap):
                    logits = model(input_ids=part, use_cache=False, logits_to_keep=scored + 1).logits[:, :-1]
                right = (logits.argmax(-1) == part[:, -scored:]).float().mean(-1)
                rows += [{"gap": gap, "accuracy": float(value)} for value in right]
                progress.advance(len(part), note=f"gap {gap} · {float(right.mean()):.2f}")
    return pd.DataFrame(rows)

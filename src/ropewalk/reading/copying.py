"""Can the model copy over a distance? Random digits, repeated after a gap, predicted by the model.

Perplexity can stay flat while a model has stopped using its context (Men et al., arXiv 2405.14591); copying cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from ropewalk.errors import UserError
from ropewalk.files import whole_folder, write_json
from ropewalk.metrics import write_metrics
from ropewalk.models import binding
from ropewalk.models.loading import load_model
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import digit_tokens, load_tokenizer
from ropewalk.options import plain
from ropewalk.progress import Progress
from ropewalk.reading.nll import memory_errors, rows_at_once
from ropewalk.reading.options import CopyingOptions
from ropewalk.rope import Rope
from ropewalk.scores import Score, Scores

GPU_TOKENS = 16_384
"""Tokens in a forward pass on a GPU, where one string has no more."""
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
            for part in strings.split(rows_at_once(model.device, 2 * gap, GPU_TOKENS)):
                with memory_errors(2 * gap):
                    logits = model(input_ids=part, use_cache=False, logits_to_keep=scored + 1).logits[:, :-1]
                right = (logits.argmax(-1) == part[:, -scored:]).float().mean(-1)
                rows += [{"gap": gap, "accuracy": float(value)} for value in right]
                progress.advance(len(part), note=f"gap {gap} · {float(right.mean()):.2f}")
    return pd.DataFrame(rows)


def read_copying(
    source: ModelSource,
    rope: Rope,
    options: CopyingOptions,
    *,
    columns: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write ``copying.csv`` (a row a string), ``reading.json`` (what made it), ``scores.json`` and ``metrics.jsonl``.

    Args:
        source: the model.
        rope: bound to it.
        options: what is copied.
        columns: what the row is called in tables.
        folder: where to write, whole or not at all.

    Raises:
        UserError: the tokenizer has no digits, the rope does not fit, or memory runs out.
    """
    symbols = digit_tokens(load_tokenizer(source))
    model = load_model(source, dtype=options.dtype)
    copies = copy_accuracy(model, rope, symbols, options.gaps, samples=options.samples, seed=options.seed)
    means = {int(str(gap)): float(value) for gap, value in copies.groupby("gap")["accuracy"].mean().items()}
    rows = tuple(Score(quantity="copy_accuracy", gap=gap, value=value) for gap, value in means.items())
    with whole_folder(folder) as out:
        copies.to_csv(out / "copying.csv", index=False)
        header = {"columns": dict(columns), "model": str(source), "rope": rope.to_json(), "options": plain(options)}
        write_json(out / "reading.json", header)
        Scores({"stage": "copying", **columns}, rows).write(out / "scores.json")
        write_metrics(out / "metrics.jsonl", {gap: {"copy_accuracy": value} for gap, value in means.items()})

"""Make the tiny models, each with what right and wrong ropes answer to its prompts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from ropewalk.doctor.applying import intended, read
from ropewalk.doctor.faults import RIGHT, hypotheses
from ropewalk.doctor.probes import Probe, Prompt, distance
from ropewalk.doctor.tiny import TINY, tiny_model
from ropewalk.files import whole_folder
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.progress import Progress
from ropewalk.rope import Rope

SEPARATION = 8.0
"""How many times the noise of bfloat16 lies between any two hypotheses of a tiny model, at least."""

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "


@dataclass(frozen=True)
class Made:
    """What was made of a tiny model.

    Attributes:
        name: of its folder.
        weights: how many it has.
        noise: of bfloat16, nats a token.
        closest: the two hypotheses that lie nearest to each other, and ``separation`` how far apart, nats a token.
    """

    name: str
    weights: int
    noise: float
    closest: tuple[str, str]
    separation: float


def make_all(folder: Path, seed: int = 0) -> list[Made]:
    """Write a folder with all tiny models, whole or not at all.

    Args:
        folder: where to write; one folder each.
        seed: of weights and prompts.

    Raises:
        RuntimeError: some hypotheses of a model lie too near to each other to be told apart, as of other seeds.
    """
    with whole_folder(folder) as out:
        return [make(name, out / name, seed) for name in TINY]


def make(name: str, folder: Path, seed: int = 0) -> Made:
    """Write one of the tiny models, its tokenizer, its rope and its ``expected.json`` into a folder.

    Raises:
        RuntimeError: see :func:`make_all`.
    """
    tiny, tokenizer = TINY[name], byte_tokenizer()
    model = tiny_model(tiny.config(), seed)
    draw = np.random.default_rng(seed)
    texts = ["".join(draw.choice(list(_LETTERS), size=length)) for length in tiny.lengths]
    prompts = [Prompt(text, tuple(tokenizer(text)["input_ids"])) for text in texts]
    rope = read_rope(model.config, length=tiny.original_length)
    probe = probe_of(name, model, rope, prompts)
    closest, separation = _closest(probe)
    if separation < SEPARATION * probe.noise:
        raise RuntimeError(
            f"{name}: {closest[0]} and {closest[1]} differ by {separation:.3g} nats, bfloat16 by {probe.noise:.3g}."
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rope.save(folder / "rope.json")
    probe.save(folder)
    return Made(name, sum(weight.numel() for weight in model.parameters()), probe.noise, closest, separation)


def probe_of(name: str, model: PreTrainedModel, rope: Rope, prompts: list[Prompt]) -> Probe:
    """What a model in float32 answers to prompts with a rope, with every fault of it, and how much bfloat16 changes.

    Args:
        name: of the model.
        model: in float32; is left in bfloat16, with the rope bound to it.
        rope: that the model is meant to have.
        prompts: to ask.

    Raises:
        UserError: the rope was made for another model, or the model cannot take one.
    """
    texts = [prompt.tokens for prompt in prompts]
    meant = intended(model, rope)
    candidates = hypotheses(meant, {len(tokens) for tokens in texts})
    with Progress(f"answers of {name}", (len(candidates) + 1) * len(prompts), unit="answer") as progress:
        expected = read(model, meant, candidates, texts, progress)
        model.bfloat16()
        rounded = read(model, meant, {RIGHT: meant.at}, texts, progress)
    noise = distance(rounded[RIGHT], expected[RIGHT])
    return Probe(name, rope.original_length, tuple(prompts), noise, expected)


def _closest(probe: Probe) -> tuple[tuple[str, str], float]:
    pairs = itertools.combinations(probe.expected, 2)
    apart = {pair: distance(probe.expected[pair[0]], probe.expected[pair[1]]) for pair in pairs}
    nearest = min(apart, key=lambda pair: apart[pair])
    return nearest, apart[nearest]

"""What is asked of an engine, and what right and wrong ropes answer: prompts, and the log-probabilities of each.

A probe is made with a tiny model and kept beside it (``expected.json``), or for a real model when it is asked about.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ropewalk.doctor.faults import RIGHT
from ropewalk.errors import UserError
from ropewalk.files import read_json, whole_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FORMAT = "ropewalk.doctor/1"
FILE = "expected.json"
_SHORTEST = 64

LogProbs = NDArray[np.float64]
"""Of every token of a prompt but the first, given those before it, in nats; shape (tokens - 1,)."""


@dataclass(frozen=True)
class Prompt:
    """A text and its token ids, which the model's own tokenizer makes of it."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Probe:
    """What is asked of an engine, and the answers by which its rope is known.

    Attributes:
        name: of the model.
        original_length: of the rope, in tokens.
        prompts: of several lengths.
        noise: mean distance in nats that bfloat16 alone makes, between two right answers.
        expected: by hypothesis, the right one among them, the log-probabilities of each prompt.
    """

    name: str
    original_length: int
    prompts: tuple[Prompt, ...]
    noise: float
    expected: Mapping[str, Sequence[LogProbs]]

    def save(self, folder: Path) -> None:
        """Write ``expected.json`` into a folder."""
        value = {
            "format": FORMAT,
            "name": self.name,
            "original_length": self.original_length,
            "noise": self.noise,
            "prompts": [{"text": prompt.text, "tokens": prompt.tokens} for prompt in self.prompts],
            "log_probabilities": {
                name: [[round(value, 5) for value in one.tolist()] for one in answers]
                for name, answers in self.expected.items()
            },
        }
        with whole_file(folder / FILE) as temporary:
            temporary.write_text(json.dumps(value, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Probe:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: it is missing or damaged.
        """
        path = folder / FILE
        value: Any = read_json(path, "what `ropewalk doctor models` writes")
        try:
            if value["format"] != FORMAT:
                raise ValueError(value["format"])
            prompts = tuple(Prompt(one["text"], tuple(one["tokens"])) for one in value["prompts"])
            expected = {name: [np.array(one) for one in found] for name, found in value["log_probabilities"].items()}
            shapes = [(len(prompt.tokens) - 1,) for prompt in prompts]
            if RIGHT not in expected or any([one.shape for one in found] != shapes for found in expected.values()):
                raise ValueError("shapes")
            return cls(value["name"], value["original_length"], prompts, float(value["noise"]), expected)
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{path} is not what this version writes; make it anew (`ropewalk doctor models`)."
            ) from None


def repeated_numbers(tokenizer: PreTrainedTokenizerFast, length: int) -> Prompt:
    """Random numbers, and the same again: a model that copies foretells the second half, if it finds the first one.

    Args:
        tokenizer: of the model; special tokens that it puts around a text are in the prompt.
        length: in tokens at most, and at least as many less a few.

    Raises:
        UserError: the length leaves room for none.
    """
    draw = np.random.default_rng(0)
    numbers = [str(number) for number in draw.integers(1000, 10_000, size=length // 2)]

    def prompt(count: int) -> Prompt:
        text = " ".join(numbers[:count] * 2)
        return Prompt(text, tuple(tokenizer(text)["input_ids"]))

    count = bisect_right(range(1, len(numbers) + 1), length, key=lambda count: len(prompt(count).tokens))
    if length < _SHORTEST or not count:
        raise UserError(f"--length {length}: expected at least {_SHORTEST} tokens.")
    return prompt(count)


def distance(a: Sequence[LogProbs], b: Sequence[LogProbs]) -> float:
    """Mean absolute difference of log-probabilities over the tokens of all prompts, in nats."""
    return float(np.abs(np.concatenate(a) - np.concatenate(b)).mean())

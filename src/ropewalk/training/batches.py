"""Training batches as a function of the step: the same seed gives the same data, whether interrupted or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ropewalk.corpora.store import Corpus


@dataclass(frozen=True)
class Batch:
    """The global batch of a step.

    Attributes:
        ids: token ids, int64, shape (sequences, length).
        positions: place of each token in its document, from 0, of the same shape; None where a sequence is one text.
            Attention does not look past a document's first token.
        short: further sequences, of the training length, that are read with the short table of a rope of two.
    """

    ids: np.ndarray
    positions: np.ndarray | None = None
    short: Batch | None = None

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.ids.size + (0 if self.short is None else self.short.tokens)

    @property
    def targets(self) -> np.ndarray:
        """The token that each place predicts, of the same shape; -100 where it predicts none."""
        ends = np.full((len(self.ids), 1), IGNORED)
        following = self.ids[:, 1:]
        if self.positions is not None:
            following = np.where(self.positions[:, 1:] == 0, IGNORED, following)
        return np.concatenate([following, ends], axis=1)

    def part(self, which: int, parts: int) -> Batch:
        """One of so many equal parts, of the sequences in order."""
        positions = None if self.positions is None else np.split(self.positions, parts)[which]
        return Batch(np.split(self.ids, parts)[which], positions)


Batches = Callable[[int], Batch]

IGNORED = -100
"""The target of a place that predicts nothing, as torch has it."""


def periodic_strings(rng: np.random.Generator, symbols: np.ndarray, count: int, length: int) -> np.ndarray:
    """Random strings that repeat with a period between 2 and half the length.

    A model can only predict their later periods by copying from its context, which is how a small model learns to
    retrieve.

    Args:
        rng: source of randomness.
        symbols: token ids of the alphabet.
        count: number of strings.
        length: tokens in each.

    Returns:
        Token ids, shape (count, length).
    """
    periods = rng.integers(2, length // 2 + 1, size=count)
    strings = rng.choice(symbols, size=(count, length))
    columns = np.arange(length)[None, :] % periods[:, None]
    return np.take_along_axis(strings, columns, axis=1)


@dataclass(frozen=True)
class TrainingBatches:
    """Windows of text from the train documents of some corpora, mixed with periodic strings.

    Attributes:
        corpora: each is drawn from in proportion to its train tokens.
        length: tokens in a sequence.
        size: sequences in a batch.
        copy_fraction: share of the sequences of a batch that are periodic strings.
        symbols: token ids of the alphabet of the periodic strings.
        seed: with the step, fixes a batch.
        stage: tells apart trainings that follow each other with one seed, so that none repeats another's batches.
        short: sequences that each batch has beside these; see :class:`Batch`.
    """

    corpora: Sequence[Corpus]
    length: int
    size: int
    copy_fraction: float
    symbols: Sequence[int]
    seed: int
    stage: int = 0
    short: TrainingBatches | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of one step, of ``size`` sequences, and with it that of ``short``."""
        rng = np.random.default_rng([self.seed, step, self.stage])
        copies = round(self.copy_fraction * self.size)
        shares = np.array([corpus.info["splits"]["train"]["tokens"] for corpus in self.corpora], dtype=float)
        counts = rng.multinomial(self.size - copies, shares / shares.sum())
        rows = [c.sample_windows(rng, self.length, int(n)) for c, n in zip(self.corpora, counts, strict=True) if n]
        if copies:
            rows.append(periodic_strings(rng, np.asarray(self.symbols), copies, self.length))
        short = None if self.short is None else self.short(step)
        return Batch(np.concatenate(rows).astype(np.int64), short=short)

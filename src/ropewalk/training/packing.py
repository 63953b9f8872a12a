"""Documents one after the other in sequences of one length, with their boundaries kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ropewalk.corpora.store import Corpus
from ropewalk.errors import UserError
from ropewalk.training.batches import Batch


@dataclass(frozen=True)
class PackedBatches:
    """Sequences cut from a stream of all train documents, which is shuffled anew each time it has run through.

    Nothing is padded and no text is left out, short documents included. A document that a sequence ends in goes on in
    the next one, as a text that begins there.

    Attributes:
        corpora: their train documents make the stream.
        length: tokens in a sequence.
        size: sequences in a batch.
        seed: of the order of the documents.
        eos_id: token put behind each document; none where None. The token that the corpus' tokenizer begins texts with
            is put in front.
    """

    corpora: Sequence[Corpus]
    length: int
    size: int
    seed: int
    eos_id: int | None = None

    @cached_property
    def _documents(self) -> list[tuple[int, int, int]]:
        """Corpus, first token and tokens of each document."""
        return [
            (which, int(start), int(length))
            for which, corpus in enumerate(self.corpora)
            for start, length in corpus.documents.query("split == 'train' and length > 0")[["start", "length"]].values
        ]

    @cached_property
    def _lengths(self) -> np.ndarray:
        marks = [(corpus.bos_id is not None) + (self.eos_id is not None) for corpus in self.corpora]
        return np.array([length + marks[which] for which, _, length in self._documents])

    def __call__(self, step: int) -> Batch:
        """The batch of one step.

        Raises:
            UserError: the train documents together are shorter than one sequence.
        """
        rows = [self._sequence(step * self.size + i) for i in range(self.size)]
        ids, positions = (np.stack(part) for part in zip(*rows, strict=True))
        return Batch(ids, positions)

    def _sequence(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        in_epoch = int(self._lengths.sum()) // self.length
        if not in_epoch:
            raise UserError(
                f"the train documents have {int(self._lengths.sum())} tokens; expected at least one sequence of "
                f"{self.length}."
            )
        epoch, place = divmod(number, in_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self._lengths))
        ends = np.cumsum(self._lengths[order])
        first, last = place * self.length, (place + 1) * self.length
        ids, positions = np.empty(self.length, np.int64), np.empty(self.length, np.int64)
        for k in range(int(np.searchsorted(ends, first, side="right")), len(order)):
            begin = int(ends[k] - self._lengths[order[k]])
            if begin >= last:
                break
            start, stop = max(begin, first), min(int(ends[k]), last)
            ids[start - first : stop - first] = self._tokens(int(order[k]))[start - begin : stop - begin]
            positions[start - first : stop - first] = np.arange(stop - start)
        return ids, positions

    def _tokens(self, document: int) -> np.ndarray:
        which, start, length = self._documents[document]
        corpus = self.corpora[which]
        front = [] if corpus.bos_id is None else [corpus.bos_id]
        back = [] if self.eos_id is None else [self.eos_id]
        return np.concatenate([front, corpus.tokens[start : start + length], back]).astype(np.int64)

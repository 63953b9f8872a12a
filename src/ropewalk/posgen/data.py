"""Training, validation and test sequences of a task: made from a seed, known by a hash, never stored."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ropewalk.posgen.options import PosGenOptions
from ropewalk.posgen.tasks import Task, Tokens


@dataclass(frozen=True)
class Data:
    """Sequences of one task.

    Attributes:
        train: shape (train_sequences, train_length).
        validation: shape (validation_sequences, test_length).
        test: shape (test_sequences, test_length).
        info: a SHA-256 of the sequences, how many training sequences differ, and how many validation and test
            sequences begin as a training sequence does.
    """

    train: Tokens
    validation: Tokens
    test: Tokens
    info: dict[str, Any]


def make_data(kind: str, options: PosGenOptions) -> Data:
    """Make the sequences of a kind of task.

    Raises:
        UserError: there is no such kind.
    """
    task = options.task(kind)
    if options.starts == "disjoint":
        starts = _different_starts(task, options.sequences, options.data_seed)
        train, validation, test = np.split(
            starts, [options.train_sequences, options.train_sequences + options.validation_sequences]
        )
    else:
        held = options.validation_sequences + options.test_sequences
        count = max(options.train_sequences, held)
        combinations = itertools.islice(itertools.combinations(range(task.modulus), task.start), count)
        lines = np.resize(np.array(list(combinations), dtype=np.int64), (count, task.start))
        train, validation = lines[: options.train_sequences], lines[: options.validation_sequences]
        test = lines[options.validation_sequences : held]
    seen = {row.tobytes() for row in train}
    rows = (
        task.rows(train, options.train_length),
        task.rows(validation, options.test_length),
        task.rows(test, options.test_length),
    )
    digest = hashlib.sha256(b"".join(part.astype("<i8").tobytes() for part in rows))
    info = {
        "sha256": digest.hexdigest(),
        "different_train_sequences": len(seen),
        "validation_in_train": sum(row.tobytes() in seen for row in validation),
        "test_in_train": sum(row.tobytes() in seen for row in test),
    }
    return Data(*rows, info)


def _different_starts(task: Task, count: int, seed: int) -> Tokens:
    """Random starts, all different, in random order, shape (count, j + k)."""
    rng = np.random.default_rng(seed)
    starts = np.empty((0, task.start), dtype=np.int64)
    while len(starts) < count:
        more = rng.integers(0, task.modulus, size=(max(count, 1000), task.start))
        starts = np.concatenate([starts, more])
        _, first = np.unique(starts, axis=0, return_index=True)
        starts = starts[np.sort(first)]
    return starts[:count]


def batch_rows(sequences: int, batch_size: int, step: int, seed: int) -> Tokens:
    """Which training sequences make the batch of a step (from 0), shape (batch_size,).

    Each epoch is a new permutation, and one follows the other without a gap, so a step is known without those before.
    """
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // sequences, math.ceil(last / sequences))
    order = np.concatenate([np.random.default_rng([seed, epoch]).permutation(sequences) for epoch in epochs])
    return order[first - epochs[0] * sequences :][:batch_size]

"""Training, validation and test sequences of a task: made from a seed, known by a hash, never stored."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ropewalk.errors import UserError
from ropewalk.posgen.tasks import Task, Tokens
from ropewalk.rope.rope import as_integer

Starts = Literal["disjoint", "cycled"]


@dataclass(frozen=True)
class DataOptions:
    """Which sequences to make.

    Attributes:
        starts: where first tokens come from. disjoint, as the paper says: random, all different, none in two splits.
            cycled, as the released code does: the ascending combinations of the tokens, in lexicographic order and
            from the beginning again when they run out; validation and test take the first of the same list, so they
            may lie in the training data.
        seed: of the random starts.
        train_sequences: sequences to train on.
        validation_sequences: sequences to validate on.
        test_sequences: sequences to test on.
        train_length: L, tokens of a training sequence.
        test_length: L', tokens of a validation or test sequence.
    """

    starts: Starts = "disjoint"
    seed: int = 0
    train_sequences: int = 10_000
    validation_sequences: int = 1_000
    test_sequences: int = 1_000
    train_length: int = 64
    test_length: int = 256

    def check(self, task: Task) -> None:
        """See whether these sequences exist.

        Raises:
            UserError: the lengths leave nothing to predict, or the task has fewer starts than sequences are wanted.
        """
        for name in ("train_sequences", "validation_sequences", "test_sequences"):
            as_integer(name, getattr(self, name), at_least=1)
        as_integer("data_seed", self.seed, at_least=0)
        if self.train_length <= task.start:
            raise UserError(
                f"train_length is {self.train_length}; expected more than the {task.start} tokens that are given "
                "at the start, or nothing is left to predict."
            )
        if self.test_length <= self.train_length:
            raise UserError(f"test_length is {self.test_length}; expected more than train_length, {self.train_length}.")
        if self.starts == "disjoint" and task.modulus**task.start < self._wanted:
            raise UserError(
                f"modulus {task.modulus} has {task.modulus**task.start:,} different starts of {task.start} tokens; "
                f"expected at least {self._wanted:,}, one for each sequence. Ask for fewer sequences, or a larger "
                "modulus."
            )
        if self.starts == "cycled" and task.modulus < task.start:
            raise UserError(
                f"modulus is {task.modulus}; expected at least {task.start}, since cycled starts are {task.start} "
                "different tokens."
            )
        if self.starts not in ("disjoint", "cycled"):
            raise UserError(f"starts is {self.starts!r}; expected 'disjoint' or 'cycled'.")

    @property
    def _wanted(self) -> int:
        return self.train_sequences + self.validation_sequences + self.test_sequences


@dataclass(frozen=True)
class Data:
    """Sequences of one task.

    Attributes:
        train: shape (train_sequences, train_length).
        validation: shape (validation_sequences, test_length).
        test: shape (test_sequences, test_length).
        info: the options, a SHA-256 of the sequences, how many training sequences differ, and how many validation
            and test sequences begin as a training sequence does.
    """

    train: Tokens
    validation: Tokens
    test: Tokens
    info: dict[str, Any]


def make_data(task: Task, options: DataOptions) -> Data:
    """Make the sequences of a task.

    Raises:
        UserError: see :meth:`DataOptions.check`.
    """
    options.check(task)
    if options.starts == "disjoint":
        starts = _different_starts(task, options._wanted, options.seed)
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
        "task": asdict(task),
        **asdict(options),
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

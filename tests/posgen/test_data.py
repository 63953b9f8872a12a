from __future__ import annotations

import numpy as np

from ropewalk.posgen.data import batch_rows, make_data
from ropewalk.posgen.options import PosGenOptions
from ropewalk.posgen.tasks import Task


def starts(sequences: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(row[:4]) for row in sequences.tolist()}


def test_disjoint_starts_are_all_different_and_in_one_split_only():
    data = make_data("recursive", PosGenOptions())
    parts = [starts(part) for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [10_000, 1_000, 1_000]
    assert len(set.union(*parts)) == 12_000
    assert data.train.shape == (10_000, 64)
    assert data.test.shape == (1_000, 256)
    assert (data.info["validation_in_train"], data.info["test_in_train"]) == (0, 0)
    assert (data.test == Task("recursive").rows(data.test[:, :4], 256)).all()


def test_cycled_starts_lie_in_the_training_data_as_in_the_released_code():
    data = make_data("recursive", PosGenOptions(starts="cycled"))
    assert data.info["different_train_sequences"] == 2380, "17 choose 4"
    assert data.info["validation_in_train"] == 1000
    assert data.info["test_in_train"] == 1000
    assert data.train[0, :4].tolist() == [0, 1, 2, 3]
    assert data.train[2380, :4].tolist() == [0, 1, 2, 3]
    assert set(data.validation[:, 0].tolist()) == {0, 1}
    few = make_data("recursive", PosGenOptions(modulus=7, starts="cycled"))
    assert few.info["different_train_sequences"] == 35


def test_a_seed_and_a_hash_identify_the_data():
    small = {"train_sequences": 50, "validation_sequences": 10, "test_sequences": 10}
    one, same, other = (make_data("recursive", PosGenOptions(data_seed=seed, **small)) for seed in (3, 3, 4))
    assert one.info == same.info
    assert (one.train == same.train).all()
    assert one.info["sha256"] != other.info["sha256"]


def test_nearly_all_starts_can_be_used():
    sizes = {"train_sequences": 70, "validation_sequences": 5, "test_sequences": 6}
    data = make_data("recursive", PosGenOptions(modulus=3, train_length=8, test_length=16, **sizes))
    assert len(starts(data.train) | starts(data.validation) | starts(data.test)) == 81


def test_batches_go_through_every_sequence_once_an_epoch():
    rows = np.concatenate([batch_rows(10, 4, step, seed=1) for step in range(5)])
    assert sorted(rows[:10]) == list(range(10))
    assert sorted(rows[10:]) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist(), "each epoch has an order of its own"
    assert batch_rows(10, 4, 3, seed=1).tolist() == rows[12:16].tolist()
    assert batch_rows(10, 4, 0, seed=2).tolist() != rows[:4].tolist()
    assert len(batch_rows(3, 8, 2, seed=0)) == 8, "a batch may be longer than an epoch"

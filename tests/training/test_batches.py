from __future__ import annotations

import numpy as np
import pytest

from ropewalk.corpora import Corpus
from ropewalk.models.tokenizers import byte_tokenizer, digit_tokens
from ropewalk.training.batches import TrainingBatches, periodic_strings


@pytest.fixture(scope="module")
def corpus(lettered) -> Corpus:
    return lettered


def test_periodic_strings_repeat_with_a_period_of_at_most_half_their_length():
    strings = periodic_strings(np.random.default_rng(0), np.arange(10), 200, 128)
    periods = [next(p for p in range(1, 129) if (row[p:] == row[:-p]).all()) for row in strings]
    assert max(periods) <= 64
    assert min(periods) <= 3
    assert len(set(periods)) > 40


def test_a_batch_is_fixed_by_seed_and_step(corpus):
    symbols = digit_tokens(byte_tokenizer())
    make = TrainingBatches([corpus], 32, 8, 0.5, symbols, seed=3)
    same = TrainingBatches([corpus], 32, 8, 0.5, symbols, seed=3)
    other = TrainingBatches([corpus], 32, 8, 0.5, symbols, seed=4)
    assert make(5).ids.shape == (8, 32)
    assert (make(5).ids == same(5).ids).all()
    assert (make(5).ids != make(6).ids).any()
    assert (make(5).ids != other(5).ids).any()
    digits = np.isin(make(5).ids, symbols).all(axis=1)
    assert digits.sum() == 4

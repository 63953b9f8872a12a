from __future__ import annotations

import numpy as np
import pytest

from ropewalk.corpora import Corpus, build
from ropewalk.errors import UserError
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.training.batches import IGNORED
from ropewalk.training.packing import PackedBatches

EOS = byte_tokenizer().eos_token_id


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("text")
    for i in range(20):
        (folder / f"{i}.txt").write_text(f"<{i}>" + "x" * (7 * i))
    return build(f"folder:{folder}", byte_tokenizer(), tmp_path_factory.mktemp("corpus") / "c")


def train_texts(corpus):
    rows = corpus.documents[corpus.documents["split"] == "train"]
    return sorted(bytes(corpus.document(name).tolist()).decode("latin-1") for name in rows["id"])


def test_an_epoch_holds_every_train_document_once(corpus):
    stream = sum(map(len, train_texts(corpus))) + len(train_texts(corpus))
    batches = PackedBatches([corpus], stream, 1, seed=0, eos_id=EOS)
    ids = batches(0).ids[0]
    pieces = np.split(ids, np.flatnonzero(ids == EOS) + 1)[:-1]
    assert sorted(bytes(piece[:-1].tolist()).decode("latin-1") for piece in pieces) == train_texts(corpus)
    # The next epoch has them in another order.
    again = batches(1).ids[0]
    assert sorted(again) == sorted(ids)
    assert (again != ids).any()


def test_positions_begin_anew_with_each_document_and_sequence(corpus):
    batches = PackedBatches([corpus], 64, 3, seed=1, eos_id=EOS)
    batch = batches(2)
    assert batch.ids.shape == batch.positions.shape == (3, 64)
    assert (batch.positions[:, 0] == 0).all()
    for ids, positions in zip(batch.ids, batch.positions, strict=True):
        starts = np.flatnonzero(positions == 0)
        assert (starts[1:] - 1 == np.flatnonzero(ids[:-1] == EOS)).all()
        for start, stop in zip(starts, [*starts[1:], 64], strict=True):
            assert (positions[start:stop] == np.arange(stop - start)).all()


def test_nothing_predicts_the_first_token_of_a_document(corpus):
    batch = PackedBatches([corpus], 64, 3, seed=1, eos_id=EOS)(0)
    for ids, positions, targets in zip(batch.ids, batch.positions, batch.targets, strict=True):
        for place in range(63):
            assert targets[place] == (IGNORED if positions[place + 1] == 0 else ids[place + 1])
        assert targets[63] == IGNORED


def test_a_batch_is_fixed_by_seed_and_step(corpus):
    make = PackedBatches([corpus], 64, 2, seed=3)
    assert (make(9).ids == PackedBatches([corpus], 64, 2, seed=3)(9).ids).all()
    assert (make(9).ids != PackedBatches([corpus], 64, 2, seed=4)(9).ids).any()


def test_a_sequence_longer_than_all_text_is_refused(corpus):
    with pytest.raises(UserError, match="expected at least one sequence of 1000000"):
        PackedBatches([corpus], 1_000_000, 1, seed=0)(0)

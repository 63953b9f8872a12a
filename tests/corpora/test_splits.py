from __future__ import annotations

from collections import Counter

import pytest

from ropewalk.corpora.splits import DEFAULT, SPLITS, split_of, text_hash


def test_splits_never_change() -> None:
    # Frozen: a change here moves documents between what is searched on and what is reported on.
    assert text_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert [split_of(f"text {number}") for number in range(8)] == [
        "train",
        "train",
        "search",
        "train",
        "selection",
        "train",
        "train",
        "train",
    ]


def test_shares_are_near_the_fractions() -> None:
    count = 10_000
    found = Counter(split_of(f"document number {number}") for number in range(count))
    assert set(found) == set(SPLITS)
    for split, share in DEFAULT.items():
        assert abs(found[split] / count - share) < 4 * (share * (1 - share) / count) ** 0.5


def test_other_fractions() -> None:
    everything = {"train": 0.0, "search": 0.0, "selection": 1.0, "test": 0.0}
    assert {split_of(str(number), everything) for number in range(100)} == {"selection"}


@pytest.mark.parametrize(
    "fractions",
    [
        {"train": 1.0},
        {"train": 0.5, "search": 0.1, "selection": 0.1, "test": 0.1},
        {"train": 1.2, "search": -0.2, "selection": 0.0, "test": 0.0},
    ],
)
def test_fractions_that_are_none(fractions: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        split_of("text", fractions)

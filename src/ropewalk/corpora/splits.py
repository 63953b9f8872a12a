"""Which split a document belongs to, decided by its text alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

SPLITS = ("train", "search", "selection", "test")
"""What a document may be used for: tuning weights, searching a rope, choosing among the found, reporting."""

DEFAULT: Mapping[str, float] = {"train": 0.6, "search": 0.1, "selection": 0.1, "test": 0.2}
"""The expected share of the documents in each split."""


def text_hash(text: str) -> str:
    """The sha256 of ``text`` in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def split_of(text: str, fractions: Mapping[str, float] = DEFAULT) -> str:
    """The split of ``text``: the same whichever corpus it comes from and whatever it is called there.

    The hash of the text is read as a number in [0, 1), and the splits divide that interval in the order of ``SPLITS``.

    Raises:
        ValueError: ``fractions`` does not give every split a share, or the shares do not sum to 1.
    """
    if set(fractions) != set(SPLITS) or min(fractions.values()) < 0 or abs(sum(fractions.values()) - 1) > 1e-9:
        raise ValueError(f"fractions must give {', '.join(SPLITS)} shares that sum to 1, not {dict(fractions)}")
    point = int(text_hash(text)[:12], 16) / 16**12  # 48 bits: exact in a float, and always below 1
    edge = 0.0
    for split in SPLITS[:-1]:
        edge += fractions[split]
        if point < edge:
            return split
    return SPLITS[-1]

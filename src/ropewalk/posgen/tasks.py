"""The three tasks of PosGen (Resonance RoPE, arXiv 2403.00071, section 5): every next token is a sum modulo m."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ropewalk.errors import UserError
from ropewalk.rope.rope import as_integer

Kind = Literal["recursive", "chain-of-thought", "semi-recursive"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """A rule that continues a sequence: the next token is the sum modulo m of ``far`` earlier and ``near`` last tokens.

    Where the far tokens are read is what tells the tasks apart. With j far and k near tokens, token l (from 0) reads:
    recursive: the tokens just before the near ones, so the last j + k; chain-of-thought: the first j tokens;
    semi-recursive: j tokens from p = floor((l - (j + k)) / 2) on, a pointer that moves every second token. (The
    formula that the paper prints for the last disagrees with its own figure 2, which this reproduces.)

    Attributes:
        kind: the rule.
        modulus: m; tokens are 0 .. m - 1.
        far: j, tokens read at the far place.
        near: k, tokens read at the end.
    """

    kind: Kind
    modulus: int = 17
    far: int = 1
    near: int = 3

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"task is {self.kind!r}; expected one of {', '.join(KINDS)}.")
        as_integer("modulus", self.modulus, at_least=2)
        as_integer("far", self.far, at_least=1)
        as_integer("near", self.near, at_least=1)

    @property
    def start(self) -> int:
        """Tokens that must be given before the rule applies, j + k."""
        return self.far + self.near

    def rows(self, starts: ArrayLike, length: int) -> Tokens:
        """Continue starts to sequences.

        Args:
            starts: first tokens, shape (sequences, j + k), each 0 .. m - 1.
            length: tokens of a whole sequence.

        Returns:
            Shape (sequences, length).

        Raises:
            UserError: a start has another length, or a token that the modulus does not allow.
        """
        given = np.atleast_2d(np.asarray(starts, dtype=np.int64))
        if given.shape[1] != self.start:
            raise UserError(f"a start has {given.shape[1]} tokens; expected {self.start}, far and near ones together.")
        outside = given[(given < 0) | (given >= self.modulus)]
        if outside.size:
            raise UserError(f"a start holds {outside[0]}; expected tokens 0 to {self.modulus - 1}.")
        length = as_integer("length", length, at_least=self.start)
        tokens = np.empty((len(given), length), dtype=np.int64)
        tokens[:, : self.start] = given
        for place in range(self.start, length):
            far = self._far_place(place)
            read = tokens[:, far : far + self.far].sum(axis=1) + tokens[:, place - self.near : place].sum(axis=1)
            tokens[:, place] = read % self.modulus
        return tokens

    def _far_place(self, place: int) -> int:
        if self.kind == "recursive":
            return place - self.start
        return 0 if self.kind == "chain-of-thought" else (place - self.start) // 2

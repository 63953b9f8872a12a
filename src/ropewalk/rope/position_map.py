"""Maps of positions: which relative position attention gives a distance, whatever the rope.

A rope turns a query at position i and a key at position j by an angle that depends on i - j alone. A map gives far keys
relative positions that training has seen, without training: it splits the pairs (i, j) into a few branches, and gives
queries and keys a position in each, so that the relative position of a pair is that of the query less that of the key
in its branch. Every map here keeps i - j for near keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ropewalk.errors import UserError, ValueFault

Kind = Literal["self_extend", "leaky_rerope", "dual_chunk", "string"]
KINDS: tuple[Kind, ...] = ("self_extend", "leaky_rerope", "dual_chunk", "string")
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PositionMap:
    """One map.

    With distance d = i - j:

    - ``self_extend`` (Jin et al., arXiv 2401.01325): d below the window w; beyond, positions in groups of g:
      floor(i/g) - floor(j/g) + w - floor(w/g).
    - ``leaky_rerope`` (Su, "ReRoPE", 2023): d below w; beyond, w + (d - w)/g.
    - ``dual_chunk`` (An et al., arXiv 2402.17463): the text in chunks of g tokens, w tokens of local window. Within a
      chunk d; into the chunk before, min(i mod g + g, g + w - 1) - j mod g, which is d within w tokens; into earlier
      ones, g + w - 1 - j mod g.
    - ``string`` (An et al., arXiv 2410.18745): d below the shift g; beyond, d - g + w.

    Attributes:
        kind: which of them.
        window: w, in tokens.
        group: g: tokens of a group or chunk or shift, or the divisor of distances beyond the window.
    """

    kind: Kind
    window: int
    group: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueFault("kind", f"is {self.kind!r}; expected one of {', '.join(KINDS)}.")
        # Leaky ReRoPE without a window is position interpolation.
        nearest = 0 if self.kind == "leaky_rerope" else 1
        if isinstance(self.window, bool) or not isinstance(self.window, int) or self.window < nearest:
            raise ValueFault("window", f"is {self.window!r}; expected a whole number of tokens, at least {nearest}.")
        least = 1 if self.kind == "leaky_rerope" else 2
        if isinstance(self.group, bool) or not self.group >= least:
            raise ValueFault("group", f"is {self.group!r}; expected a number of at least {least}.")
        if self.kind != "leaky_rerope" and self.group != int(self.group):
            raise ValueFault("group", f"is {self.group:g}; expected a whole number.")
        if self.kind == "string" and self.window >= self.group:
            raise UserError(f"window is {self.window} and shift {self.group:g}; expected a window below the shift.")
        if self.kind == "dual_chunk" and self.window > self.group:
            raise UserError(f"window is {self.window} and chunk {self.group:g}; expected a window within a chunk.")

    @property
    def branches(self) -> int:
        """In how many parts the pairs of positions fall."""
        return 3 if self.kind == "dual_chunk" else 2

    def borders(self, queries: IntArray) -> IntArray:
        """Where branches meet, shape (branches - 1, queries): keys before border b are of branch b + 1 or beyond."""
        if self.kind == "dual_chunk":
            chunk = queries // int(self.group) * int(self.group)
            return np.stack([chunk, chunk - int(self.group)])
        reach = int(self.group) if self.kind == "string" else self.window
        return (queries - reach + 1)[None]

    def branch(self, queries: IntArray, keys: IntArray) -> IntArray:
        """The branch of each pair, shape (queries, keys); 0 are the near ones. Keys after a query count as near."""
        return (keys < self.borders(queries)[:, :, None]).sum(axis=0)

    def query_positions(self, queries: IntArray, branch: int) -> FloatArray:
        """The position that queries take in a branch, shape (queries,)."""
        i, w, g = queries.astype(np.float64), self.window, self.group
        match self.kind, branch:
            case "dual_chunk", 0:
                return i % g
            case "dual_chunk", 1:
                return np.minimum(i % g + g, g + w - 1)
            case "dual_chunk", _:
                return np.full_like(i, g + w - 1)
            case _, 0:
                return i
            case "self_extend", _:
                return i // g + w - w // g
            case "leaky_rerope", _:
                return i / g + w - w / g
        return i - g + w

    def key_positions(self, keys: IntArray, branch: int) -> FloatArray:
        """The position that keys take in a branch, shape (keys,)."""
        j, g = keys.astype(np.float64), self.group
        if self.kind == "dual_chunk":
            return j % g
        if branch == 0 or self.kind == "string":
            return j
        return j // g if self.kind == "self_extend" else j / g

    def relative(self, queries: IntArray, keys: IntArray) -> FloatArray:
        """The relative position of each pair, shape (queries, keys)."""
        of, found = self.branch(queries, keys), np.zeros((len(queries), len(keys)))
        for branch in range(self.branches):
            apart = self.query_positions(queries, branch)[:, None] - self.key_positions(keys, branch)[None]
            found = np.where(of == branch, apart, found)
        return found

    def reach(self, length: int) -> float:
        """The largest relative position within a text of ``length`` tokens."""
        last = np.array([length - 1])
        return float(self.relative(last, np.arange(length)).max())

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "window": self.window, "group": self.group}

    @classmethod
    def from_json(cls, value: Any) -> PositionMap:
        """Rebuild a map from :meth:`to_json`.

        Raises:
            UserError: a key is missing or holds something else than it should.
        """
        if not isinstance(value, Mapping) or set(value) != {"kind", "window", "group"}:
            raise ValueFault("position_map", f"is {value!r}; expected kind, window and group.")
        return cls(value["kind"], value["window"], value["group"])

"""Sizes of models that are made from nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ropewalk.errors import OptionError
from ropewalk.options import Count, Options, Range

GLOBAL_EVERY = 3
"""Among layers with windows, each so many-th sees all."""

Width = Annotated[int, Range(at_least=8)]


@dataclass(frozen=True)
class ModelShape(Options):
    """Sizes of a small byte-level model: Llama, or OLMo 3 where layers have windows."""

    hidden_size: Width = 128
    """width of the residual stream"""
    layers: Count = 3
    """decoder layers"""
    heads: Count = 2
    """query heads a layer; the head dimension is hidden_size / heads"""
    kv_heads: Count = 2
    """key/value heads a layer"""
    intermediate_size: Width = 256
    """width of the feed-forward layers"""
    base: Annotated[float, Range(above=1)] = 10_000.0
    """base of the rotary embedding"""
    length: Width = 128
    """training length in tokens"""
    window: Count | None = None
    """tokens that a layer sees, itself among them; every third layer sees all, and each of the two types has a rope of
    its own. All layers see all where null"""

    def check(self) -> None:
        if self.hidden_size % (2 * self.heads):
            raise OptionError(f"hidden_size {self.hidden_size} over {self.heads} heads gives no even head dimension.")
        if self.heads % self.kv_heads:
            raise OptionError(f"heads is {self.heads}; expected a multiple of kv_heads, {self.kv_heads}.")
        if self.window is not None and self.layers < GLOBAL_EVERY:
            raise OptionError(f"layers is {self.layers}; expected {GLOBAL_EVERY} or more with a window.")

    @property
    def head_dim(self) -> int:
        """Dimensions of a head, all of them rotated."""
        return self.hidden_size // self.heads

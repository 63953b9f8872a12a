"""Options of a sweep's report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ropewalk.errors import OptionError
from ropewalk.options import Count, Range, ReportOptions


@dataclass(frozen=True, kw_only=True)
class SweepOptions(ReportOptions):
    """A report of a sweep of the base: measured limits, and the laws."""

    thresholds: Annotated[tuple[float, ...], Range(above=0)] = (0.05, 0.1, 0.2)
    """nats a token that reading everything may cost against reading the last tokens; laws are held against the first"""
    smoothing: Count | None = None
    """positions in the moving mean of that cost; a quarter of the length of pre-training where null"""
    perplexity_ratio: Annotated[float, Range(above=1)] = 1.1
    """by how much the perplexity of the first tokens may rise, for the rule on perplexity"""

    def check(self) -> None:
        if not self.thresholds:
            raise OptionError("thresholds is empty; expected at least one, which laws are held against.")

    @property
    def rules(self) -> list[str]:
        """What the rules of a limit are called, the main one first."""
        return [*(f"{threshold:g} nats" for threshold in self.thresholds), f"perplexity × {self.perplexity_ratio:g}"]

    @property
    def width(self) -> int:
        """Positions in the moving mean, once they are known.

        Raises:
            ValueError: they follow the length of pre-training, which these options do not know.
        """
        if self.smoothing is None:
            raise ValueError("smoothing is None; expected the options of a sweep that was read")
        return self.smoothing

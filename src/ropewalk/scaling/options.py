"""Options of a sweep's report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ropewalk.errors import OptionError
from ropewalk.options import Range, ReportOptions


@dataclass(frozen=True, kw_only=True)
class SweepOptions(ReportOptions):
    """A report of a sweep of the base: measured limits, and the laws."""

    thresholds: Annotated[tuple[float, ...], Range(above=0)] = (0.05, 0.1, 0.2)
    """nats a token that reading everything may cost against reading the last tokens; figures show the first"""
    perplexity_ratio: Annotated[float, Range(above=1)] = 1.1
    """by how much the perplexity of the first tokens may rise, for the rule on perplexity"""
    context_use: Annotated[float, Range(at_least=0)] = 0.1
    """nats a token that context within the length of pre-training must be worth to a model, for its numbers to count"""
    tuning_loss: Annotated[float, Range(above=0)] = 0.1
    """nats a token within the tuning length that a base may cost against the best base tuned at it; beyond that tuning
    has broken the model, and it does not count"""

    def check(self) -> None:
        if not self.thresholds:
            raise OptionError("thresholds is empty; expected at least one, which figures show.")

    @property
    def rules(self) -> list[str]:
        """What the rules of a limit are called, the main one first."""
        return [*(f"{threshold:g} nats" for threshold in self.thresholds), f"perplexity × {self.perplexity_ratio:g}"]

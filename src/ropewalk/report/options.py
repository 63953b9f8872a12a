"""Options of reports, a class a kind. Confidence and experiment come from the study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ropewalk.errors import OptionError
from ropewalk.options import Count, Options, Positive, Range, ReportOptions


@dataclass(frozen=True, kw_only=True)
class PerplexityReportOptions(ReportOptions):
    """A report of readings of kind nll, by rope and length."""

    lengths: Annotated[tuple[int, ...], Range(at_least=2)]
    """reported lengths in tokens, up to how far models were read"""
    reference: str
    """rope that the others are compared with, document by document"""


@dataclass(frozen=True, kw_only=True)
class MeasuresReportOptions(ReportOptions):
    """A report of what perplexity, LongPPL and hidden facts say of the same ropes."""

    lengths: Annotated[tuple[int, ...], Range(at_least=2)]
    """reported lengths in tokens, longer than the window that tells the key tokens"""
    reference: str
    """rope that the others are compared with, document by document"""


@dataclass(frozen=True, kw_only=True)
class TuningReportOptions(ReportOptions):
    """A report of readings before and after tuning."""

    lengths: Annotated[tuple[int, ...], Range(at_least=2)]
    """reported lengths in tokens, up to how far models were read"""
    reference: str
    """rope that the others, tuned alike, are compared with"""


@dataclass(frozen=True, kw_only=True)
class PredictionOptions(Options):
    """What the laws predict for bases and tuning lengths of one rotary table, before anything is trained."""

    head_dim: Count
    """rotated dimensions of a head"""
    base: Positive
    """base of pre-training"""
    length: Count
    """length of pre-training in tokens"""
    bases: tuple[float, ...]
    """bases of tuning"""
    tune_lengths: tuple[int, ...]
    """length of tuning in tokens, one for each of bases"""

    def check(self) -> None:
        if not self.bases or len(self.bases) != len(self.tune_lengths):
            raise OptionError(
                f"tune_lengths are {len(self.tune_lengths)} for {len(self.bases)} bases; expected one for each base."
            )

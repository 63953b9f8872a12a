"""Kinds of readings and reports, and the options of each."""

from __future__ import annotations

from ropewalk.options import Options, ReportOptions
from ropewalk.reading.options import CopyingOptions, LEvalOptions, NeedleOptions, NllOptions
from ropewalk.report.options import (
    MeasuresReportOptions,
    PerplexityReportOptions,
    PredictionOptions,
    TuningReportOptions,
)
from ropewalk.scaling.options import SweepOptions
from ropewalk.search.options import ProbeOptions, SearchReportOptions

READING_OPTIONS: dict[str, type[Options]] = {
    "nll": NllOptions,
    "copying": CopyingOptions,
    "needle": NeedleOptions,
    "leval": LEvalOptions,
    "probe": ProbeOptions,
}
"""The options of each kind of reading."""
REPORT_OPTIONS: dict[str, type[Options]] = {
    "perplexity": PerplexityReportOptions,
    "copying": ReportOptions,
    "needle": ReportOptions,
    "measures": MeasuresReportOptions,
    "leval": ReportOptions,
    "scaling": SweepOptions,
    "predictions": PredictionOptions,
    "search": SearchReportOptions,
    "causes": ReportOptions,
    "finetune": TuningReportOptions,
    "posgen": ReportOptions,
}
"""The options of each kind of report."""

"""Claim by claim, what of the three papers held up here."""

from ropewalk.report.scorecard.card import (
    CLAIMS,
    PAPERS,
    as_rows,
    as_text,
    counts,
    evaluate,
    experiments,
    write_scorecard,
)

__all__ = ["CLAIMS", "PAPERS", "as_rows", "as_text", "counts", "evaluate", "experiments", "write_scorecard"]

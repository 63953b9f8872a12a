"""Scores: what was measured, a row a number, as ``scores.json`` holds it.

Names that people give, of ropes, models or regimes, are values of columns and never keys.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ropewalk.errors import UserError
from ropewalk.files import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number, its interval, and what it is of; a column that says nothing is None, and left out of files.

    Numbers are finite. One beyond all that was measured, like the limit of a model that never failed, has no value and
    is ``censored``; an end of an interval that is infinite is left out.
    """

    quantity: str
    """What was measured; its unit is that of its report."""
    value: float | None = None
    """The number."""
    low: float | None = None
    """Lower end of its interval."""
    high: float | None = None
    """Upper end."""
    confidence: float | None = None
    """Probability that the interval is to cover."""
    over: str | None = None
    """What the interval is over: documents, seeds, samples, strings or bases, or repetitions of one kind or several;
    None without an interval."""
    freedom: float | None = None
    """Degrees of freedom of Student's t behind the interval, where they are not one less than what it is over."""
    censored: bool | None = None
    """True where the number lies beyond all that was measured."""

    claim: str | None = None
    """What a finding of the scorecard is about."""
    report: str | None = None
    """Whose finding it is: STUDY/KIND/NAME."""
    task: str | None = None
    """What was asked of models."""
    corpus: str | None = None
    """Whose documents were read; ``all`` for those of all corpora."""
    model: str | None = None
    """A model with a rope, by the name that it has in its report."""
    rope: str | None = None
    """A rope by its name."""
    method: str | None = None
    """How a rope was made by hand, or SAMPLER/SPACE of a search."""
    regime: str | None = None
    """How a model was tuned; or where a base lies, by the laws of scaling."""
    law: str | None = None
    """A law that predicts."""
    rule: str | None = None
    """By which a limit is read."""
    scoring: str | None = None
    """How answers were scored: parity or strict."""
    factor: float | None = None
    """Target length of a rope over the training length."""
    at: float | None = None
    """Length that was read, over the training length."""
    base: float | None = None
    """Of the rope."""
    log_scaled: bool | None = None
    """True for log-scaled attention."""
    tune_length: int | None = None
    """Length of the tuning texts in tokens."""
    steps: int | None = None
    """Optimiser steps of the tuning."""
    against: str | None = None
    """What a difference is from."""
    against_base: float | None = None
    """The base that a difference is from."""
    against_length: int | None = None
    """The tuning length, in tokens, that a ratio is to."""
    seed: int | None = None
    """Of a training; None for what is over all seeds."""
    length: int | None = None
    """Of the texts in tokens."""
    gap: int | None = None
    """Distance of copying in tokens."""
    depth: float | None = None
    """Where in a text a fact was hidden, as a share of its length."""
    start: int | None = None
    """First position of a range in tokens."""
    stop: int | None = None
    """The position at which it ends, excluded."""

    n_documents: int | None = None
    """Documents behind the number."""
    n_samples: int | None = None
    """Samples behind it."""
    n_seeds: int | None = None
    """Seeds behind it."""
    n_models: int | None = None
    """Models behind it."""
    n_bases: int | None = None
    """Bases behind it."""

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, _TYPES[kind]) or isinstance(value, bool) != (kind == "bool"):
                raise ValueError(f"{name} is {value!r}; expected {kind}")
            if kind == "float" and not math.isfinite(value):
                raise ValueError(f"{name} is {value}; expected a finite number")
        if (self.value is None) != bool(self.censored):
            raise ValueError(f"{self.quantity} has {'no value' if self.value is None else 'a value and is censored'}")


_TYPES: dict[str, Any] = {"str": str, "float": int | float, "int": int, "bool": bool}
_KINDS = {column.name: str(column.type).removesuffix(" | None") for column in fields(Score)}
_NUMBER = ("quantity", "value", "low", "high", "confidence", "over", "freedom", "censored")
_NAMING = [name for name in _KINDS if name not in _NUMBER and not name.startswith("n_")]
"""Columns that tell rows of one quantity apart, beside ``over``."""


def number_rows(
    quantity: str,
    value: float,
    *,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    confidence: float | None = None,
    **columns: Any,
) -> Iterator[Score]:
    """A row for each interval of a number, one row where it has none, and no row where it is not a number.

    Args:
        quantity: what was measured.
        value: infinite where it is censored.
        intervals: ends by what they are over; an interval is none where its ends are not numbers.
        confidence: of the intervals.
        columns: further columns of :class:`Score`.
    """
    if math.isnan(value):
        return
    bare = Score(quantity=quantity, value=_finite(value), censored=math.isinf(value) or None, **columns)
    known = {over: ends for over, ends in (intervals or {}).items() if not math.isnan(ends[0] + ends[1])}
    for over, (low, high) in known.items():
        yield replace(bare, low=_finite(low), high=_finite(high), confidence=confidence, over=over)
    if not known:
        yield bare


def table_rows(
    row: Mapping[Any, Any], *quantities: str, over: str, confidence: float | None, **columns: Any
) -> Iterator[Score]:
    """Numbers of a table's row, each with the interval ``NAME_low`` to ``NAME_high`` beside it where there is one."""
    for name in quantities:
        ends = (row.get(f"{name}_low", math.nan), row.get(f"{name}_high", math.nan))
        yield from number_rows(name, row.get(name, math.nan), intervals={over: ends}, confidence=confidence, **columns)


def bare_rows(numbers: Mapping[str, float | None]) -> tuple[Score, ...]:
    """Numbers that need no other column; those that are None have no row."""
    return tuple(Score(quantity=name, value=float(value)) for name, value in numbers.items() if value is not None)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True)
class ReportSetting:
    """What the scores of every report say of themselves; each report adds its scale."""

    stage: str
    """Of the workflow."""
    experiment: str
    """Its name."""
    confidence: float
    """Of every interval."""


@dataclass(frozen=True)
class Scores:
    """What a file of scores holds."""

    setting: Mapping[str, Any]
    """``stage``, and for a report the fields of its :class:`ReportSetting`."""
    rows: tuple[Score, ...]
    """No two are of the same thing."""

    def __post_init__(self) -> None:
        names = set()
        for row in self.rows:
            if (name := metric_name(row)) in names:
                raise UserError(f"two scores are of {name}; expected names that differ.")
            names.add(name)

    @classmethod
    def of(cls, setting: ReportSetting, rows: Iterable[Score]) -> Scores:
        """Those of a report."""
        return cls(asdict(setting), tuple(rows))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Scores:
        """Read a file.

        Raises:
            UserError: it is missing, damaged, or of another version.
        """
        content = read_json(path, "a file of scores")
        try:
            if not isinstance(content["setting"]["stage"], str):
                raise ValueError("its stage is no name")
            return cls(content["setting"], tuple(Score(**row) for row in content["rows"]))
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(f"{path} is damaged or of another version ({error}); make it again.") from None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a file, whole or not at all."""
        rows = [{name: value for name, value in asdict(row).items() if value is not None} for row in self.rows]
        write_json(path, {"setting": dict(self.setting), "rows": rows})

    def select(self, **columns: Any) -> tuple[Score, ...]:
        """The rows that have these values in these columns, in their order; None stands for an empty column."""
        return tuple(row for row in self.rows if all(getattr(row, name) == value for name, value in columns.items()))

    def one(self, **columns: Any) -> Score | None:
        """The only row that has these values, or None where there is none.

        Raises:
            ValueError: there are several.
        """
        found = self.select(**columns)
        if len(found) > 1:
            raise ValueError(f"{len(found)} rows have {columns}; expected one")
        return found[0] if found else None

    def by_interval(self, **columns: Any) -> list[dict[str | None, Score]]:
        """The selected rows, those of one number together, by what their intervals are over."""
        found: dict[Score, dict[str | None, Score]] = {}
        for row in self.select(**columns):
            number = replace(row, low=None, high=None, confidence=None, over=None, freedom=None)
            found.setdefault(number, {})[row.over] = row
        return list(found.values())

    def metrics(self) -> dict[str, float]:
        """All numbers by names that MLflow takes; ends of intervals have ``_low`` and ``_high`` behind theirs."""
        found: dict[str, float] = {}
        for row in self.rows:
            name = metric_name(row)
            ends = {name: row.value, f"{name}_low": row.low, f"{name}_high": row.high}
            found |= {key: value for key, value in ends.items() if value is not None}
        return found


def metric_name(row: Score) -> str:
    """What a row is of, as a name that MLflow takes: ``rope-yarn/length-64/over-documents/perplexity``."""
    parts = [_part(name, getattr(row, name)) for name in (*_NAMING, "over") if getattr(row, name) is not None]
    return "/".join([*parts, _legal(row.quantity)])


def _part(column: str, value: str | float | bool) -> str:
    if isinstance(value, bool):
        return column if value else f"not-{column}"
    return f"{column}-{_legal(value) if isinstance(value, str) else format(value, '.10g')}"


def _legal(text: str) -> str:
    """The text with a colon for each slash, and with its code for each other character that MLflow does not take."""
    return "".join(c if c.isalnum() or c in "_-. " else ":" if c == "/" else f":{ord(c):x}:" for c in text)

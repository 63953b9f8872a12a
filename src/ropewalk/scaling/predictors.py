"""The laws of walls held against measured ones: the slope of limit over base, and the error of each predictor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ropewalk.rope.prediction import BOUNDS, limits
from ropewalk.rope.rope import FloatArray
from ropewalk.rope.theory import BAND_ANGLE
from ropewalk.scaling.cells import Key
from ropewalk.scaling.estimates import Estimate, Run, resampled
from ropewalk.scaling.measured import Group, Measured, documents, groups, setting_of
from ropewalk.scaling.options import SweepOptions


@dataclass(frozen=True)
class Slope:
    """The slope of ln limit over ln base, by least squares over the walls of one tuning length and number of steps.

    Attributes:
        tune_length: tokens.
        steps: of the tuning.
        rule: by which limits are read.
        found: the slope, with an interval over bases (their scatter about the line), documents, seeds and models;
            without ends for two bases.
        bases: how many points.
        censored: bases left out because a run never broke.
        discrete: d_extra / d, the law's.
        continuous: log_b(L / 2 pi), the same without rounding.
        band: log_b(L / 3.657), that of the frequency band.
    """

    tune_length: int
    steps: int
    rule: str
    found: Estimate
    bases: int
    censored: int
    discrete: float
    continuous: float
    band: float

    @property
    def verdict(self) -> str:
        """Whether the law's slope lies in the interval."""
        if math.isnan(self.found.low):
            return "undecided"
        return "agrees" if self.found.low <= self.discrete <= self.found.high else "disagrees"


def slopes(measured: Sequence[Measured], options: SweepOptions) -> list[Slope]:
    """The slope over the walls of each tuning length and number of steps, by each rule, of the runs that all have."""
    setting = measured[0].cell.setting
    continuous, band = (
        math.log(setting.train_length / angle) / math.log(setting.base) for angle in (2 * math.pi, BAND_ANGLE)
    )
    alike: dict[tuple[int, int], dict[Key, Group]] = {}
    for key, group in _walls(measured).items():
        alike.setdefault((key.tune_length, key.steps), {})[key] = group
    result = []
    for (tuned, steps), walls in alike.items():
        for rule in options.rules:
            known = {key: group for key, group in walls.items() if not any(m.censored(rule) for m in group.values())}
            runs = _shared(known)
            if len(known) < 2 or not runs:
                continue
            bases = np.log([key.new_base for key in known])
            centred = bases - bases.mean()
            # Shape (bases, 1 + resamples) for each run.
            points = {run: np.stack([group[run].log_limits(rule) for group in known.values()]) for run in runs}
            each = {run: centred @ values / (centred @ centred) for run, values in points.items()}
            scatter = _scatter(centred, np.mean([values[:, 0] for values in points.values()], axis=0))
            found = resampled(each, documents(measured), options.confidence, [scatter])
            result.append(
                Slope(
                    tuned,
                    steps,
                    rule,
                    replace(found, over=f"bases, {found.over}"),
                    len(known),
                    len(walls) - len(known),
                    setting.critical_dimension / setting.rotary_dim,
                    continuous,
                    band,
                )
            )
    return result


def _scatter(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Variance of a slope by what points scatter about their line, x centred, and its degrees of freedom."""
    if len(x) < 3:
        return math.nan, 1.0
    residual = y - y.mean() - x * (x @ y) / (x @ x)
    return float(residual @ residual / (len(x) - 2) / (x @ x)), len(x) - 2.0


def _walls(measured: Sequence[Measured]) -> dict[Key, Group]:
    """The groups whose regime is a hard wall."""
    return {
        key: group
        for key, group in groups(measured).items()
        if setting_of(group).regime == "hard wall" and not key.log_scaling
    }


def _shared(walls: Mapping[Key, Group]) -> list[Run]:
    """The runs that all groups have."""
    first, *others = walls.values() if walls else [{}]
    return [run for run in first if all(run in other for other in others)]


@dataclass(frozen=True)
class Error:
    """How far a law is from the measured walls.

    Attributes:
        law: that predicts.
        rule: by which limits are read.
        error: |ln(measured / predicted)|, averaged over bases.
        ratio: geometric mean of measured over predicted; None where a limit is censored.
        behind: the error less that of the best law of walls.
        carriers: the bases without any one of which the interval of ``behind`` no longer lies above zero.
        settings: bases and tuning lengths that it is held against.
        bases: of these.
    """

    law: str
    rule: str
    error: Estimate
    ratio: float | None
    behind: Estimate
    carriers: tuple[float, ...]
    settings: int
    bases: int

    @property
    def factor(self) -> float:
        """By which it misses."""
        return math.exp(self.error.value)

    @property
    def worse(self) -> bool:
        """Whether it is surely behind the best one, whichever base is left out."""
        return self.behind.low > 0 and not self.carriers


def predictor_errors(measured: Sequence[Measured], options: SweepOptions) -> list[Error]:
    """How far each law is from the measured walls by each rule, best first.

    The error of a law at one setting is |ln(measured / predicted)|; where the limit is censored, only what a prediction
    falls short of the measured length counts. Errors are averaged over the settings whose regime is a hard wall, first
    those of one base, then over bases, so that a base that was tuned at several lengths does not count twice. They are
    of the runs that all settings have. A law that names no limit for one of them is left out. Empty where nothing was
    measured.
    """
    return [error for rule in options.rules for error in _errors(measured, rule, options)]


def _errors(measured: Sequence[Measured], rule: str, options: SweepOptions) -> list[Error]:
    found = _walls(measured)
    runs = _shared(found)
    if not runs:
        return []
    longest = math.log(measured[0].cell.curves.length)
    bases = sorted({key.new_base for key in found})

    def over_bases(by_setting: Sequence[FloatArray]) -> FloatArray:
        """One row a base: the mean of its settings."""
        pairs = list(zip(found, by_setting, strict=True))
        return np.stack([np.mean([row for key, row in pairs if key.new_base == base], axis=0) for base in bases])

    predictions = [limits(setting_of(group)) for group in found.values()]
    # By law, run: shape (bases, 1 + resamples).
    errors: dict[str, dict[Run, FloatArray]] = {}
    ratios: dict[str, float | None] = {}
    for law in predictions[0]:
        values = [prediction[law] for prediction in predictions]
        known = [math.log(value) for value in values if value is not None]
        if len(known) < len(values):
            continue
        errors[law], apart = {}, []
        for run in runs:
            walls = [np.log(group[run].limits[rule]) for group in found.values()]
            differences = [wall - value for wall, value in zip(walls, known, strict=True)]
            short = [
                np.where(np.isfinite(difference), np.abs(difference), max(0.0, longest - value))
                for difference, value in zip(differences, known, strict=True)
            ]
            errors[law][run] = over_bases(short)
            apart.append(over_bases(differences)[:, 0].mean())
        ratio = float(np.mean(apart))
        ratios[law] = math.exp(ratio) if math.isfinite(ratio) else None

    def estimate(values: Mapping[Run, FloatArray], without: int | None = None) -> Estimate:
        """The mean over bases, all or without one."""
        kept = [i for i in range(len(bases)) if i != without]
        over = {run: rows[kept].mean(axis=0) for run, rows in values.items()}
        return resampled(over, documents(measured), options.confidence)

    total = {law: estimate(values) for law, values in errors.items()}
    ranked = sorted(errors, key=lambda law: total[law].value)
    # Bounds speak of something else; they rank with the laws of walls, and lead none of them.
    best = next((law for law in ranked if law not in BOUNDS), None)
    if best is None:
        return []
    table = []
    for law in ranked:
        behind = {run: errors[law][run] - errors[best][run] for run in runs}
        lead = estimate(behind)
        # Left with nothing, a lead has nothing to stand on.
        carriers = [
            base
            for i, base in enumerate(bases)
            if lead.low > 0 and (len(bases) == 1 or not estimate(behind, without=i).low > 0)
        ]
        table.append(Error(law, rule, total[law], ratios[law], lead, tuple(carriers), len(found), len(bases)))
    return table

"""The laws of walls held against measured ones: the slope of limit over base, and the error of each predictor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ropewalk.intervals import quantile_interval
from ropewalk.rope.prediction import BOUNDS, limits
from ropewalk.rope.rope import FloatArray
from ropewalk.rope.theory import BAND_ANGLE
from ropewalk.scaling.cells import Key
from ropewalk.scaling.measured import Measured, documents, groups, mean_log_limits
from ropewalk.scaling.options import SweepOptions


@dataclass(frozen=True)
class Slope:
    """The slope of ln limit over ln base, by least squares over the bases of one tuning length and number of steps.

    Attributes:
        tune_length: tokens.
        steps: of the tuning.
        original: whether the base of pre-training is one of the points; the law puts no wall of its own there, but the
            paper's line starts there.
        value: the slope.
        low: lower end of Student's t interval of the regression, which covers scatter about the line; nan for two
            bases.
        high: its upper end.
        documents_low: lower end over documents.
        documents_high: its upper end.
        bases: how many points.
        censored: bases left out because their limit was never reached.
        dropped: share of the resamples of documents left out because a limit was never reached in them.
        discrete: d_extra / d, the law's.
        continuous: log_b(L / 2 pi), the same without rounding.
        band: log_b(L / 3.657), that of the frequency band.
    """

    tune_length: int
    steps: int
    original: bool
    value: float
    low: float
    high: float
    documents_low: float
    documents_high: float
    bases: int
    censored: int
    dropped: float
    discrete: float
    continuous: float
    band: float

    @property
    def verdict(self) -> str:
        """Whether the law's slope lies in both intervals, in neither, or in one of them."""
        if not math.isfinite(self.low + self.documents_low):
            return "undecided"
        inside = [self.low <= self.discrete <= self.high, self.documents_low <= self.discrete <= self.documents_high]
        return "agrees" if all(inside) else "undecided" if any(inside) else "disagrees"


def slopes(measured: Sequence[Measured], options: SweepOptions) -> list[Slope]:
    """The slope over the walls of each tuning length and number of steps, with the original base and without."""
    setting = measured[0].cell.setting
    continuous, band = (
        math.log(setting.train_length / angle) / math.log(setting.base) for angle in (2 * math.pi, BAND_ANGLE)
    )
    alike: dict[tuple[int, int], list[Key]] = {}
    found = {key: group for key, group in groups(measured).items() if not key.log_scaling}
    for key in found:
        alike.setdefault((key.tune_length, key.steps), []).append(key)
    result = []
    for (tuned, steps), keys in alike.items():
        for original in (False, True):
            walls = [key for key in keys if found[key][0].cell.setting.regime == "hard wall"]
            first = [key for key in keys if key.new_base == setting.base and tuned == setting.train_length]
            if original and not first:
                continue
            points = walls + (first if original else [])
            draws = {key: mean_log_limits(found[key], options) for key in points}
            known = [key for key in points if math.isfinite(draws[key][0])]
            if len(known) < 2:
                continue
            bases = np.log([key.new_base for key in known])
            values = np.stack([draws[key] for key in known], axis=1)
            centred = bases - bases.mean()
            each = values @ centred / (centred @ centred)
            # A resample in which a limit is censored has no slope.
            drawn = each[1:][np.isfinite(each[1:])]
            low, high = _regression_interval(bases, values[0], options.confidence)
            over = quantile_interval(drawn, documents(measured), options.confidence)
            result.append(
                Slope(
                    tuned,
                    steps,
                    original,
                    float(each[0]),
                    low,
                    high,
                    *over,
                    len(known),
                    len(points) - len(known),
                    1 - len(drawn) / len(each[1:]),
                    setting.critical_dimension / setting.rotary_dim,
                    continuous,
                    band,
                )
            )
    return result


def _regression_interval(x: FloatArray, y: FloatArray, confidence: float) -> tuple[float, float]:
    if len(x) < 3:
        return math.nan, math.nan
    fit = stats.linregress(x, y)
    half = stats.t.ppf((1 + confidence) / 2, len(x) - 2) * fit.stderr
    return float(fit.slope - half), float(fit.slope + half)


def predictor_errors(measured: Sequence[Measured], options: SweepOptions) -> pd.DataFrame:
    """How far each law is from the measured walls, best first.

    The error of a law at one setting is |ln(measured / predicted)|, averaged over seeds in the logarithm; where the
    limit is censored, only what a prediction falls short of the measured length counts. Errors are averaged over the
    settings whose regime is a hard wall, first those of one base, then over bases, so that a base that was tuned at
    several lengths does not count twice. A law that names no limit for one of them is left out.

    Returns:
        Index ``law``; ``error`` with ``low`` and ``high`` over documents, ``factor`` (the exponential of the error),
        ``ratio`` (geometric mean of measured over predicted; empty where a limit is censored), ``behind`` the error of
        the best law of walls with ``behind_low`` and ``behind_high``, ``carriers`` (the bases without any one of which
        that interval no longer lies above zero), ``worse`` (it does with all bases, and there are no carriers),
        ``settings`` and ``bases``. Empty where nothing was measured.
    """
    found = {
        key: group
        for key, group in groups(measured).items()
        if group[0].cell.setting.regime == "hard wall" and not key.log_scaling
    }
    if not found:
        return pd.DataFrame()
    longest = math.log(measured[0].cell.curves.length)
    bases = sorted({key.new_base for key in found})

    def over_bases(by_setting: Sequence[FloatArray]) -> FloatArray:
        """One row a base: the mean of its settings."""
        pairs = list(zip(found, by_setting, strict=True))
        return np.stack([np.mean([row for key, row in pairs if key.new_base == base], axis=0) for base in bases])

    walls = [mean_log_limits(group, options) for group in found.values()]
    predictions = [limits(group[0].cell.setting) for group in found.values()]
    errors: dict[str, FloatArray] = {}
    ratios: dict[str, float] = {}
    for law in predictions[0]:
        values = [prediction[law] for prediction in predictions]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            continue
        differences = [wall - math.log(value) for wall, value in zip(walls, known, strict=True)]
        errors[law] = over_bases(
            [
                np.where(np.isfinite(difference), np.abs(difference), max(0.0, longest - math.log(value)))
                for difference, value in zip(differences, known, strict=True)
            ]
        )
        ratio = float(over_bases(differences)[:, 0].mean())
        ratios[law] = math.exp(ratio) if math.isfinite(ratio) else math.nan
    ranked = sorted(errors, key=lambda law: errors[law][:, 0].mean())
    # Bounds speak of something else; they rank with the laws of walls, and lead none of them.
    best = next((law for law in ranked if law not in BOUNDS), None)
    if best is None:
        return pd.DataFrame()

    def interval(draws: FloatArray) -> tuple[float, float]:
        return quantile_interval(draws[1:], documents(measured), options.confidence)

    table = []
    for law in ranked:
        behind = errors[law] - errors[best]
        low, high = interval(errors[law].mean(axis=0))
        behind_low, behind_high = interval(behind.mean(axis=0))
        # Left with nothing, a lead has nothing to stand on.
        carriers = [
            base
            for i, base in enumerate(bases)
            if behind_low > 0 and (len(bases) == 1 or not interval(np.delete(behind, i, axis=0).mean(axis=0))[0] > 0)
        ]
        error = float(errors[law][:, 0].mean())
        row = {
            "law": law,
            "error": error,
            "low": low,
            "high": high,
            "factor": math.exp(error),
            "ratio": ratios[law],
            "behind": float(behind[:, 0].mean()),
            "behind_low": behind_low,
            "behind_high": behind_high,
            "carriers": tuple(carriers),
            "worse": behind_low > 0 and not carriers,
            "settings": len(found),
            "bases": len(bases),
        }
        table.append(row)
    return pd.DataFrame(table).set_index("law")

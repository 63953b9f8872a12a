"""What a sweep says of the laws: limits over seeds and documents, slope, errors of predictors, retrieval.

Intervals over documents come from resampling them, for all cells together, so that every comparison is paired;
intervals over seeds of the tuning are Student's t of the logarithm of the limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import pandas as pd
from scipy import stats

from ropewalk.intervals import CONFIDENCE, Interval, bootstrap, quantile_interval, student
from ropewalk.progress import Progress
from ropewalk.rope.prediction import Setting, limits
from ropewalk.rope.rope import FloatArray
from ropewalk.scaling.cells import Cell, Key
from ropewalk.scaling.limits import PERPLEXITY_RATIO, THRESHOLDS, degradation_draws, perplexity_draws

COPIED = 0.5
"""Copy accuracy below which a model no longer retrieves."""

_COPY_RESAMPLES = 1_000


@dataclass(frozen=True)
class Options:
    """How a sweep is read.

    Attributes:
        thresholds: nats a token, the first being the one that predictors are held against.
        smoothing: positions in the moving mean of degradation.
        perplexity_ratio: of the rule on the perplexity of the first tokens.
        confidence: of every interval.
    """

    thresholds: Sequence[float] = THRESHOLDS
    smoothing: int = 32
    perplexity_ratio: float = PERPLEXITY_RATIO
    confidence: float = CONFIDENCE

    @property
    def rules(self) -> list[str]:
        """What the rules of a limit are called, the main one first."""
        return [*(f"{threshold:g} nats" for threshold in self.thresholds), f"perplexity × {self.perplexity_ratio:g}"]


@dataclass(frozen=True)
class Measured:
    """A cell and its limits.

    Attributes:
        cell: of the sweep.
        limits: tokens by rule, infinite where censored: of all documents, then of each bootstrap resample of them.
    """

    cell: Cell
    limits: Mapping[str, FloatArray]


def measure(cells: Sequence[Cell], options: Options) -> list[Measured]:
    """The limits of every cell by every rule, resampled together.

    Raises:
        UserError: the texts are too short for the moving mean.
    """
    found = []
    with Progress("limits", len(cells), unit="cell") as progress:
        for cell in cells:
            degradation = degradation_draws(cell.curves, options.thresholds, options.smoothing)
            perplexity = perplexity_draws(cell.curves, cell.setting.tune_length, options.perplexity_ratio)
            draws = np.concatenate([degradation, perplexity[:, None]], axis=1)
            found.append(Measured(cell, dict(zip(options.rules, draws.T, strict=True))))
            progress.advance(note=cell.name)
    return found


def groups(measured: Sequence[Measured]) -> dict[Key, list[Measured]]:
    """Cells that differ in their seed alone, in the order of their keys."""
    ordered = sorted(measured, key=lambda one: (one.cell.key, one.cell.seed))
    return {key: list(found) for key, found in groupby(ordered, key=lambda one: one.cell.key)}


def limit_table(measured: Sequence[Measured], options: Options) -> pd.DataFrame:
    """Measured and predicted limits, one row a cell and rule, in tokens.

    Returns:
        ``cell``, the columns of :class:`Key`, ``seed``, ``regime``, ``rule``, ``limit``, ``low``, ``high`` (infinite
        where censored), and for each law its prediction and ``ratio LAW``, measured over predicted, empty where the
        limit is censored or the law names none.
    """
    table = []
    for one in measured:
        cell = one.cell
        predicted = limits(cell.setting)
        for rule, draws in one.limits.items():
            low, high = quantile_interval(draws[1:], len(cell.curves.documents), options.confidence)
            row = {
                "cell": cell.name,
                **cell.key._asdict(),
                "seed": cell.seed,
                "regime": cell.setting.regime,
                "rule": rule,
                "limit": draws[0],
                "low": low,
                "high": high,
            }
            for law, value in predicted.items():
                row[law] = math.nan if value is None else value
                row[f"ratio {law}"] = draws[0] / value if value and math.isfinite(draws[0]) else math.nan
            table.append(row)
    return pd.DataFrame(table)


def base_table(measured: Sequence[Measured], options: Options) -> pd.DataFrame:
    """The limit of each base by the main rule: geometric mean over seeds, with both intervals, in tokens.

    Returns:
        the columns of :class:`Key`, ``regime``, ``seeds``, ``limit`` (infinite where any seed is censored), ``low`` and
        ``high`` over documents, ``seeds_low`` and ``seeds_high`` over seeds (empty for one seed, or a censored one),
        ``short_context_price`` with its bounds: NLL (nats a token) of the first L tokens, L the length of
        pre-training, over that of the original base tuned alike, and ``far_degradation`` with its bounds: the mean over
        the second half of the texts.
    """
    found = groups(measured)
    table = []
    for key, group in found.items():
        cells = [one.cell for one in group]
        draws = _mean_log_limits(group, options)
        low, high = quantile_interval(draws[1:], len(cells[0].curves.documents), options.confidence)
        own = np.array([_log_limits(one, options)[0] for one in group])
        over_seeds = student(own if np.isfinite(own).all() else own[:1], confidence=options.confidence)
        row = {
            **key._asdict(),
            "regime": cells[0].setting.regime,
            "seeds": len(group),
            "limit": math.exp(draws[0]),
            "low": math.exp(low),
            "high": math.exp(high),
            "seeds_low": math.exp(over_seeds.low),
            "seeds_high": math.exp(over_seeds.high),
            **_columns("far_degradation", bootstrap(_far(group), confidence=options.confidence)),
        }
        original = key._replace(new_base=cells[0].setting.base, log_scaling=False)
        if original in found:
            length = cells[0].setting.train_length
            paired = _mean_to(group, length) - _mean_to(found[original], length)
            row |= _columns("short_context_price", bootstrap(paired, confidence=options.confidence))
        table.append(row)
    return pd.DataFrame(table)


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def far_difference(group: Sequence[Measured], other: Sequence[Measured], options: Options) -> Interval:
    """What reading on costs in the second half of the texts (nats a token), less the same of another group, paired."""
    return bootstrap(_far(group) - _far(other), confidence=options.confidence)


def _far(group: Sequence[Measured]) -> FloatArray:
    """Mean degradation of each document in the second half of the texts, over seeds."""
    curves = [one.cell.curves for one in group]
    return np.asarray(np.mean([one.degradation[:, one.length // 2 :].mean(axis=1) for one in curves], axis=0))


def _mean_to(group: Sequence[Measured], length: int) -> FloatArray:
    return np.asarray(np.mean([one.cell.curves.mean_to(length) for one in group], axis=0))


def _log_limits(one: Measured, options: Options) -> FloatArray:
    return np.asarray(np.log(one.limits[options.rules[0]]))


def _mean_log_limits(group: Sequence[Measured], options: Options) -> FloatArray:
    """Mean over seeds of the logarithm of the limit by the main rule: of all documents, then of each resample."""
    return np.asarray(np.mean([_log_limits(one, options) for one in group], axis=0))


@dataclass(frozen=True)
class Slope:
    """The slope of ln limit over ln base, with what the laws say it is.

    Attributes:
        value: by least squares over the bases of one tuning length and number of steps.
        low: of Student's t interval of the regression, which covers scatter about the line; nan for two bases.
        high: its upper end.
        bases: how many.
        discrete: d_extra / d, the law's.
        continuous: log_b(L / 2 pi), the same without rounding.
    """

    value: float
    low: float
    high: float
    bases: int
    discrete: float
    continuous: float


def slopes(table: pd.DataFrame, setting: Setting, confidence: float = CONFIDENCE) -> dict[tuple[int, int], Slope]:
    """The slope by tuning length and steps, over the original base and those with a wall of their own.

    Args:
        table: from :func:`base_table`; censored bases are left out.
        setting: of any cell: dimension, base and length of pre-training.
        confidence: of the interval.
    """
    found = {}
    exponent = setting.critical_dimension / setting.rotary_dim
    continuous = math.log(setting.train_length / (2 * math.pi)) / math.log(setting.base)
    walls = (table["regime"] == "hard wall") | (
        (table["new_base"] == setting.base) & (table["tune_length"] == setting.train_length)
    )
    used = table[walls & ~table["log_scaling"] & np.isfinite(table["limit"])]
    for (tuned, steps), rows in used.groupby(["tune_length", "steps"]):
        if len(rows) < 2:
            continue
        fit = stats.linregress(np.log(rows["new_base"]), np.log(rows["limit"]))
        freedom = len(rows) - 2
        half = stats.t.ppf((1 + confidence) / 2, freedom) * fit.stderr if freedom else math.nan
        slope = float(fit.slope)
        found[int(tuned), int(steps)] = Slope(slope, slope - half, slope + half, len(rows), exponent, continuous)
    return found


def predictor_errors(measured: Sequence[Measured], options: Options) -> pd.DataFrame:
    """How far each law is from the measured walls, best first.

    The error of a law at one setting is |ln(measured / predicted)|, averaged over seeds in the logarithm; where the
    limit is censored, only what a prediction falls short of the measured length counts. Errors are averaged over the
    settings whose regime is a hard wall.

    Returns:
        Index ``law``; ``error`` with ``low`` and ``high`` over documents, ``factor`` (the exponential of the error),
        ``ratio`` (geometric mean of measured over predicted; empty where a limit is censored), ``behind`` the best
        law's error with ``behind_low`` and ``behind_high``, and ``settings``. Empty where nothing was measured.
    """
    found = {
        key: group
        for key, group in groups(measured).items()
        if group[0].cell.setting.regime == "hard wall" and not key.log_scaling
    }
    if not found:
        return pd.DataFrame()
    documents = len(measured[0].cell.curves.documents)
    longest = math.log(measured[0].cell.curves.length)
    errors: dict[str, FloatArray] = {}
    ratios: dict[str, float] = {}
    walls = {key: _mean_log_limits(group, options) for key, group in found.items()}
    for law in limits(next(iter(found.values()))[0].cell.setting):
        by_setting, differences = [], []
        for key, group in found.items():
            predicted = limits(group[0].cell.setting)[law]
            if predicted is None:
                break
            difference = walls[key] - math.log(predicted)
            differences.append(float(difference[0]))
            short = max(0.0, longest - math.log(predicted))
            by_setting.append(np.where(np.isfinite(difference), np.abs(difference), short))
        else:
            errors[law] = np.mean(by_setting, axis=0)
            ratios[law] = math.exp(float(np.mean(differences))) if np.isfinite(differences).all() else math.nan
    best = min(errors, key=lambda law: errors[law][0])
    table = []
    for law in sorted(errors, key=lambda law: errors[law][0]):
        behind = errors[law] - errors[best]
        low, high = quantile_interval(errors[law][1:], documents, options.confidence)
        behind_low, behind_high = quantile_interval(behind[1:], documents, options.confidence)
        row = {
            "law": law,
            "error": errors[law][0],
            "low": low,
            "high": high,
            "factor": math.exp(errors[law][0]),
            "ratio": ratios[law],
            "behind": behind[0],
            "behind_low": behind_low,
            "behind_high": behind_high,
            "settings": len(found),
        }
        table.append(row)
    return pd.DataFrame(table).set_index("law")


def tuning_effects(measured: Sequence[Measured], options: Options) -> pd.DataFrame:
    """Limit at each longer tuning length over that at the shortest, for bases that were tuned at several.

    Returns:
        ``new_base``, ``steps``, ``from_length``, ``to_length``, ``ratio``, ``low``, ``high`` (over documents, paired),
        all empty where a limit is censored, and ``predicted``, by the discrete law.
    """
    found = {key: group for key, group in groups(measured).items() if not key.log_scaling}
    by_base: dict[tuple[float, int], list[Key]] = {}
    for key in found:
        by_base.setdefault((key.new_base, key.steps), []).append(key)
    table = []
    for (base, steps), (first, *others) in by_base.items():
        for other in others:
            draws = _mean_log_limits(found[other], options) - _mean_log_limits(found[first], options)
            before, after = (limits(found[key][0].cell.setting)["discrete"] for key in (first, other))
            low, high = quantile_interval(draws[1:], len(measured[0].cell.curves.documents), options.confidence)
            row = {
                "new_base": base,
                "steps": steps,
                "from_length": first.tune_length,
                "to_length": other.tune_length,
                "ratio": math.exp(draws[0]),
                "low": math.exp(low),
                "high": math.exp(high),
                "predicted": after / before if before and after else math.nan,
            }
            table.append(row)
    return pd.DataFrame(table)


def log_scaling_effects(measured: Sequence[Measured], options: Options) -> pd.DataFrame:
    """What log-scaled attention changes, by doublings of the position from the tuning length on.

    Returns:
        The columns of :class:`Key` but the last, ``start``, ``stop`` (tokens, the stop excluded), and ``difference``
        with its bounds: NLL in nats a token with it less that without, paired on the same models and documents.
    """
    found = groups(measured)
    table = []
    for key, group in found.items():
        plain = key._replace(log_scaling=False)
        if not key.log_scaling or plain not in found:
            continue
        seeds = {one.cell.seed for one in group}
        pairs = (group, [one for one in found[plain] if one.cell.seed in seeds])
        stops = [key.tune_length]
        while stops[-1] < group[0].cell.curves.length:
            stops.append(min(2 * stops[-1], group[0].cell.curves.length))
        for start, stop in pairwise(stops):
            scaled, unscaled = (
                np.mean([one.cell.curves.full[:, start - 1 : stop - 1].mean(axis=1) for one in side], axis=0)
                for side in pairs
            )
            row = {"tune_length": key.tune_length, "steps": key.steps, "new_base": key.new_base}
            row |= {"start": start, "stop": stop}
            row |= _columns("difference", bootstrap(scaled - unscaled, confidence=options.confidence))
            table.append(row)
    return pd.DataFrame(table)


def retrieval_table(measured: Sequence[Measured], confidence: float = CONFIDENCE) -> pd.DataFrame:
    """How far each base copies: the text length at which copy accuracy first falls below one half, in tokens.

    A string of twice the gap is read, so that the length is twice the distance. Interpolated between gaps in the
    logarithm; 0 where the shortest gap is not copied, infinite where the longest is. The interval resamples strings.

    Returns:
        the columns of :class:`Key`, ``limit``, ``low``, ``high``; empty without copying.
    """
    table = []
    for key, group in groups(measured).items():
        known = [one.cell.copying for one in group if one.cell.copying is not None]
        if not known:
            continue
        rows = pd.concat(known)
        gaps = sorted(rows["gap"].unique().tolist())
        accuracy = [rows.loc[rows["gap"] == gap, "accuracy"].to_numpy() for gap in gaps]
        rng = np.random.default_rng(0)
        means = np.stack(
            [
                np.r_[values.mean(), rng.choice(values, (_COPY_RESAMPLES, len(values))).mean(axis=1)]
                for values in accuracy
            ],
            axis=1,
        )
        draws = 2 * np.array([copy_distance(gaps, row) for row in means])
        low, high = quantile_interval(draws[1:], min(map(len, accuracy)), confidence)
        table.append({**key._asdict(), "limit": float(draws[0]), "low": low, "high": high})
    return pd.DataFrame(table)


def copy_distance(gaps: Sequence[int], accuracy: Sequence[float] | FloatArray) -> float:
    """The distance, in tokens, at which accuracy first falls below one half; see :func:`retrieval_table`."""
    for i, value in enumerate(accuracy):
        if value < COPIED:
            if i == 0:
                return 0.0
            share = (accuracy[i - 1] - COPIED) / (accuracy[i - 1] - value)
            return float(gaps[i - 1] * (gaps[i] / gaps[i - 1]) ** share)
    return math.inf

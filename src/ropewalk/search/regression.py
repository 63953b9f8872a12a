"""Whether the two causes that the ORoPE abstract names are causes of loss: regressions over ropes that were tried.

What a rope costs short texts is regressed on ``r_ker``, and the loss on tokens beyond the training length on ``g_w1``
and the square of ``r_ker``, once over the points of a Sobol sequence and once over the first points of a search, which
are hand-made ropes and knees of both causes. Models, ropes and documents all vary: the variance of each number is the
sum of what the jackknife finds over each of the three (Efron and Stein, "The Jackknife Estimate of Variance", The
Annals of Statistics 9, 1981), with the degrees of freedom of Satterthwaite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import rankdata

from ropewalk.errors import UserError
from ropewalk.files import read_json
from ropewalk.intervals import FEWEST_RESAMPLED, Interval
from ropewalk.rope import Rope, default_rope
from ropewalk.rope.diagnostics import g_w1, r_ker
from ropewalk.rope.rope import FloatArray
from ropewalk.search.spaces import make_space

POPULATIONS = ("sobol", "first points")
"""Ropes over which the regressions are made."""
FEWEST_ROPES = 8
"""Ropes of a population below which nothing is regressed."""

Places = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Which models, ropes and documents count."""


@dataclass(frozen=True)
class Tries:
    """Ropes of one population at one factor, read by several models.

    Attributes:
        factor: target length over training length.
        names: of the ropes; empty for those of a Sobol sequence.
        causes: ``g_w1`` (radians) and ``r_ker`` of each, shape (ropes, 2).
        losses: ``short``, what each costs texts up to the training length, and ``tail``, the loss beyond it; nats a
            token, shape (models, ropes, documents).
    """

    factor: float
    names: tuple[str, ...]
    causes: FloatArray
    losses: Mapping[str, FloatArray]

    def mean(self, loss: str, places: Places) -> FloatArray:
        """A loss of some ropes on some models, over some documents, shape (models, ropes)."""
        return np.asarray(self.losses[loss][np.ix_(*places)].mean(axis=2))

    def design(self, loss: str, ropes: np.ndarray | slice = slice(None)) -> FloatArray:
        """What a loss is regressed on, shape (ropes, columns), the constant first."""
        mismatch, distortion = self.causes[ropes].T
        columns = [distortion] if loss == "short" else [mismatch, np.square(distortion)]
        return np.column_stack([np.ones(len(mismatch)), *columns])


@dataclass(frozen=True)
class Tried:
    """All that the searches of an experiment tried.

    Attributes:
        train_length: tokens.
        parameters: weights of a model.
        saved: share of the nats of a blind guess that each model saves within its training length, shape (models,).
        models: their names.
        documents: how many each was read on.
        populations: for each, its ropes at every factor, equally many.
    """

    train_length: int
    parameters: int
    saved: FloatArray
    models: tuple[str, ...]
    documents: int
    populations: Mapping[str, tuple[Tries, ...]]


def read_tries(searches: Sequence[Path]) -> Tried:
    """Read what searches with the sampler sobol tried.

    Args:
        searches: folders of :func:`ropewalk.search.run.search`: every model with the same factors and seeds.

    Raises:
        UserError: a file is missing or damaged, the searches differ in more than model, factor and seed, a rope was not
            read to the end of every document, or too few were tried.
    """
    if not searches:
        raise UserError("no search is given; expected some with the sampler sobol.")
    bests = {path: read_json(path / "best.json", "what a search found") for path in searches}
    first = bests[searches[0]]
    for path, best in bests.items():
        if best["options"]["sampler"] != "sobol":
            raise UserError(f"{path} has the sampler {best['options']['sampler']}; expected sobol.")
        for name in ("train_length", "parameters", "vocabulary"):
            if name not in best:
                raise UserError(f"{path} does not say its {name}; make it again.")
            if best[name] != first[name]:
                raise UserError(f"{path} and {searches[0]} are of different {name}; expected the same.")
    models = tuple(dict.fromkeys(str(best["columns"]["model"]) for best in bests.values()))
    factors = sorted({float(best["options"]["factor"]) for best in bests.values()})
    found: dict[str, list[Tries]] = {population: [] for population in POPULATIONS}
    for factor in factors:
        by_model: dict[str, list[pd.DataFrame]] = {}
        for path, best in bests.items():
            if best["options"]["factor"] == factor:
                by_model.setdefault(str(best["columns"]["model"]), []).append(_read(path, best))
        # The first points are those of every seed.
        tables = [pd.concat(parts).drop_duplicates("key", ignore_index=True) for parts in by_model.values()]
        if len(tables) < len(models) or any(list(table["key"]) != list(tables[0]["key"]) for table in tables):
            raise UserError(f"the models tried different ropes at {factor:g}x; expected the same searches of each.")
        proposed = tables[0]["origin"] == ""
        for population, rows in zip(POPULATIONS, (proposed, ~proposed), strict=True):
            found[population].append(_tries(factor, [table[rows] for table in tables]))
    documents = {losses.shape[2] for group in found.values() for one in group for losses in one.losses.values()}
    if len(documents) > 1:
        raise UserError(f"the searches read {sorted(documents)} documents; expected as many of each.")
    populations = {}
    for population, group in found.items():
        count = min(len(one.names) for one in group)
        if count >= FEWEST_ROPES:
            populations[population] = tuple(_first(one, count) for one in group)
    if POPULATIONS[0] not in populations:
        raise UserError(f"fewer than {FEWEST_ROPES} ropes of a Sobol sequence were tried; raise budget.")
    nats = {str(best["columns"]["model"]): float(np.mean(best["original"])) for best in bests.values()}
    saved = np.array([1 - nats[model] / math.log(first["vocabulary"]) for model in models])
    return Tried(first["train_length"], first["parameters"], saved, models, documents.pop(), populations)


def _read(path: Path, best: Mapping[str, Any]) -> pd.DataFrame:
    """The trials of a search, with both causes of each rope and its losses by document."""
    try:
        trials = pd.read_parquet(path / "trials.parquet")
    except (OSError, ValueError) as error:
        raise UserError(f"{path / 'trials.parquet'} is missing or damaged: {str(error).splitlines()[0]}.") from None
    if not trials["whole"].all():
        raise UserError(f"{path} did not read every rope to the end; expected a short_cost that no rope reaches.")
    options = best["options"]
    found = Rope.load(path / "rope.json")
    table = default_rope(found.rotary_dim, found.base, found.original_length)
    space = make_space(options["space"], table, options["factor"])
    points = trials[[p.name for p in space.parameters]].to_dict("records")
    ropes = [space.rope({str(name): float(value) for name, value in point.items()}) for point in points]
    return pd.DataFrame(
        {
            "key": [rope.inv_freq.tobytes() + bytes(f"{rope.attention_factor}", "ascii") for rope in ropes],
            "origin": trials["origin"],
            "g_w1": [g_w1(rope, best["length"]) for rope in ropes],
            "r_ker": [r_ker(rope) for rope in ropes],
            "short": [np.asarray(shorts) - np.array(best["original"]) for shorts in trials["shorts"]],
            "tail": list(trials["tails"]),
        }
    )


def _tries(factor: float, tables: Sequence[pd.DataFrame]) -> Tries:
    losses = {
        loss: np.stack([np.array(table[loss].tolist()).reshape(len(table), -1) for table in tables])
        for loss in ("short", "tail")
    }
    return Tries(factor, tuple(tables[0]["origin"]), tables[0][["g_w1", "r_ker"]].to_numpy(), losses)


def _first(tries: Tries, count: int) -> Tries:
    losses = {loss: values[:, :count] for loss, values in tries.losses.items()}
    return replace(tries, names=tries.names[:count], causes=tries.causes[:count], losses=losses)


def regressions(tried: Tried, confidence: float) -> pd.DataFrame:
    """What the causes tell of losses, over each population of ropes at each factor.

    Args:
        tried: by the searches.
        confidence: of the intervals.

    Returns:
        One row a number: ``population``, ``factor``, ``loss`` (short or tail), ``quantity``, ``value`` with
        ``value_low`` and ``value_high``, ``freedom`` (degrees of freedom) and ``ropes``. Quantities are
        ``rank_correlation`` (Spearman's, of ``r_ker`` with the short cost, and of the regression with the tail),
        ``explained`` (R2 of the regression), ``explained_at_other_factor`` (with coefficients of the other factors),
        ``explained_on_other_model`` (of the other models), and ``nats_by_g_w1`` and ``nats_by_r_ker``: nats a token for
        one standard deviation more of one cause, the other held equal. All are means over models: of R2 the mean is
        taken of ln(1 - R2), of a correlation r of artanh r.
    """
    rows = []
    for population, group in tried.populations.items():
        for number, one in enumerate(group):
            others = [other for k, other in enumerate(group) if k != number]
            for loss in ("short", "tail"):
                for quantity, statistic, back in _statistics(one, others, loss, len(tried.models)):
                    sizes = (len(tried.models), len(one.names), tried.documents)
                    found = jackknife(statistic, sizes, confidence=confidence)
                    ends = sorted((back(found.low), back(found.high)))
                    about = {"population": population, "factor": one.factor, "loss": loss, "quantity": quantity}
                    value = {"value": back(found.mean), "value_low": ends[0], "value_high": ends[1]}
                    rows.append({**about, **value, "freedom": found.freedom, "ropes": len(one.names)})
    return pd.DataFrame(rows)


Statistic = Callable[[Places], float]
_Numbers = Iterator[tuple[str, Statistic, Callable[[float], float]]]


def _statistics(one: Tries, others: Sequence[Tries], loss: str, models: int) -> _Numbers:
    """Names of numbers, how each is computed on the scale on which it is averaged, and the way back from there."""

    def same(x: float) -> float:
        return x

    def share(x: float) -> float:
        return 1 - math.exp(x)

    def fitted(places: Places) -> list[FloatArray]:
        design = one.design(loss, places[1])
        return [_fit(design, values) for values in one.mean(loss, places)]

    def missed(places: Places, coefficients: Sequence[FloatArray]) -> float:
        """Mean over models of the logarithm of the share of variance that is not explained."""
        design, values = one.design(loss, places[1]), one.mean(loss, places)
        left = [
            np.square(y - design @ fit).sum() / np.square(y - y.mean()).sum()
            for y, fit in zip(values, coefficients, strict=True)
        ]
        return float(np.log(left).mean())

    def elsewhere(places: Places) -> list[FloatArray]:
        design = np.concatenate([other.design(loss, places[1]) for other in others])
        values = np.concatenate([other.mean(loss, places) for other in others], axis=1)
        return [_fit(design, y) for y in values]

    def unseen(places: Places) -> list[FloatArray]:
        design, values = one.design(loss, places[1]), one.mean(loss, places)
        return [_fit(design, np.delete(values, k, axis=0).mean(axis=0)) for k in range(len(values))]

    def slope(column: int) -> Statistic:
        def nats(places: Places) -> float:
            spread = one.design(loss, places[1])[:, column].std(ddof=1)
            return float(np.mean([fit[column] for fit in fitted(places)]) * spread)

        return nats

    def ranked(places: Places) -> float:
        design, values = one.design(loss, places[1]), one.mean(loss, places)
        # Of a single cause, its sign counts: the regression's would always be the right one.
        said = [design[:, 1] if loss == "short" else design @ fit for fit in fitted(places)]
        each = [np.corrcoef(rankdata(x), rankdata(y))[0, 1] for x, y in zip(said, values, strict=True)]
        return float(np.arctanh(np.clip(each, -1 + 1e-9, 1 - 1e-9)).mean())

    yield "rank_correlation", ranked, math.tanh
    yield "explained", lambda places: missed(places, fitted(places)), share
    if others:
        yield "explained_at_other_factor", lambda places: missed(places, elsewhere(places)), share
    if models > 2:
        yield "explained_on_other_model", lambda places: missed(places, unseen(places)), share
    if loss == "short":
        yield "nats_by_r_ker", slope(1), same
    else:
        yield "nats_by_g_w1", slope(1), same
        yield "nats_by_r_ker", slope(2), same


def _fit(design: FloatArray, values: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.lstsq(design, values, rcond=None)[0])


def jackknife(statistic: Statistic, sizes: tuple[int, int, int], *, confidence: float) -> Interval:
    """A number with its interval over models, ropes and documents at once.

    Args:
        statistic: of some models, ropes and documents, by their places.
        sizes: how many there are of each; over what there is one of, nothing varies.
        confidence: probability that the interval is to cover.

    Returns:
        Of as many values as there are documents; without ends for fewer than six of these.
    """
    everything = tuple(np.arange(size) for size in sizes)
    value = statistic(everything)  # type: ignore[arg-type]
    if sizes[2] < FEWEST_RESAMPLED:
        return Interval(value, math.nan, math.nan, sizes[2], FEWEST_RESAMPLED)
    variances, freedoms = [], []
    for axis, size in enumerate(sizes):
        if size < 2:
            continue
        without = [
            statistic(tuple(np.delete(places, k) if at == axis else places for at, places in enumerate(everything)))  # type: ignore[arg-type]
            for k in range(size)
        ]
        variances.append((size - 1) ** 2 / size * np.var(without, ddof=1))
        freedoms.append(size - 1)
    total = float(sum(variances))
    if total == 0:
        return Interval(value, value, value, sizes[2], FEWEST_RESAMPLED)
    freedom = total**2 / sum(float(v) ** 2 / n for v, n in zip(variances, freedoms, strict=True))
    half = float(-stdtrit(freedom, (1 - confidence) / 2)) * math.sqrt(total)
    return Interval(value, value - half, value + half, sizes[2], FEWEST_RESAMPLED, float(freedom))

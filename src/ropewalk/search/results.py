"""What searches found and how it compares, read from their files: tables with intervals, no model.

The document is what intervals over documents resample; the means of several seeds are taken document by document first.
Seeds of a search have Student's t. Every difference is paired.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.files import read_json
from ropewalk.intervals import bootstrap, student
from ropewalk.rope import Rope
from ropewalk.rope import methods as m
from ropewalk.search.value import REFERENCE, document_values

ORIGINAL = "none"
"""The name of the rope of pre-training."""


@dataclass(frozen=True)
class Contestant:
    """A rope in a comparison.

    Attributes:
        name: in tables and files.
        rope: itself.
        factor: the factor that it was made or found for; None for the original.
        method: of a hand-made rope, or SAMPLER/SPACE of a found one.
        seed: of the search that found it; None for hand-made ropes.
    """

    name: str
    rope: Rope
    factor: float | None
    method: str
    seed: int | None = None

    @property
    def found(self) -> bool:
        return self.seed is not None


def hand_made(table: Rope, factor: float) -> dict[str, Rope]:
    """Every method that lengthens a rope by a factor, none of them fitted to anything."""
    return {
        "pi": m.pi(table, factor=factor),
        "ntk": m.ntk(table, factor=factor),
        "ntk-critical": m.ntk_critical(table, factor=factor),
        "ntk-critical-discrete": m.ntk_critical(table, factor=factor, inverse="discrete"),
        "ntk-by-parts": m.ntk_by_parts(table, factor=factor),
        REFERENCE: m.yarn(table, factor=factor),
        "yarn-written": m.yarn_written(table, factor=factor),
        "dynamic-ntk": m.dynamic_ntk(table, factor=factor),
        "llama3": m.llama3(table, factor=factor),
        "mrrope-uni": m.mrrope_uni(table, factor=factor),
        "mrrope-pro": m.mrrope_pro(table, factor=factor),
        "resonance-yarn": m.resonance(m.yarn(table, factor=factor)),
    }


def read_search(folder: Path) -> tuple[Contestant, dict[str, Any]]:
    """What a search found, and its ``best.json``.

    Raises:
        UserError: the folder is not that of a search.
    """
    best: dict[str, Any] = read_json(folder / "best.json", "what a search found")
    method = f"{best['sampler']}/{best['space']}"
    name = f"{method.replace('/', '-')}-{best['factor']:g}x-seed-{best['seed']}"
    return Contestant(name, Rope.load(folder / "rope.json"), best["factor"], method, best["seed"]), best


@dataclass(frozen=True)
class FoundRope:
    """A finished search.

    Attributes:
        contestant: its rope.
        best: its ``best.json``.
        trials: its ``trials.parquet``.
    """

    contestant: Contestant
    best: dict[str, Any]
    trials: pd.DataFrame


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        about: its ``contestants.json``.
        measured: its ``measured.parquet``.
        contestants: by name.
        searches: what was searched, in the order given.
    """

    about: dict[str, Any]
    measured: pd.DataFrame
    contestants: dict[str, Contestant]
    searches: list[FoundRope]

    @property
    def factors(self) -> list[float]:
        """What was searched for."""
        return [float(factor) for factor in self.about["factors"]]

    @property
    def lengths(self) -> list[float]:
        """What was measured, as multiples of the training length."""
        return sorted(float(at) for at in self.measured["at"].unique())

    def methods(self, factor: float, *, found: bool) -> dict[str, list[Contestant]]:
        """The contestants made or found for a factor, by method, seeds together."""
        groups: dict[str, list[Contestant]] = {}
        for one in self.contestants.values():
            if one.factor == factor and one.found == found:
                groups.setdefault(one.method, []).append(one)
        return groups

    def rows(self, name: str, at: float) -> pd.DataFrame:
        """What was measured of a rope at a length, one row a document."""
        return self._rows[name, at]

    @cached_property
    def _rows(self) -> dict[tuple[str, float], pd.DataFrame]:
        indexed = self.measured.set_index(["corpus", "document"]).sort_index()
        return {(name, at): rows for name, part in indexed.groupby("rope") for at, rows in part.groupby("at")}  # type: ignore[misc]

    def mean_rows(self, group: Sequence[Contestant], at: float) -> pd.DataFrame:
        """The same as means over several ropes, document by document."""
        numbers = ["short", "tail", "answer", "accuracy"]
        return sum((self.rows(one.name, at)[numbers] for one in group), start=0.0) / len(group)  # type: ignore[return-value]

    def values(self, group: Sequence[Contestant], at: float, against: str) -> np.ndarray:
        """The value of each document against another rope, means over the ropes of a group, shape (documents,)."""
        reference = self.rows(against, at)
        worth = [
            document_values(
                rows["tail"].to_numpy(),
                rows["answer"].to_numpy(),
                reference["tail"].to_numpy(),
                reference["answer"].to_numpy(),
            )
            for rows in (self.rows(one.name, at) for one in group)
        ]
        return np.asarray(np.mean(worth, axis=0))


def reference_name(factor: float) -> str:
    """The name of the reference made for a factor."""
    return f"{REFERENCE}-{factor:g}x"


def read_comparison(folder: Path, searches: Sequence[Path]) -> Comparison:
    """Read a comparison and the searches that it compares.

    Raises:
        UserError: a file is missing or damaged, or a search has no part in the comparison.
    """
    about = read_json(folder / "contestants.json", "what was compared")
    measured = _read_table(folder / "measured.parquet")
    known = {
        one["name"]: Contestant(
            one["name"], Rope.load(folder / "ropes" / f"{one['name']}.json"), one["factor"], one["method"], one["seed"]
        )
        for one in about["ropes"]
    }
    found = []
    for path in searches:
        contestant, best = read_search(path)
        if contestant.name not in known or known[contestant.name].rope != contestant.rope:
            raise UserError(f"{path}: its rope is not the one that was compared in {folder}; compare again.")
        found.append(FoundRope(contestant, best, _read_table(path / "trials.parquet")))
    return Comparison(about, measured, known, found)


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}.") from None


def best_hand_made(comparison: Comparison, at: float) -> str:
    """The hand-made rope, of any factor, that does best at a length on these documents: the hardest one to beat.

    It is chosen with the documents that the found ropes are judged on, which favours it.
    """
    reference = _nearest_reference(comparison, at)
    made = [one for one in comparison.contestants.values() if not one.found]
    return _least(comparison, made, at, reference).name


def _least(comparison: Comparison, ropes: Iterable[Contestant], at: float, reference: str) -> Contestant:
    """The rope of the least objective at a length."""
    return min(ropes, key=lambda one: float(comparison.values([one], at, reference).mean()))


def _nearest_reference(comparison: Comparison, at: float) -> str:
    return reference_name(min(comparison.factors, key=lambda factor: (factor < at, abs(factor - at))))


def standings(comparison: Comparison, factor: float, confidence: float) -> pd.DataFrame:
    """All ropes for a factor at its length, best first.

    Returns:
        One row a method: ``method``, ``found``, ``seeds``, ``objective`` (nats against YaRN; below 0 is better) with
        ``objective_low`` and ``objective_high``, ``tail`` and ``answer`` (nats a token), ``accuracy``, ``short_cost``
        (nats a token against the original rope) with bounds, ``difference`` (of the objective from the best hand-made
        rope of this factor, nats) with bounds, and ``better``: yes, no or open. The reference has no interval.
    """
    made, found = (comparison.methods(factor, found=kind) for kind in (False, True))
    reference = reference_name(factor)
    original = comparison.rows(ORIGINAL, factor)
    hardest = [_least(comparison, chain.from_iterable(made.values()), factor, reference)]
    against = comparison.values(hardest, factor, reference)
    rows = []
    everything = {ORIGINAL: [comparison.contestants[ORIGINAL]], **made, **found}
    for method, group in everything.items():
        values, known = comparison.values(group, factor, reference), comparison.mean_rows(group, factor)
        cost = bootstrap((known["short"] - original["short"]).to_numpy(), confidence=confidence)
        row = {
            "method": method,
            "found": method in found,
            "seeds": len(group) if method in found else 0,
            **bootstrap(values, confidence=confidence).columns("objective"),
            **{name: float(known[name].mean()) for name in ("tail", "answer", "accuracy")},
            **cost.columns("short_cost"),
        }
        if group != hardest:
            paired = bootstrap(values - against, confidence=confidence)
            row |= paired.columns("difference")
            row["better"] = paired.better()
        rows.append(row)
    return pd.DataFrame(rows).sort_values("objective", kind="stable", ignore_index=True)


def transfer(comparison: Comparison, confidence: float) -> pd.DataFrame:
    """What ropes found for one length do at others, against the best hand-made rope at each.

    Returns:
        One row a method, factor and length: ``method``, ``factor``, ``at``, ``against``, ``difference`` (of the
        objective, nats) with bounds, ``better``, ``accuracy`` and ``accuracy_against``.
    """
    rows = []
    for at in comparison.lengths:
        hardest = best_hand_made(comparison, at)
        for factor in comparison.factors:
            for method, group in comparison.methods(factor, found=True).items():
                paired = bootstrap(comparison.values(group, at, hardest), confidence=confidence)
                rows.append(
                    {
                        "method": method,
                        "factor": factor,
                        "at": at,
                        "against": hardest,
                        **paired.columns("difference"),
                        "better": paired.better(),
                        "accuracy": float(comparison.mean_rows(group, at)["accuracy"].mean()),
                        "accuracy_against": float(comparison.rows(hardest, at)["accuracy"].mean()),
                    }
                )
    return pd.DataFrame(rows)


def progress(searches: Sequence[FoundRope]) -> pd.DataFrame:
    """Best so far of every search: ``method``, ``factor``, ``seed``, ``trials``, ``documents``, ``seconds``, ``best``.

    ``best`` is nats against YaRN on the search documents, nan before a rope is allowed; the others are cumulative.
    """
    frames = []
    for search in searches:
        trials, one = search.trials, search.contestant
        seconds = (trials["seconds_measuring"] + trials["seconds_proposing"]).cumsum()
        numbers = {"trials": trials["number"] + 1, "documents": trials["documents"].cumsum(), "seconds": seconds}
        frames.append(
            pd.DataFrame(
                {"method": one.method, "factor": one.factor, "seed": one.seed, **numbers, "best": trials["best"]}
            )
        )
    return pd.concat(frames, ignore_index=True)


def rivals(comparison: Comparison, confidence: float) -> pd.DataFrame:
    """How searches compare at the same number of trials, over seeds.

    Returns:
        One row a method and factor: ``method``, ``factor``, ``seeds``, ``trials``, ``seconds`` and ``proposing``
        (means; seconds in all, and of these for proposals), ``documents`` (read to their end), ``found`` (best
        objective on the search documents, nats) and ``tested`` (on the test documents), each with Student's t over
        seeds; ``difference`` (``tested`` less that of the first method in the list, paired by seed) with bounds and
        ``better``; ``overtakes`` (trials after which the first method is below what this one ends with, median over
        seeds; infinite where it never is).
    """
    rows = []
    for factor in comparison.factors:
        reference = reference_name(factor)
        groups: dict[str, dict[int, FoundRope]] = {}
        for search in comparison.searches:
            if search.contestant.factor == factor:
                groups.setdefault(search.contestant.method, {})[int(search.best["seed"])] = search
        if not groups:
            continue
        values = {
            method: {
                seed: float(comparison.values([search.contestant], factor, reference).mean())
                for seed, search in seeds.items()
            }
            for method, seeds in groups.items()
        }
        leader = next(iter(groups))
        first = groups[leader]
        for method, seeds in groups.items():
            tested = values[method]
            trials = [search.trials for search in seeds.values()]
            proposing = float(np.mean([one["seconds_proposing"].sum() for one in trials]))
            row = {
                "method": method,
                "factor": factor,
                "seeds": len(seeds),
                "trials": float(np.mean([len(one) for one in trials])),
                "documents": float(np.mean([one["documents"].sum() for one in trials])),
                "seconds": proposing + float(np.mean([one["seconds_measuring"].sum() for one in trials])),
                "proposing": proposing,
                **student([one["best"].iloc[-1] for one in trials], confidence=confidence).columns("found"),
                **student(list(tested.values()), confidence=confidence).columns("tested"),
            }
            common = sorted(set(seeds) & set(first))
            if method != leader and common:
                paired = student([tested[seed] - values[leader][seed] for seed in common], confidence=confidence)
                row |= paired.columns("difference")
                row["better"] = paired.better()
                row["overtakes"] = float(
                    np.median([_first_below(first[s].trials, seeds[s].trials["best"].iloc[-1]) for s in common])
                )
            rows.append(row)
    return pd.DataFrame(rows)


def _first_below(trials: pd.DataFrame, level: float) -> float:
    reached = np.flatnonzero(trials["best"].to_numpy() <= level)
    return float(reached[0] + 1) if len(reached) else float("inf")

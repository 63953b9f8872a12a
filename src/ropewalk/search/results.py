"""What searches found and how it compares, read from their files: tables with intervals, no model.

The document is what intervals over documents resample; the means of several seeds are taken document by document first.
Seeds of a search have Student's t. Every difference is paired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from ropewalk.search.value import REFERENCE, document_values

ORIGINAL = "none"
"""The method and the name of the rope of pre-training."""


@dataclass(frozen=True)
class Contestant:
    """A rope in a comparison.

    Attributes:
        name: in tables.
        rope: itself.
        factor: the factor that it was made or found for; None for the original.
        method: of a rope made by hand, or SAMPLER/SPACE of a found one.
        search: the id of the search that found it; None for ropes made by hand.
        seed: of that search.
    """

    name: str
    rope: Rope
    factor: float | None
    method: str
    search: str | None = None
    seed: int | None = None

    @property
    def found(self) -> bool:
        return self.search is not None


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
    """Ropes that were read alike.

    Attributes:
        about: ``split``, ``train_length`` and ``answers`` of their readings.
        measured: their ``measured.parquet``, with the name of each as ``rope``.
        contestants: by name.
        searches: what was searched, in the order given.
        reference: method of the hand-made ropes that others are measured against.
    """

    about: dict[str, Any]
    measured: pd.DataFrame
    contestants: dict[str, Contestant]
    searches: list[FoundRope]
    reference: str = REFERENCE

    @cached_property
    def factors(self) -> list[float]:
        """What was searched for."""
        return sorted({one.factor for one in self.contestants.values() if one.found and one.factor is not None})

    def reference_name(self, factor: float) -> str:
        """The name of the reference made for a factor."""
        return self.methods(factor, found=False)[self.reference][0].name

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


def read_comparison(readings: Sequence[Path], searches: Sequence[Path], *, reference: str = REFERENCE) -> Comparison:
    """Read what probes read of ropes, and the searches that found some of them.

    Args:
        readings: folders of :func:`ropewalk.search.probe.probe`: of the rope of pre-training, of ropes made by hand
            for each factor that was searched for, the reference among them, and of found ropes.
        searches: folders of :func:`ropewalk.search.run.search`.
        reference: method of the hand-made ropes that others are measured against.

    Raises:
        UserError: a file is missing or damaged, or they do not belong together.
    """
    if not readings or not searches:
        raise UserError(f"{len(readings)} readings and {len(searches)} searches; expected some of both.")
    headers = {path: read_json(path / "reading.json", "what a probe read") for path in readings}
    tables = {path: _read_table(path / "measured.parquet") for path in readings}
    kinds = {path: _kind(header, tables[path]) for path, header in headers.items()}
    first = readings[0]
    for path, kind in kinds.items():
        for what, value in kind.items():
            if value != kinds[first][what]:
                raise UserError(f"{path} and {first} are readings of different {what}; expected the same.")
    contestants: dict[str, Contestant] = {}
    parts = []
    for path, header in headers.items():
        contestant = _contestant(header)
        if contestant.name in contestants:
            raise UserError(f"two readings are of {contestant.name}, {path} the second; expected ropes of other names.")
        contestants[contestant.name] = contestant
        parts.append(tables[path].assign(rope=contestant.name))
    about = {name: headers[first][name] for name in ("train_length", "answers")}
    about["split"] = headers[first]["options"]["split"]
    found = [_found(path, contestants.values(), headers[first]) for path in searches]
    comparison = Comparison(about, pd.concat(parts, ignore_index=True), contestants, found, reference)
    if ORIGINAL not in contestants:
        raise UserError("none of the readings is of the rope of pre-training; expected one of the method none.")
    for factor in comparison.factors:
        made = comparison.methods(factor, found=False)
        twice = [method for method, group in made.items() if len(group) > 1]
        if reference not in made or twice:
            many = f"{len(made[twice[0]])} readings are of {twice[0]}" if twice else f"no reading is of {reference}"
            raise UserError(f"{many} at {factor:g}x; expected one of each method made by hand, {reference} among them.")
    return comparison


def _kind(header: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """What comparable readings have in common."""
    return {
        "models": header["weights"],
        "answers": header["answers"],
        **header["options"],
        "factors": sorted(header["options"]["factors"]),
        "documents": table[["at", "corpus", "document"]].values.tolist(),
    }


def _contestant(header: Mapping[str, Any]) -> Contestant:
    columns = header["columns"]
    name = ORIGINAL if columns["method"] == ORIGINAL else columns["rope"]
    rope = Rope.from_json(header["rope"])
    return Contestant(name, rope, columns["factor"], columns["method"], columns["search"], columns["seed"])


def _found(path: Path, contestants: Iterable[Contestant], reading: Mapping[str, Any]) -> FoundRope:
    best: dict[str, Any] = read_json(path / "best.json", "what a search found")
    if best["weights"] != reading["weights"]:
        raise UserError(f"{path} searched on another model than {reading['model']}, which the readings are of.")
    asked, given = (of["answers"]["retrieval"] for of in (best, reading))
    if asked != given:
        raise UserError(
            f"the objective of {path} has the answers {asked}, the readings have {given}; expected the same. Ask for "
            "none where only some documents show that the model can give them."
        )
    rope = Rope.load(path / "rope.json")
    for one in contestants:
        if one.search == best["columns"]["search"] and one.rope == rope:
            return FoundRope(one, best, _read_table(path / "trials.parquet"))
    raise UserError(f"{path}: no reading is of the rope that it found; read it again.")


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
    nearest = min(comparison.factors, key=lambda factor: (factor < at, abs(factor - at)))
    return comparison.reference_name(nearest)


def standings(comparison: Comparison, factor: float, confidence: float) -> pd.DataFrame:
    """All ropes for a factor at its length, best first.

    Returns:
        One row a method: ``method``, ``found``, ``seeds``, ``objective`` (nats against YaRN; below 0 is better) with
        ``objective_low`` and ``objective_high``, ``tail`` and ``answer`` (nats a token), ``accuracy``, ``short_cost``
        (nats a token against the original rope) with bounds, ``difference`` (of the objective from the best hand-made
        rope of this factor, nats) with bounds, and ``better``: yes, no or open. The reference has no interval.
    """
    made, found = (comparison.methods(factor, found=kind) for kind in (False, True))
    reference = comparison.reference_name(factor)
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


def convergence(searches: Sequence[FoundRope]) -> pd.DataFrame:
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
        reference = comparison.reference_name(factor)
        groups: dict[str, dict[int, FoundRope]] = {}
        for search in comparison.searches:
            if search.contestant.factor == factor:
                groups.setdefault(search.contestant.method, {})[int(search.contestant.seed or 0)] = search
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

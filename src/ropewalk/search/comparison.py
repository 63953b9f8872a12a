"""What searches found and probes read of it, from their files, so that ropes can be compared: no model.

Three kinds of ropes are told apart: hand-made ones as coded, hand-made ones whose constants were tuned (what a search
of the sampler ``grid`` chose), and found ones. Every difference is paired by document within a model; intervals are
over documents, seeds of the search and pre-trained models, as far as there are several. Models that cannot do what is
asked of them at their training length are shown apart and are in no interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.files import read_json
from ropewalk.rope import Rope
from ropewalk.search.value import REFERENCE, document_values

Group = Literal["as trained", "as coded", "tuned by hand", "found"]
Kind = tuple[str, float | None]
"""A method and the factor that its rope is for; None for one that is the same for every factor."""

ORIGINAL = "none"
"""The method and the name of the rope of pre-training."""
GRID = "grid/"
"""What the methods of hand-made ropes begin with whose constants were tuned."""
BY_HAND: Group = "tuned by hand"
"""Also what a difference is from that is from the tuned rope which the selection documents preferred, in each model."""
WITHIN = 0.02
"""Nats by which a rope may be worse than another and still be as good."""


@dataclass(frozen=True)
class Contestant:
    """A rope in a comparison.

    Attributes:
        name: in tables.
        rope: itself.
        factor: the factor that it was made or found for; None for the original.
        method: of a rope made by hand, or SAMPLER/SPACE of a found or tuned one.
        search: the id of the search that found it; None for ropes as coded.
        seed: of that search.
    """

    name: str
    rope: Rope
    factor: float | None
    method: str
    search: str | None = None
    seed: int | None = None

    @property
    def kind(self) -> Kind:
        return self.method, self.factor

    @property
    def group(self) -> Group:
        if self.method == ORIGINAL:
            return "as trained"
        if self.search is None:
            return "as coded"
        return BY_HAND if self.method.startswith(GRID) else "found"


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

    @property
    def selected(self) -> float:
        """The objective of its rope on the selection documents, which chose it (nats against YaRN)."""
        return float(next(c["objective"] for c in self.best["candidates"] if c["number"] == self.best["chosen"]))


@dataclass(frozen=True)
class ModelRopes:
    """Ropes that were read alike with one model.

    Attributes:
        name: of the model.
        about: ``split``, ``train_length``, ``answers`` and ``parameters`` of the readings.
        measured: their ``measured.parquet``, with the name of each as ``rope``.
        contestants: by name.
        searches: what was searched, in the order given.
    """

    name: str
    about: dict[str, Any]
    measured: pd.DataFrame
    contestants: dict[str, Contestant]
    searches: list[FoundRope]

    @property
    def able(self) -> bool:
        """Whether it gives the answers that are asked for, where any are."""
        answers = self.about["answers"]
        return bool(answers["retrieval"] == answers["asked"])

    @cached_property
    def kinds(self) -> dict[Kind, list[Contestant]]:
        """The ropes of each method and factor; of found ones, one a seed."""
        found: dict[Kind, list[Contestant]] = {}
        for one in self.contestants.values():
            found.setdefault(one.kind, []).append(one)
        return found

    def rows(self, name: str, at: float) -> pd.DataFrame:
        """What was measured of a rope at a length, one row a document."""
        return self._rows[name, at]

    @cached_property
    def _rows(self) -> dict[tuple[str, float], pd.DataFrame]:
        indexed = self.measured.set_index(["corpus", "document"]).sort_index()
        return {(name, at): rows for name, part in indexed.groupby("rope") for at, rows in part.groupby("at")}  # type: ignore[misc]

    def numbers(self, kind: Kind, at: float, quantity: str) -> np.ndarray:
        """``short``, ``tail``, ``answer`` (nats a token) or ``accuracy`` of ropes, shape (seeds, documents)."""
        return np.stack([self.rows(one.name, at)[quantity].to_numpy() for one in self.kinds[kind]])

    def values(self, kind: Kind, at: float, against: Kind) -> np.ndarray:
        """The value of each document against another rope, in nats, shape (seeds, documents)."""
        [other] = self.kinds[against]
        reference = self.rows(other.name, at)
        return np.stack(
            [
                document_values(
                    rows["tail"].to_numpy(),
                    rows["answer"].to_numpy(),
                    reference["tail"].to_numpy(),
                    reference["answer"].to_numpy(),
                )
                for rows in (self.rows(one.name, at) for one in self.kinds[kind])
            ]
        )

    def tuned(self, factor: float | None) -> FoundRope | None:
        """The rope tuned by hand for a factor that the selection documents prefer; None where none was tuned."""
        known = [s for s in self.searches if s.contestant.group == BY_HAND and s.contestant.factor == factor]
        return min(known, key=lambda search: search.selected, default=None)

    def searched(self, kind: Kind) -> dict[int, FoundRope]:
        """The searches of a method for a factor by seed."""
        return {int(s.contestant.seed or 0): s for s in self.searches if s.contestant.kind == kind}


@dataclass(frozen=True)
class Comparison:
    """Ropes that were read alike, with one model or several.

    Attributes:
        all_models: in the order given.
        reference: method of the hand-made ropes that others are measured against.
    """

    all_models: tuple[ModelRopes, ...]
    reference: str = REFERENCE

    @cached_property
    def models(self) -> tuple[ModelRopes, ...]:
        """Those that count: that give the answers asked for; all where none does."""
        return tuple(model for model in self.all_models if model.able) or self.all_models

    @property
    def first(self) -> ModelRopes:
        return self.models[0]

    @cached_property
    def factors(self) -> list[float]:
        """What was searched for."""
        return sorted({s.contestant.factor for s in self.first.searches if s.contestant.factor is not None})

    @property
    def lengths(self) -> list[float]:
        """What was measured, as multiples of the training length."""
        return sorted(float(at) for at in self.first.measured["at"].unique())

    @property
    def documents(self) -> int:
        """That were read at each length."""
        return len(self.first.measured[["corpus", "document"]].drop_duplicates())

    def kinds(self, factor: float | None, *groups: Group) -> list[Kind]:
        """The methods of some groups for a factor, or for all; for any factor where it is None."""
        return [
            kind
            for kind, members in self.first.kinds.items()
            if members[0].group in groups and (factor is None or kind[1] in (factor, None))
        ]

    def values(self, kind: Kind, at: float, reference: Kind | None = None) -> list[np.ndarray]:
        """The value of each document against the reference, for each model of shape (seeds, documents)."""
        zero = reference or (self.reference, at)
        return [model.values(kind, at, zero) for model in self.models]

    def less(self, kind: Kind, other: Kind | None, at: float, reference: Kind | None = None) -> list[np.ndarray]:
        """How much lower the objective of a rope is than that of another, in nats; below 0 is better.

        Args:
            kind: of the rope.
            other: of the other; None for each model's rope that was tuned by hand.
            at: length over training length.
            reference: whose answers and tails both are capped against; made for that length where None.

        Returns:
            For each model an array of shape (seeds, documents).
        """
        found = []
        for model in self.models:
            zero = reference or (self.reference, at)
            tuned = model.tuned(kind[1]) if other is None else None
            against = other or (tuned.contestant.kind if tuned else kind)
            found.append(model.values(kind, at, zero) - model.values(against, at, zero).mean(axis=0))
        return found

    def hardest(self, kinds: Iterable[Kind], at: float, reference: Kind | None = None) -> Kind:
        """The rope that does best at a length on these very documents, over models: the hardest one to beat.

        It is chosen with the documents that the found ropes are judged on, which favours it.
        """
        return min(kinds, key=lambda kind: float(np.mean([each.mean() for each in self.values(kind, at, reference)])))

    def nearest_reference(self, at: float) -> Kind:
        """The reference that was made for a length, or for the nearest one."""
        return self.reference, min(self.factors, key=lambda factor: (factor < at, abs(factor - at)))

    def seeds(self, kind: Kind) -> int:
        """Different seeds of a method's searches, over all models; 0 for ropes made by hand."""
        found = [one for model in self.models for one in model.kinds[kind]]
        return len({one.seed for one in found}) if found[0].group == "found" else 0


def read_comparison(readings: Sequence[Path], searches: Sequence[Path], *, reference: str = REFERENCE) -> Comparison:
    """Read what probes read of ropes, and the searches that found some of them.

    Args:
        readings: folders of :func:`ropewalk.search.probe.probe`, for each model: of the rope of pre-training, of ropes
            made by hand for each factor that was searched for, the reference among them, and of found ropes.
        searches: folders of :func:`ropewalk.search.run.search`.
        reference: method of the hand-made ropes that others are measured against.

    Raises:
        UserError: a file is missing or damaged, or they do not belong together.
    """
    if not readings or not searches:
        raise UserError(f"{len(readings)} readings and {len(searches)} searches; expected some of both.")
    headers = {path: read_json(path / "reading.json", "what a probe read") for path in readings}
    tables = {path: _read_table(path / "measured.parquet") for path in readings}
    bests = {path: read_json(path / "best.json", "what a search found") for path in searches}
    by_model: dict[str, list[Path]] = {}
    for path, header in headers.items():
        by_model.setdefault(str(header["columns"]["model"]), []).append(path)
    first, places = readings[0], _kind(headers[readings[0]], tables[readings[0]])
    for path, header in headers.items():
        for what, value in _kind(header, tables[path]).items():
            if value != places[what]:
                raise UserError(f"{path} and {first} are readings of different {what}; expected the same.")
    weights = {name: headers[paths[0]]["weights"] for name, paths in by_model.items()}
    for path, best in bests.items():
        if best["weights"] not in weights.values():
            raise UserError(f"{path} searched on another model than those that were read, {', '.join(by_model)}.")
    models = []
    for name, paths in by_model.items():
        own = [path for path, best in bests.items() if best["weights"] == weights[name]]
        models.append(_model(name, {p: headers[p] for p in paths}, tables, {p: bests[p] for p in own}, reference))
    for model in models[1:]:
        if different := set(model.kinds) ^ set(models[0].kinds):
            method, factor = min(different, key=str)
            which = method if factor is None else f"{method} at {factor:g}x"
            raise UserError(f"{which} was read with one of {models[0].name} and {model.name} alone; expected both.")
    return Comparison(tuple(models), reference)


def _model(
    name: str,
    headers: Mapping[Path, Mapping[str, Any]],
    tables: Mapping[Path, pd.DataFrame],
    searches: Mapping[Path, dict[str, Any]],
    reference: str,
) -> ModelRopes:
    """What was read of one model and searched with it."""
    first = next(iter(headers))
    contestants: dict[str, Contestant] = {}
    parts = []
    for path, header in headers.items():
        for what in ("weights", "answers"):
            if header[what] != headers[first][what]:
                raise UserError(f"{path} and {first} are readings of different {what}; expected the same.")
        contestant = _contestant(header)
        if contestant.name in contestants:
            raise UserError(f"two readings are of {contestant.name}, {path} the second; expected ropes of other names.")
        contestants[contestant.name] = contestant
        parts.append(tables[path].assign(rope=contestant.name))
    about = {what: headers[first][what] for what in ("train_length", "answers", "parameters")}
    about["split"] = headers[first]["options"]["split"]
    found = [_found(path, best, contestants.values(), headers[first]) for path, best in searches.items()]
    model = ModelRopes(name, about, pd.concat(parts, ignore_index=True), contestants, found)
    if ORIGINAL not in contestants:
        raise UserError(
            f"none of the readings of {name} is of the rope of pre-training; expected one of the method none."
        )
    for factor in {search.contestant.factor for search in found}:
        made = {kind[0]: len(v) for kind, v in model.kinds.items() if kind[1] == factor and v[0].group == "as coded"}
        twice = [method for method, count in made.items() if count > 1]
        if reference not in made or twice:
            many = f"{made[twice[0]]} readings are of {twice[0]}" if twice else f"no reading is of {reference}"
            raise UserError(f"{many} at {factor:g}x; expected one of each method made by hand, {reference} among them.")
    return model


def _kind(header: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """What comparable readings have in common, whatever their model."""
    return {
        **header["options"],
        "factors": sorted(header["options"]["factors"]),
        "training lengths": header["train_length"],
        "documents": table[["at", "corpus", "document"]].values.tolist(),
    }


def _contestant(header: Mapping[str, Any]) -> Contestant:
    columns = header["columns"]
    name = ORIGINAL if columns["method"] == ORIGINAL else columns["rope"]
    rope = Rope.from_json(header["rope"])
    return Contestant(name, rope, columns["factor"], columns["method"], columns["search"], columns["seed"])


def _found(
    path: Path, best: dict[str, Any], contestants: Iterable[Contestant], reading: Mapping[str, Any]
) -> FoundRope:
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

"""Rows of searches, and the readings that test what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ropewalk.errors import ConfigError
from ropewalk.options import nearest, validate
from ropewalk.search.options import ProbeOptions, SearchOptions
from ropewalk.study.config import SearchRows
from ropewalk.study.faults import at_key
from ropewalk.study.readings import put_reading
from ropewalk.study.recipes import Recipe
from ropewalk.study.rows import ModelRow, ReadingRow, RopeRow, SearchJob, Table, join, seeds_for

if TYPE_CHECKING:
    from ropewalk.study.maker import Maker

ORIGINAL = "none"
"""The rope that found ones are always tested against: that of pre-training."""


def searches_of(maker: Maker, name: str) -> list[SearchJob]:
    """The searches of an experiment, made once."""
    if f"searches.{name}" in maker.made:
        return [maker.study.searches[each] for each in maker.made[f"searches.{name}"]]
    given, rows = maker.config.searches[name], []
    with maker.once(f"searches.{name}"), at_key(f"searches.{name}"):
        for model in maker.all_models(given.models, f"searches.{name}.models"):
            corpora = maker.corpora(model.tokenizer, given.corpora, f"searches.{name}.corpora")
            for factor in given.factors:
                for number, kind in enumerate(given.kinds):
                    seeds = seeds_for(model, given.seeds if kind.seeds is None else kind.seeds)
                    for seed in seeds[:1] if kind.sampler == "grid" else seeds:
                        options = search_options(name, given, factor, number, seed)
                        options = replace(options, length=known_length(model))
                        id_ = join(name, model.id, f"{kind.sampler}-{kind.space}", f"{factor:g}x", f"seed-{seed}")
                        columns = {
                            "method": f"{kind.sampler}/{kind.space}",
                            "factor": factor,
                            "seed": seed,
                            "search": id_,
                            "model": model.id,
                            "experiment": name,
                        }
                        row = SearchJob(id_, model.id, corpora, options, given.workers, columns)
                        rows.append(maker.put_once(maker.study.searches, row))
    maker.made[f"searches.{name}"] = [row.id for row in rows]
    return rows


def known_length(model: ModelRow) -> int | None:
    """Training length in tokens that the study gives a fetched model; None where its configuration is believed."""
    return model.table.length if model.table.model else None


def search_report(maker: Maker, name: str, given: SearchRows) -> None:
    """Found ropes and their rivals, read on documents that no search saw, and one report for all models that are alike.

    Models of one rotary table and tokenizer are alike: they read the same documents with the same ropes.
    """
    found = searches_of(maker, name)
    alike: dict[tuple[Table, str], list[ModelRow]] = {}
    for model in maker.all_models(given.models, f"searches.{name}.models"):
        alike.setdefault((model.table, model.tokenizer), []).append(model)
    for models in alike.values():
        own = [one for one in found if one.model in {model.id for model in models}]
        readings = [reading.id for model in models for reading in _probes(maker, name, given, model, own)]
        if readings:
            maker.report(
                "search",
                join(name, models[0].id if len(alike) > 1 else None),
                given.report,
                f"searches.{name}.report",
                readings=tuple(readings),
                searches=tuple(one.id for one in own),
            )
    if given.causes:
        maker.report("causes", name, {}, f"searches.{name}", searches=tuple(one.id for one in found))


def _probes(
    maker: Maker, name: str, given: SearchRows, model: ModelRow, searches: Sequence[SearchJob]
) -> list[ReadingRow]:
    """What a model is read with, at each doubling of the length; nothing where there are no rivals."""
    found = {maker.found_rope(one, model): one for one in searches if one.model == model.id}
    if not given.rivals:
        return []
    asked = searches[0].options
    assert isinstance(asked, SearchOptions)
    options = ProbeOptions(
        factors=sorted({*given.factors, *(2.0**k for k in range(1, 40) if 2.0**k <= max(given.factors))}),
        length=known_length(model),
        documents=given.test_documents,
        retrieval=asked.retrieval,
        seed=asked.answer_seed,
        dtype=asked.dtype,
    )
    blank: dict[str, Any] = {"factor": None, "seed": None, "search": None}
    original = maker.rope_row(model.table, ORIGINAL, Recipe(({"method": "default"},)))
    ropes: dict[str, tuple[RopeRow, Mapping[str, Any]]] = {original.id: (original, {**blank, "method": ORIGINAL})}
    for factor in given.factors:
        for rival in given.rivals:
            if rival not in maker.recipes:
                raise ConfigError(
                    f"config key {f'searches.{name}.rivals'!r}: {rival!r} is none of ropes"
                    f"{nearest(rival, maker.recipes)}; expected some of {', '.join(maker.recipes)}."
                )
            fixed = maker.recipes[rival].at(factor) == maker.recipes[rival]
            rope = maker.made_rope(rival, model, factor, rival if fixed else f"{rival}-{factor:g}x")
            ropes.setdefault(rope.id, (rope, {**blank, "method": rival, "factor": None if fixed else factor}))
    ropes |= {rope.id: (rope, one.columns) for rope, one in found.items()}
    corpora = maker.corpora(model.tokenizer, None, "corpora")
    return [
        put_reading(maker, join(name, "probe", model.id, rope.name), "probe", model, rope, corpora, options, columns)
        for rope, columns in ropes.values()
    ]


def search_options(name: str, given: SearchRows, factor: float, number: int, seed: int) -> SearchOptions:
    """The options of one search."""
    kind = given.kinds[number]
    of_kind = ("sampler", "space", "")
    return validate(
        SearchOptions,
        {**given.options, **({"budget": kind.budget} if kind.budget else {})},
        "config",
        keys=lambda option: f"searches.{name}." + (f"kinds.{number}" if option in of_kind else "options"),
        fixed={"factor": factor, "sampler": kind.sampler, "space": kind.space, "seed": seed},
    )

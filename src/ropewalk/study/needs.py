"""What a study asks of its corpora, so that documents that are too short are found before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

from ropewalk.corpora.options import Need
from ropewalk.models.shape import ModelShape
from ropewalk.reading.options import NeedleOptions, NllOptions
from ropewalk.search.options import ProbeOptions, SearchOptions
from ropewalk.study.rows import Study
from ropewalk.training.options import TuningOptions


def needs_of(study: Study, corpus: str) -> list[Need]:
    """The documents that the rows of a study will ask a corpus for, each need once.

    Searches and probes of a model whose training length the study does not know are left to themselves.
    """
    return sorted(set(_needs(study, corpus)), key=lambda need: (need.split, need.length, need.documents))


def _needs(study: Study, corpus: str) -> Iterator[Need]:
    for model in study.models.values():
        if corpus not in model.corpora:
            continue
        if isinstance(model.shape, ModelShape):
            yield Need("train", model.shape.length, 1)
        if isinstance(model.options, TuningOptions) and not model.options.packed:
            yield Need("train", model.options.length, 1)
    for reading in study.readings.values():
        asked = reading.options
        if corpus not in reading.corpora:
            continue
        if isinstance(asked, NllOptions):
            yield Need(asked.split, asked.read_to, asked.documents)
        if isinstance(asked, NeedleOptions):
            yield Need(asked.split, max(asked.lengths), -(-asked.samples // len(reading.corpora)))
        if isinstance(asked, ProbeOptions):
            trained = asked.length or study.models[reading.model].table.length
            if trained:
                yield Need(asked.split, round(max(asked.factors) * trained), asked.documents)
    for search in study.searches.values():
        asked = search.options
        if corpus in search.corpora and isinstance(asked, SearchOptions):
            trained = asked.length or study.models[search.model].table.length
            if trained:
                for split in ("search", "selection"):
                    yield Need(split, round(asked.factor * trained), asked.documents)

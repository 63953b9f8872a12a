"""Rows of readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ropewalk.errors import ConfigError
from ropewalk.labels import labels
from ropewalk.options import Options, nearest, validate
from ropewalk.study.config import ReadingRows
from ropewalk.study.kinds import READING_OPTIONS
from ropewalk.study.recipes import tried
from ropewalk.study.rows import (
    OWN,
    ModelRow,
    ReadingRow,
    RopeRow,
    join,
)

if TYPE_CHECKING:
    from ropewalk.study.maker import Maker

WITHOUT_TEXT = ("copying", "leval")
"""Kinds of reading that need no corpus."""


def reading_rows(maker: Maker, name: str, given: ReadingRows) -> None:
    """Every model with every rope of an experiment, and the report that compares them, if there are several."""
    rows = []
    for subjects in given.of:
        for model in maker.all_models(subjects.models, f"readings.{name}.of.models"):
            corpora = text_of(maker, given, model, name)
            for rope in maker.all_ropes(subjects.ropes, model, f"readings.{name}.of.ropes"):
                rows.append(reading_as(maker, name, model, rope, corpora))
    rows = list({row.id: row for row in rows}.values())
    maker.made[f"readings.{name}"] = [row.id for row in rows]
    kind = {"nll": "perplexity"}.get(given.kind, given.kind)
    first = maker.study.models[rows[0].model]
    maker.report(
        kind,
        name,
        given.report,
        f"readings.{name}.report",
        readings=tuple(row.id for row in rows),
        model=first.id if kind == "perplexity" and first.kind == "pretrain" else None,
        alone=kind == "perplexity" and len(rows) == 1,
    )


def text_of(maker: Maker, given: ReadingRows, model: ModelRow, name: str) -> tuple[str, ...]:
    """Ids of the corpora that an experiment reads a model with."""
    if given.kind in WITHOUT_TEXT:
        return ()
    return maker.corpora(model.tokenizer, given.corpora, f"readings.{name}.corpora")


def reading_as(
    maker: Maker,
    name: str,
    model: ModelRow,
    rope: RopeRow,
    corpora: tuple[str, ...],
    called: str | None = None,
    **more: Any,
) -> ReadingRow:
    """A reading with the options of an experiment of ``readings``, under its name or another id."""
    options = reading_options(maker, name, rope, **more)
    id_ = called or join(name, model.id, rope.name)
    return put_reading(maker, id_, maker.config.readings[name].kind, model, rope, corpora, options)


def reading_options(maker: Maker, name: str, rope: RopeRow | None = None, **more: Any) -> Options:
    """The options of the readings of an experiment, with more of them, for one rope."""
    given = maker.config.readings[name]
    values = {**given.options, **more}
    # Another length at which dynamic ropes are read changes nothing for the others.
    if given.kind == "nll" and rope is not None and is_static(maker, rope):
        values.pop("dynamic_lengths", None)
    return validate(READING_OPTIONS[given.kind], values, "config", keys=f"readings.{name}.options")


def is_static(maker: Maker, rope: RopeRow) -> bool:
    """Whether a rope surely does not change with the length."""
    if rope.search is not None and not rope.steps:
        return True
    if rope.file is not None or (rope.name == OWN and rope.table.model is not None):
        return False
    if rope.rope is not None and not is_static(maker, maker.study.ropes[rope.rope]):
        return False
    return bool(tried(rope.steps, (rope.table.head_dim or 64) // 2).static)


def put_reading(
    maker: Maker,
    id_: str,
    kind: str,
    model: ModelRow,
    rope: RopeRow,
    corpora: tuple[str, ...],
    options: Options,
    columns: Mapping[str, Any] | None = None,
) -> ReadingRow:
    """A reading in the table of readings; one that another experiment has too stands there once."""
    known = {"reading": id_, "rope": rope.name}
    columns = {**model.columns, **known, **(columns or {})}
    row = ReadingRow(id_, kind, model.id, rope.id, corpora, options, columns)
    return maker.put_once(maker.study.readings, row)


def readings_named(maker: Maker, name: str, kind: str, key: str) -> ReadingRows:
    """The experiment of readings that another one reads like."""
    known = [each for each, one in maker.config.readings.items() if one.kind == kind]
    if name not in known:
        raise ConfigError(
            f"config key {key!r}: there are no readings {name!r} of kind {kind}{nearest(name, known)}; expected "
            f"one of {', '.join(known) or 'none, for there are none'}."
        )
    return maker.config.readings[name]


def check_lengths(maker: Maker, kind: str, options: Options, readings: Sequence[str], key: str) -> None:
    """See that the reported lengths were read, and that the reference is among the ropes."""
    rows = [maker.study.readings[each] for each in readings]
    lengths: tuple[int, ...] = getattr(options, "lengths")  # noqa: B009
    furthest = min(getattr(row.options, "read_to") for row in rows)  # noqa: B009
    if not lengths or len(set(lengths)) < len(lengths) or max(lengths) > furthest:
        raise ConfigError(
            f"config key {f'{key}.lengths'!r} is {list(lengths)}; expected different lengths up to read_to, {furthest}."
        )
    # A report of tunings is told a rope, which every regime and seed has.
    names = labels([row.columns for row in rows])
    known = list(dict.fromkeys(row.columns["rope"] for row in rows)) if kind == "finetune" else names
    reference = getattr(options, "reference")  # noqa: B009
    if reference not in known:
        raise ConfigError(f"config key {f'{key}.reference'!r} is {reference!r}; expected one of {', '.join(known)}.")

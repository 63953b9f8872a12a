"""Rows of models to begin with: fetched, or pre-trained here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ropewalk.errors import UserError
from ropewalk.models.shape import ModelShape
from ropewalk.study.rows import (
    ModelRow,
    Table,
    join,
)

if TYPE_CHECKING:
    from ropewalk.study.maker import Maker

BYTE = "byte"
"""The tokenizer of models that are made here: one token a byte."""


def begin(maker: Maker, name: str) -> list[ModelRow]:
    """A fetched model, or one pre-trained model for each seed."""
    given = maker.config.models[name]
    if given.shape is None or given.pretraining is None:
        if name == BYTE:
            raise UserError(f"{BYTE!r} stands for the tokenizer of models made here; expected another name.")
        row = ModelRow(
            name,
            "fetch",
            Table(name, model=name, length=given.length),
            name,
            source=given.source,
            revision=given.revision,
            columns={"model": name, "base_model": name},
        )
        return [maker.put(maker.study.models, row)]
    rows = []
    for seed in given.seeds or (None,):
        options = given.pretraining if seed is None else replace(given.pretraining, seed=seed)
        id_ = join(name, None if seed is None else f"seed-{seed}")
        columns = {"model": id_, "base_model": id_, "pretraining_seed": options.seed}
        corpora = maker.corpora(BYTE, None, "corpora")
        rows.append(
            ModelRow(
                id_,
                "pretrain",
                _table(given.shape),
                BYTE,
                corpora,
                shape=given.shape,
                options=options,
                layout=given.layout,
                columns=columns,
            )
        )
    return [maker.put(maker.study.models, row) for row in rows]


def _table(shape: ModelShape) -> Table:
    return Table(f"{shape.head_dim}-{shape.base:.10g}-{shape.length}", None, shape.head_dim, shape.base, shape.length)

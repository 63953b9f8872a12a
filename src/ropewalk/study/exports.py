"""Rows of models that are written for other engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.errors import ConfigError
from ropewalk.study.config import ExportRows
from ropewalk.study.rows import ExportRow

if TYPE_CHECKING:
    from ropewalk.study.maker import Maker


def export_row(maker: Maker, name: str, given: ExportRows) -> ExportRow:
    """One model with one rope.

    Raises:
        ConfigError: a name stands for several.
    """
    key = f"exports.{name}"
    models = maker.models(given.model, f"{key}.model")
    ropes = maker.named_ropes(given.rope, models[0], f"{key}.rope")
    for what, rows, named in (("model", models, given.model), ("rope", ropes, given.rope)):
        if len(rows) > 1:
            raise ConfigError(
                f"config key {f'{key}.{what}'!r}: {named!r} stands for {len(rows)} {what}s; expected one of "
                f"{', '.join(row.id for row in rows)}."
            )
    columns = {**models[0].columns, "rope": ropes[0].name, "to": given.to}
    return maker.put(maker.study.exports, ExportRow(name, models[0].id, ropes[0].id, given.to, columns))

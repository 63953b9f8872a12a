"""Rows of a sweep of the base: tuned models, their readings, and what the laws predict."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ropewalk.errors import UserError
from ropewalk.options import validate
from ropewalk.report.options import PredictionOptions
from ropewalk.rope.prediction import Setting
from ropewalk.rope.theory import critical_base, critical_dimension, small_base_thresholds
from ropewalk.study.config import SweepGroup, SweepRows
from ropewalk.study.readings import reading_as, reading_options, readings_named, text_of
from ropewalk.study.recipes import Recipe
from ropewalk.study.rows import (
    OWN,
    ModelRow,
    ReportRow,
    RopeRow,
    Table,
    join,
    seeds_for,
)
from ropewalk.study.tunings import put_tuned
from ropewalk.training.options import TuningOptions

if TYPE_CHECKING:
    from ropewalk.study.maker import Maker


def swept_models(maker: Maker, name: str) -> list[ModelRow]:
    """Each model tuned with each base of each group and seed; a model that two groups name is one."""
    given = maker.config.sweeps[name]
    rows: dict[str, ModelRow] = {}
    for base in maker.all_models(given.models, f"sweeps.{name}.models"):
        for group in given.groups:
            for new_base, length in _bases(group, _known(base.table, given)):
                rope = maker.rope_row(
                    base.table,
                    f"base-{new_base:.10g}",
                    Recipe(({"method": "abf", "new_base": new_base},)),
                )
                for seed in seeds_for(base, group.seeds):
                    options = validate(
                        TuningOptions,
                        {**given.options, **({"steps": group.steps} if group.steps else {})},
                        "config",
                        keys=f"sweeps.{name}.options",
                        fixed={"length": length, "seed": seed},
                    )
                    columns = {
                        "base_model": base.columns["base_model"],
                        "tuned_from": base.id,
                        "tuned_rope": rope.name,
                        "experiment": name,
                        "base": new_base,
                        "tune_length": length,
                        "steps": options.steps,
                        "seed": seed,
                    }
                    id_ = join(name, base.id, rope.name, f"length-{length}", f"steps-{options.steps}", f"seed-{seed}")
                    corpora = maker.corpora(base.tokenizer, given.corpora, f"sweeps.{name}.corpora")
                    rows[id_] = put_tuned(maker, id_, base, rope, options, columns, corpora, given)
    return list(rows.values())


def sweep_report(maker: Maker, name: str, given: SweepRows) -> None:
    """Readings of every model, tuned and untuned, and reports of measured and predicted limits."""
    spec = readings_named(maker, given.read_as, "nll", f"sweeps.{name}.read_as")
    copy = readings_named(maker, given.copy_as, "copying", f"sweeps.{name}.copy_as") if given.copy_as else None
    scaled = {
        (new_base, length, group.steps or given.options.get("steps"), seed)
        for base in maker.all_models(given.models, name)
        for group in given.groups
        if group.log_scaling
        for new_base, length in _bases(group, _known(base.table, given))
        for seed in seeds_for(base, group.seeds)
    }
    readings: dict[Table, list[str]] = {}
    cells: dict[Table, list[tuple[float, int]]] = {}
    for base in maker.all_models(given.models, name):
        table = _known(base.table, given)
        own = [row for row in maker.models(name, name) if row.base == base.id]
        readings.setdefault(table, []).extend(_untuned(maker, name, given, base, own))
        for row in own:
            assert isinstance(row.options, TuningOptions)
            assert row.rope is not None
            length, new_base = row.options.length, row.columns["base"]
            if length >= _read_to(maker, given):
                raise UserError(
                    f"the tuning length {length} is not below read_to of readings.{given.read_as}, "
                    f"{_read_to(maker, given)}: no limit could be seen."
                )
            cells.setdefault(table, []).append((new_base, length))
            plain = maker.study.ropes[row.rope]
            ropes = [("", plain)]
            if (new_base, length, row.options.steps, row.options.seed) in scaled:
                steps = ({"method": "log_scaling", "length": length},)
                log = maker.rope_row(row.table, f"{plain.name}_log-{length}", Recipe(steps), rope=plain.id)
                ropes.append(("log-scaled", log))
            for word, rope in ropes:
                text = text_of(maker, spec, row, given.read_as)
                id_ = join(row.id, word)
                read = reading_as(maker, given.read_as, row, rope, text, join(id_, "nll"), window=length)
                readings[table].append(read.id)
                if copy is not None and given.copy_as:
                    copied = reading_as(maker, given.copy_as, row, rope, (), join(id_, "copying"))
                    readings[table].append(copied.id)
    # Models of one table are seeds of one pre-training: one report says what holds over all of them.
    for table, ids in readings.items():
        called = join(name, table.id if len(readings) > 1 else None)
        maker.report("scaling", called, given.report, f"sweeps.{name}.report", readings=tuple(ids))
        if table.head_dim and table.base and table.length:
            settings = list(dict.fromkeys(cells[table]))
            options = PredictionOptions(
                head_dim=table.head_dim,
                base=table.base,
                length=table.length,
                bases=tuple(cell[0] for cell in settings),
                tune_lengths=tuple(cell[1] for cell in settings),
            )
            maker.put(maker.study.reports, ReportRow(f"predictions/{called}", "predictions", called, options))


def _untuned(maker: Maker, name: str, given: SweepRows, base: ModelRow, tuned: list[ModelRow]) -> list[str]:
    """Ids of the readings of a model before it is tuned."""
    spec = maker.config.readings[given.read_as]
    text = text_of(maker, spec, base, given.read_as)
    window = min(getattr(row.options, "length") for row in tuned)  # noqa: B009
    ropes: list[tuple[RopeRow, dict[str, int]]] = [(maker.named_ropes(OWN, base, name)[0], {"window": window})]
    if given.dynamic is not None:
        for rope in maker.named_ropes(given.dynamic, base, f"sweeps.{name}.dynamic"):
            if [step["method"] for step in rope.steps] != ["dynamic_ntk"]:
                raise UserError(f"dynamic is {given.dynamic!r}; expected a rope made by dynamic_ntk alone.")
            ropes.append((rope, {}))
    if given.pairs is not None:
        table = _known(base.table, given)
        if not (table.head_dim and table.base and table.length):
            raise UserError("pairs needs to know how many a model has; expected a table.")
        critical = critical_dimension(table.head_dim, table.base, table.length) // 2
        for called, divided in _divided(table.head_dim // 2, critical, given.pairs).items():
            factors = [_read_to(maker, given) / table.length if one else 1.0 for one in divided]
            recipe = Recipe(({"method": "longrope", "long_factor": factors},))
            ropes.append((maker.rope_row(base.table, join(name, called), recipe), {}))
    return [
        reading_as(maker, given.read_as, base, rope, text, join(name, base.id, rope.name, "nll"), **more).id
        for rope, more in ropes
    ]


def _divided(pairs: int, critical: int, wide: int) -> dict[str, list[bool]]:
    """By name, which pairs are divided: all from each place on; all before the critical one; and those from the
    critical one on, but for a group of ``wide`` with which it is the other way round. Groups end at the critical pair.
    """
    edges = sorted({0, pairs, *range(critical, pairs, wide), *range(critical, 0, -wide)})
    found = {f"divided-from-{edge}": [k >= edge for k in range(pairs)] for edge in edges[:-1]}
    found[f"divided-before-{critical}"] = [k < critical for k in range(pairs)]
    for start, stop in pairwise(edges):
        found[f"toggled-{start}-{stop}"] = [(k >= critical) != (start <= k < stop) for k in range(pairs)]
    # Some are the same; none divided is the rope of pre-training.
    different = {tuple(divided): (called, divided) for called, divided in reversed(found.items()) if any(divided)}
    return dict(reversed(different.values()))


def _read_to(maker: Maker, given: SweepRows) -> int:
    return int(getattr(reading_options(maker, given.read_as), "read_to"))  # noqa: B009


def _known(table: Table, given: SweepRows) -> Table:
    """The table of a sweep's model, as far as it is known without it."""
    if table.model is None or given.table is None:
        return table
    return replace(table, head_dim=given.table.head_dim, base=given.table.base, length=given.table.length)


def _bases(group: SweepGroup, table: Table) -> list[tuple[float, int]]:
    """Base and tuning length of each row of a group.

    Raises:
        UserError: a name where no table is known, or a base or length that cannot be.
    """
    length = group.length or table.length
    if length is None:
        raise UserError("a sweep of a model that is not made here needs its length in tokens, or a table.")
    if length % 2:
        raise UserError(f"length is {length}; expected an even number, for windows that overlap by half.")
    found = []
    for named in group.bases:
        base = _base(named, length, table)
        if table.head_dim and table.base and table.length:
            Setting(table.head_dim, table.base, table.length, length, base)
        found.append((base, length))
    return found


def _base(named: float | str, length: int, table: Table) -> float:
    names = ("original", "beta0", "beta1", "beta2", "beta3")
    if named not in names:
        try:  # YAML reads 1e6 as a word
            base = float(named)
        except ValueError:
            base = math.nan
        if isinstance(named, bool) or not 1 < base < math.inf:
            raise UserError(f"base {named!r}: expected a number above 1, or one of {', '.join(names)}.")
        return base
    if named in names[2:]:
        # Down, so that the base lies below the threshold that it is named after.
        return float(math.floor(small_base_thresholds(length)[int(str(named)[-1]) - 1]))
    if table.base is None or table.length is None:
        raise UserError(
            f"the base {named!r} of a model that is not made here is not known; expected a number, or a table."
        )
    return table.base if named == "original" else float(math.floor(critical_base(table.base, table.length, length)))

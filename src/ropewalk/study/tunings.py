"""Rows of tuned models, and the readings that their report compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ropewalk.options import validate
from ropewalk.study.config import SweepRows, TuningRows
from ropewalk.study.readings import reading_as, readings_named, text_of
from ropewalk.study.rows import (
    ModelRow,
    RopeRow,
    join,
    seeds_for,
)
from ropewalk.training.options import TuningOptions

if TYPE_CHECKING:
    from ropewalk.study.maker import Maker


def tuned_models(maker: Maker, name: str) -> list[ModelRow]:
    """Every model with every rope in every regime with every seed."""
    given, rows = maker.config.tunings[name], []
    for regime, differs in given.regimes.items():
        for base in maker.all_models(given.models, f"tunings.{name}.models"):
            for rope in maker.all_ropes(given.ropes, base, f"tunings.{name}.ropes"):
                for seed in seeds_for(base, given.seeds):
                    rows.append(tuned_model(maker, name, given, base, rope, regime, differs, seed))
    return rows


def tuned_model(
    maker: Maker,
    name: str,
    given: TuningRows,
    base: ModelRow,
    rope: RopeRow,
    regime: str,
    differs: Mapping[str, Any],
    seed: int,
) -> ModelRow:
    """One of them."""
    values = {**given.options, **differs}
    options = validate(
        TuningOptions,
        values,
        "config",
        keys=lambda option: (
            f"tunings.{name}.options"
            if option in given.options and option not in differs
            else f"tunings.{name}.regimes.{regime}"
        ),
        fixed={"seed": seed},
    )
    columns = {
        "base_model": base.columns["base_model"],
        "tuned_from": base.id,
        "tuned_rope": rope.name,
        "experiment": name,
        "regime": regime,
        "seed": seed,
    }
    return put_tuned(
        maker,
        join(name, base.id, rope.name, regime, f"seed-{seed}"),
        base,
        rope,
        options,
        columns,
        maker.corpora(base.tokenizer, given.corpora, f"tunings.{name}.corpora"),
        given,
    )


def put_tuned(
    maker: Maker,
    id_: str,
    base: ModelRow,
    rope: RopeRow,
    options: TuningOptions,
    columns: Mapping[str, Any],
    corpora: tuple[str, ...],
    given: TuningRows | SweepRows,
) -> ModelRow:
    """A tuned model in the table of models; one that another experiment has too stands there once."""
    row = ModelRow(
        id_,
        "tune",
        base.table,
        base.tokenizer,
        corpora,
        options=options,
        layout=given.layout,
        base=base.id,
        rope=rope.id,
        columns={"model": id_, **columns},
    )
    return maker.put_once(maker.study.models, row)


def tuning_report(maker: Maker, name: str, given: TuningRows) -> None:
    """Readings of each model as it was and of what was tuned from it, and a report for each name in ``models``."""
    if given.read_as is None:
        return
    spec = readings_named(maker, given.read_as, "nll", f"tunings.{name}.read_as")
    for model in given.models:
        rows, ropes = [], []
        for base in maker.models(model, f"tunings.{name}.models"):
            text = text_of(maker, spec, base, given.read_as)
            ropes = maker.all_ropes([*given.ropes, *given.untuned], base, f"tunings.{name}.untuned")
            rows += [reading_as(maker, given.read_as, base, rope, text) for rope in ropes]
            for tuned in maker.models(name, name):
                if tuned.base == base.id:
                    assert tuned.rope is not None
                    rows.append(reading_as(maker, given.read_as, tuned, maker.study.ropes[tuned.rope], text))
        # Models that one name stands for are alike but for their seed: one report says what holds over all of them.
        maker.report(
            "finetune",
            join(name, model if len(given.models) > 1 else None),
            {"lengths": spec.report.get("lengths", []), "reference": ropes[0].name},
            f"tunings.{name}",
            readings=tuple(row.id for row in rows),
        )

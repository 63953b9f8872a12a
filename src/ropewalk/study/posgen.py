"""Rows of a PosGen experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.errors import UserError
from ropewalk.study.faults import at_key
from ropewalk.study.recipes import Recipe
from ropewalk.study.rows import (
    PosGenTask,
    Table,
)

if TYPE_CHECKING:
    from ropewalk.study.maker import Maker


def posgen_tasks(maker: Maker, name: str) -> None:
    """The ropes and the tasks of an experiment, and its report."""
    given = maker.config.posgen[name]
    options = given.options
    factor = given.factor or options.test_length / options.train_length
    ids: dict[str, str] = {}
    for rope, wanted in given.ropes.items():
        with at_key(f"posgen.{name}.ropes.{rope}.recipe"):
            recipe = Recipe.parse(wanted.recipe).at(factor)
            if recipe.start is not None and recipe.start[0] != "file":
                raise UserError("PosGen has a table of its own; expected methods, or a start from a file.")
        length = wanted.original_length or options.train_length
        table = Table(f"posgen/{name}", head_dim=options.head_dim, base=options.base, length=length)
        file = recipe.start[1] if recipe.start else None
        ids[rope] = maker.rope_row(table, rope, recipe, file=file).id
    trained = tuple(ids[rope] for rope, wanted in given.ropes.items() if wanted.weights is None)
    others = [(rope, wanted) for rope, wanted in given.ropes.items() if wanted.weights is not None]
    swapped = tuple((ids[rope], str(wanted.weights)) for rope, wanted in others if not wanted.brief)
    brief = tuple((ids[rope], str(wanted.weights)) for rope, wanted in others if wanted.brief)
    tasks = [
        PosGenTask(f"{name}/{task}", name, task, options, given.scoring, given.layout, trained, swapped, brief)
        for task in given.tasks
    ]
    for task in tasks:
        maker.put(maker.study.posgen, task)
    maker.report("posgen", name, {}, f"posgen.{name}", tasks=tuple(task.id for task in tasks))

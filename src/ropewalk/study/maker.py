"""What makes the rows of a study on demand, and finds them by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from ropewalk.errors import CircleError, ConfigError, UserError
from ropewalk.options import nearest, validate
from ropewalk.study.config import Config
from ropewalk.study.exports import export_row
from ropewalk.study.faults import at_key
from ropewalk.study.kinds import REPORT_OPTIONS
from ropewalk.study.measures import measures_report
from ropewalk.study.models import begin
from ropewalk.study.posgen import posgen_tasks
from ropewalk.study.readings import check_lengths, reading_rows
from ropewalk.study.recipes import Recipe
from ropewalk.study.rows import (
    OWN,
    CorpusRow,
    ModelRow,
    ReadingRow,
    ReportRow,
    RopeRow,
    SearchJob,
    Study,
    Table,
)
from ropewalk.study.searches import search_report, searches_of
from ropewalk.study.sweeps import sweep_report, swept_models
from ropewalk.study.tunings import tuned_models, tuning_report
from ropewalk.training.options import Layout

Row = TypeVar("Row")
Made = TypeVar("Made", ModelRow, ReadingRow, SearchJob)
NAMES = ("experiment", "model", "reading", "search")
"""Columns that say which row it is, and not what it is made of."""


class Maker:
    """Makes rows on demand, so that a row may be named before it stands; each id once."""

    def __init__(self, config: Config) -> None:
        self.config, self.study = config, Study(config)
        self.recipes: dict[str, Recipe] = {}
        self.made: dict[str, list[str]] = {}
        # Ids of rows that may serve several experiments: by what they are, and by what each would be called.
        self.alike: dict[str, str] = {}
        self.served: dict[str, str] = {}
        self.under_way: list[str] = []

    def make(self) -> Study:
        """Every row that the configuration names."""
        config = self.config
        for name, value in config.ropes.items():
            with at_key(f"ropes.{name}"):
                if name == OWN:
                    raise UserError(f"{OWN!r} stands for the rope of each model; expected another name.")
                self.recipes[name] = Recipe.parse(value)
        for name in (*config.models, *config.tunings, *config.sweeps):
            self.models(name, name)
        for name in config.ropes:
            self.check_start(name)
        for name, readings in config.readings.items():
            with at_key(f"readings.{name}"):
                reading_rows(self, name, readings)
        for name, measures in config.measures.items():
            with at_key(f"measures.{name}"):
                measures_report(self, name, measures)
        for name, sweep in config.sweeps.items():
            with at_key(f"sweeps.{name}"):
                sweep_report(self, name, sweep)
        for name, search in config.searches.items():
            with at_key(f"searches.{name}"):
                search_report(self, name, search)
        for name, export in config.exports.items():
            with at_key(f"exports.{name}"):
                export_row(self, name, export)
        for name, tuning in config.tunings.items():
            with at_key(f"tunings.{name}"):
                tuning_report(self, name, tuning)
        for name in config.posgen:
            with at_key(f"posgen.{name}"):
                posgen_tasks(self, name)
        return self.study

    def models(self, name: str, key: str) -> list[ModelRow]:
        """The models behind a name: one, those of an experiment, or a single row by its id."""
        table, config = self.study.models, self.config
        makers: dict[str, Mapping[str, Any]] = {
            "models": config.models,
            "tunings": config.tunings,
            "sweeps": config.sweeps,
        }
        known = [kind for kind, section in makers.items() if name in section]
        if len(known) > 1:
            raise ConfigError(f"config: {name!r} stands in {' and in '.join(known)}; expected different names.")
        if not known:
            self.every_model()
            if self.served.get(name, name) in table:
                return [table[self.served.get(name, name)]]
            names = [*config.models, *config.tunings, *config.sweeps, *table]
            raise ConfigError(
                f"config key {key!r}: there is no model {name!r}{nearest(name, names)}; expected one of "
                f"{', '.join(dict.fromkeys(names)) or 'none, for there is none'}."
            )
        if name not in self.made:
            with self.once(f"{known[0]}.{name}"), at_key(f"{known[0]}.{name}"):
                make = {"models": begin, "tunings": tuned_models, "sweeps": swept_models}[known[0]]
                self.made[name] = [row.id for row in make(self, name)]
        return [table[each] for each in self.made[name]]

    def every_model(self) -> None:
        """Make all models that can be made before what is under way, for names that are ids of single rows."""
        for name in (*self.config.models, *self.config.tunings, *self.config.sweeps):
            with suppress(CircleError):
                self.models(name, name)

    @contextmanager
    def once(self, key: str) -> Iterator[None]:
        """Refuse rows that are made of each other."""
        if key in self.under_way:
            circle = " needs ".join([*self.under_way[self.under_way.index(key) :], key])
            raise CircleError(f"config: {circle}; expected no circle.")
        self.under_way.append(key)
        try:
            yield
        finally:
            self.under_way.pop()

    def all_models(self, names: Sequence[str], key: str) -> list[ModelRow]:
        """The models behind several names, each once."""
        rows = [row for name in names for row in self.models(name, key)]
        return list({row.id: row for row in rows}.values())

    def all_ropes(self, names: Sequence[str], model: ModelRow, key: str) -> list[RopeRow]:
        """The ropes behind several names, for the table of a model, each once."""
        rows = [row for name in names for row in self.named_ropes(name, model, key)]
        return list({row.id: row for row in rows}.values())

    def named_ropes(self, name: str, model: ModelRow, key: str) -> list[RopeRow]:
        """The ropes behind a name, for the table of a model."""
        if name == OWN:
            if model.rope is not None:
                return [self.study.ropes[model.rope]]
            return [self.rope_row(model.table, OWN, Recipe(()))]
        if name in self.recipes:
            return [self.made_rope(name, model, self.config.factor, name)]
        if name in self.config.searches:
            found = searches_of(self, name)
            chain = {model.id, model.columns["base_model"]}
            near = [one for one in found if one.model in chain] or [
                one for one in found if self.study.models[one.model].table == model.table
            ]
            if not near:
                raise ConfigError(f"config key {key!r}: {name!r} searched no rope for the rotary table of {model.id}.")
            return [self.found_rope(one, model) for one in near]
        self.every_search()
        if self.served.get(name) in self.study.searches:
            return [self.found_rope(self.study.searches[self.served[name]], model)]
        names = [*self.recipes, *self.config.searches, *self.study.searches]
        raise ConfigError(
            f"config key {key!r}: there is no rope {name!r}{nearest(name, names)}; expected one of "
            f"{', '.join([OWN, *names])}."
        )

    def made_rope(self, name: str, model: ModelRow, factor: float, called: str) -> RopeRow:
        """A rope of the configuration, with a factor where its recipe names none."""
        recipe = self.recipes[name].at(factor)
        if recipe.start is None:
            return self.rope_row(model.table, called, recipe)
        kind, start = recipe.start
        if kind == "file":
            return self.rope_row(model.table, called, recipe, file=start)
        with self.once(f"ropes.{name}"):
            first = self.named_ropes(start, model, f"ropes.{name}")
        if len(first) > 1:
            raise ConfigError(
                f"config key {f'ropes.{name}'!r} starts from {start!r}, which stands for {len(first)} ropes; expected "
                f"one of {', '.join(rope.name for rope in first)}."
            )
        return self.rope_row(model.table, called, recipe, rope=first[0].id)

    def check_start(self, name: str) -> None:
        """See that what a rope of the configuration starts from exists, also where nothing is read with it."""
        if (start := self.recipes[name].start) is None or start[0] == "file":
            return
        known = list(self.config.searches)
        if start[0] == "rope":
            known = [OWN, *self.recipes, *known]
        if start[1] in self.recipes and start[0] == "rope":
            with self.once(f"ropes.{name}"):
                self.check_start(start[1])
        elif start[1] not in known:
            self.every_search()
            known += self.study.searches
            if self.served.get(start[1], start[1]) not in known:
                what = "search" if start[0] == "found" else "rope"
                raise ConfigError(
                    f"config key {f'ropes.{name}'!r}: there is no {what} {start[1]!r}{nearest(start[1], known)}; "
                    f"expected one of {', '.join(known) or 'none, for there is none'}."
                )

    def found_rope(self, search: SearchJob, model: ModelRow) -> RopeRow:
        """What a search found, for the table of a model."""
        if self.study.models[search.model].table != model.table:
            raise ConfigError(f"config: {search.id} found a rope for another rotary table than that of {model.id}.")
        return self.rope_row(model.table, search.id, Recipe(()), search=search.id)

    def rope_row(self, table: Table, name: str, recipe: Recipe, **start: str | None) -> RopeRow:
        """A rope in the table of ropes."""
        return self.put(self.study.ropes, RopeRow(f"{table.id}/{name}", name, table, recipe.steps, **start))

    def every_search(self) -> None:
        """Make all searches that can be made before what is under way, for names that are ids of single rows."""
        for name in self.config.searches:
            with suppress(CircleError):
                searches_of(self, name)

    def corpora(self, tokenizer: str, names: Sequence[str] | None, key: str) -> tuple[str, ...]:
        """Ids of corpora by name, tokenised by one tokenizer; all where none is named."""
        known = self.config.corpora
        if not known:
            raise ConfigError("config key 'corpora' is empty; expected at least one.")
        ids = []
        for name in names if names is not None else known:
            if name not in known:
                raise ConfigError(
                    f"config key {key!r}: there is no corpus {name!r}{nearest(name, known)}; expected some of "
                    f"{', '.join(known)}."
                )
            row = CorpusRow(f"{tokenizer}/{name}", name, tokenizer, known[name])
            ids.append(self.put(self.study.corpora, row).id)
        return tuple(ids)

    def report(
        self,
        kind: str,
        name: str,
        values: Mapping[str, Any],
        key: str,
        *,
        alone: bool = False,
        **rows: Any,
    ) -> None:
        """A report in the table of reports; of what stands alone, only its options are checked."""
        shared = {"experiment": name, "confidence": self.config.confidence}
        options = validate(REPORT_OPTIONS[kind], values, "config", keys=key, fixed=shared)
        if kind in ("perplexity", "finetune"):
            check_lengths(self, kind, options, rows["readings"], key)
        if not alone:
            self.put(self.study.reports, ReportRow(f"{kind}/{name}", kind, name, options, **rows))

    def put_once(self, table: dict[str, Made], row: Made) -> Made:
        """A row in its table, or one of another experiment that is the same and called the same, which serves both."""
        id_ = self.alike.setdefault(repr(_nameless(row)), row.id)
        self.served[row.id] = id_
        return self.put(table, row) if id_ == row.id else table[id_]

    def put(self, table: dict[str, Row], row: Row) -> Row:
        """A row in its table; the same one may be put twice."""
        id_: str = row.id  # type: ignore[attr-defined]
        if id_ in table and table[id_] != row:
            raise UserError(f"two rows have the id {id_!r} and differ; rename what they are made of.")
        return table.setdefault(id_, row)


def _nameless(row: ModelRow | ReadingRow | SearchJob) -> ModelRow | ReadingRow | SearchJob:
    """What a row is made of: itself without its id, what repeats ids, and where its training runs."""
    if isinstance(row, ModelRow):
        row = replace(row, layout=Layout())
    return replace(row, id="", columns={name: value for name, value in row.columns.items() if name not in NAMES})

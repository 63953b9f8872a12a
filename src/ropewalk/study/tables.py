"""The tables of a study: the configuration, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ropewalk.corpora.options import CorpusOptions
from ropewalk.errors import CircleError, ConfigError, UserError
from ropewalk.labels import labels
from ropewalk.models.shape import ModelShape
from ropewalk.options import Options, ReportOptions, nearest, validate
from ropewalk.reading.options import CopyingOptions, LEvalOptions, NeedleOptions, NllOptions
from ropewalk.report.options import (
    PerplexityReportOptions,
    PredictionOptions,
    TuningReportOptions,
)
from ropewalk.rope import default_rope
from ropewalk.rope.prediction import Setting
from ropewalk.rope.theory import critical_base, small_base_thresholds
from ropewalk.scaling.options import SweepOptions
from ropewalk.search.options import ProbeOptions, SearchOptions, SearchReportOptions
from ropewalk.study.config import Config, ReadingRows, SearchRows, SweepGroup, SweepRows, TuningRows
from ropewalk.study.recipes import Recipe, cook
from ropewalk.study.rows import ModelRow, PosGenTask, ReadingRow, ReportRow, RopeRow, SearchJob, Table, join
from ropewalk.training.options import TuningOptions

READING_OPTIONS: dict[str, type[Options]] = {
    "nll": NllOptions,
    "copying": CopyingOptions,
    "needle": NeedleOptions,
    "leval": LEvalOptions,
    "probe": ProbeOptions,
}
"""The options of each kind of reading."""
REPORT_OPTIONS: dict[str, type[Options]] = {
    "perplexity": PerplexityReportOptions,
    "copying": ReportOptions,
    "needle": ReportOptions,
    "leval": ReportOptions,
    "scaling": SweepOptions,
    "predictions": PredictionOptions,
    "search": SearchReportOptions,
    "finetune": TuningReportOptions,
    "posgen": ReportOptions,
}
"""The options of each kind of report."""
BYTE = "byte"
"""The tokenizer of models that are made here: one token a byte."""
OWN = "own"
"""In a list of ropes: the rope that a model was trained with."""
ORIGINAL = "none"
"""The rope that found ones are always tested against: that of pre-training."""
WITHOUT_TEXT = ("copying", "leval")
"""Kinds of reading that need no corpus."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class CorpusRow:
    """A corpus, tokenised by one tokenizer: ``byte``, or that of a fetched model."""

    id: str
    name: str
    tokenizer: str
    options: CorpusOptions


@dataclass
class Study:
    """A study: its configuration and its tables, by id."""

    config: Config
    corpora: dict[str, CorpusRow] = field(default_factory=dict)
    ropes: dict[str, RopeRow] = field(default_factory=dict)
    models: dict[str, ModelRow] = field(default_factory=dict)
    readings: dict[str, ReadingRow] = field(default_factory=dict)
    searches: dict[str, SearchJob] = field(default_factory=dict)
    posgen: dict[str, PosGenTask] = field(default_factory=dict)
    reports: dict[str, ReportRow] = field(default_factory=dict)

    def reports_of(self, *kinds: str) -> list[ReportRow]:
        """The reports of these kinds, in order; of every kind where none is named."""
        return [report for report in self.reports.values() if not kinds or report.kind in kinds]


def read_study(values: Mapping[str, Any]) -> Study:
    """Check a configuration and make the tables.

    Raises:
        UserError: one sentence for the first fault, which names key, value and what is allowed.
    """
    config: Config = validate(Config, values, "config")
    return _Maker(config).make()


@contextmanager
def _at(key: str) -> Iterator[None]:
    """Name the key of a fault that does not name one."""
    try:
        yield
    except ConfigError:
        raise
    except UserError as error:
        raise ConfigError(f"config key {key!r}: {error}") from None


class _Maker:
    """Makes rows on demand, so that a row may be named before it stands; each id once."""

    def __init__(self, config: Config) -> None:
        self.config, self.study = config, Study(config)
        self.recipes: dict[str, Recipe] = {}
        self.made: dict[str, list[str]] = {}
        self.under_way: list[str] = []

    def make(self) -> Study:
        config = self.config
        for name, value in config.ropes.items():
            with _at(f"ropes.{name}"):
                if name == OWN:
                    raise UserError(f"{OWN!r} stands for the rope of each model; expected another name.")
                self.recipes[name] = Recipe.parse(value)
        for name in (*config.models, *config.tunings, *config.sweeps):
            self.models(name, name)
        for name in config.ropes:
            self.check_start(name)
        for name, readings in config.readings.items():
            with _at(f"readings.{name}"):
                self.reading_rows(name, readings)
        for name, sweep in config.sweeps.items():
            with _at(f"sweeps.{name}"):
                self.sweep_report(name, sweep)
        for name, search in config.searches.items():
            with _at(f"searches.{name}"):
                self.search_report(name, search)
        for name, tuning in config.tunings.items():
            with _at(f"tunings.{name}"):
                self.tuning_report(name, tuning)
        for name in config.posgen:
            with _at(f"posgen.{name}"):
                self.posgen(name)
        return self.study

    # Models

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
            if name in table:
                return [table[name]]
            names = [*config.models, *config.tunings, *config.sweeps, *table]
            raise ConfigError(
                f"config key {key!r}: there is no model {name!r}{nearest(name, names)}; expected one of "
                f"{', '.join(dict.fromkeys(names)) or 'none, for there is none'}."
            )
        if name not in self.made:
            with self.once(f"{known[0]}.{name}"), _at(f"{known[0]}.{name}"):
                make = {"models": self.begin, "tunings": self.tune, "sweeps": self.sweep}[known[0]]
                self.made[name] = [row.id for row in make(name)]
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

    def begin(self, name: str) -> list[ModelRow]:
        given = self.config.models[name]
        if given.shape is None or given.pretraining is None:
            if name == BYTE:
                raise UserError(f"{BYTE!r} stands for the tokenizer of models made here; expected another name.")
            row = ModelRow(
                name,
                "fetch",
                Table(name, model=name),
                name,
                source=given.source,
                revision=given.revision,
                columns={"model": name, "base_model": name},
            )
            return [self.put(self.study.models, row)]
        rows = []
        for seed in given.seeds or (None,):
            options = given.pretraining if seed is None else replace(given.pretraining, seed=seed)
            id_ = join(name, None if seed is None else f"seed-{seed}")
            columns = {"model": id_, "base_model": id_, "pretraining_seed": options.seed}
            corpora = self.corpora(BYTE, None, "corpora")
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
        return [self.put(self.study.models, row) for row in rows]

    def tune(self, name: str) -> list[ModelRow]:
        given, rows = self.config.tunings[name], []
        for regime, differs in given.regimes.items():
            for base in self.all_models(given.models, f"tunings.{name}.models"):
                for rope in self.all_ropes(given.ropes, base, f"tunings.{name}.ropes"):
                    for seed in given.seeds:
                        rows.append(self.tuned(name, given, base, rope, regime, differs, seed))
        return rows

    def tuned(
        self,
        name: str,
        given: TuningRows,
        base: ModelRow,
        rope: RopeRow,
        regime: str,
        differs: Mapping[str, Any],
        seed: int,
    ) -> ModelRow:
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
        return self.put_tuned(
            join(name, base.id, rope.name, regime, f"seed-{seed}"),
            base,
            rope,
            options,
            columns,
            self.corpora(base.tokenizer, given.corpora, f"tunings.{name}.corpora"),
            given,
        )

    def put_tuned(
        self,
        id_: str,
        base: ModelRow,
        rope: RopeRow,
        options: TuningOptions,
        columns: Mapping[str, Any],
        corpora: tuple[str, ...],
        given: TuningRows | SweepRows,
    ) -> ModelRow:
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
            launcher=getattr(given, "launcher", None),
            columns={"model": id_, **columns},
        )
        return self.put(self.study.models, row)

    def sweep(self, name: str) -> list[ModelRow]:
        given = self.config.sweeps[name]
        rows: dict[str, ModelRow] = {}
        for base in self.all_models(given.models, f"sweeps.{name}.models"):
            for group in given.groups:
                for new_base, length in _bases(group, _known(base.table, given)):
                    rope = self.rope_row(
                        base.table,
                        f"base-{new_base:.10g}",
                        Recipe(({"method": "abf", "new_base": new_base},)),
                    )
                    for seed in group.seeds:
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
                        id_ = join(
                            name, base.id, rope.name, f"length-{length}", f"steps-{options.steps}", f"seed-{seed}"
                        )
                        corpora = self.corpora(base.tokenizer, given.corpora, f"sweeps.{name}.corpora")
                        rows[id_] = self.put_tuned(id_, base, rope, options, columns, corpora, given)
        return list(rows.values())

    def all_models(self, names: Sequence[str], key: str) -> list[ModelRow]:
        rows = [row for name in names for row in self.models(name, key)]
        return list({row.id: row for row in rows}.values())

    # Ropes

    def all_ropes(self, names: Sequence[str], model: ModelRow, key: str) -> list[RopeRow]:
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
            found = self.searches(name)
            chain = {model.id, model.columns["base_model"]}
            near = [one for one in found if one.model in chain] or [
                one for one in found if self.study.models[one.model].table == model.table
            ]
            if not near:
                raise ConfigError(f"config key {key!r}: {name!r} searched no rope for the rotary table of {model.id}.")
            return [self.found_rope(one, model) for one in near]
        self.every_search()
        if name in self.study.searches:
            return [self.found_rope(self.study.searches[name], model)]
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
            if start[1] not in known:
                what = "search" if start[0] == "found" else "rope"
                raise ConfigError(
                    f"config key {f'ropes.{name}'!r}: there is no {what} {start[1]!r}{nearest(start[1], known)}; "
                    f"expected one of {', '.join(known) or 'none, for there is none'}."
                )

    def found_rope(self, search: SearchJob, model: ModelRow) -> RopeRow:
        if self.study.models[search.model].table != model.table:
            raise ConfigError(f"config: {search.id} found a rope for another rotary table than that of {model.id}.")
        return self.rope_row(model.table, search.id, Recipe(()), search=search.id)

    def rope_row(self, table: Table, name: str, recipe: Recipe, **start: str | None) -> RopeRow:
        return self.put(self.study.ropes, RopeRow(f"{table.id}/{name}", name, table, recipe.steps, **start))

    # Searches

    def every_search(self) -> None:
        """Make all searches that can be made before what is under way, for names that are ids of single rows."""
        for name in self.config.searches:
            with suppress(CircleError):
                self.searches(name)

    def searches(self, name: str) -> list[SearchJob]:
        if f"searches.{name}" in self.made:
            return [self.study.searches[each] for each in self.made[f"searches.{name}"]]
        given, rows = self.config.searches[name], []
        with self.once(f"searches.{name}"), _at(f"searches.{name}"):
            for model in self.all_models(given.models, f"searches.{name}.models"):
                corpora = self.corpora(model.tokenizer, given.corpora, f"searches.{name}.corpora")
                for factor in given.factors:
                    for number, kind in enumerate(given.kinds):
                        for seed in given.seeds:
                            options = self.search_options(name, given, factor, number, seed)
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
                            rows.append(self.put(self.study.searches, row))
        self.made[f"searches.{name}"] = [row.id for row in rows]
        return rows

    def search_options(self, name: str, given: SearchRows, factor: float, number: int, seed: int) -> SearchOptions:
        kind = given.kinds[number]
        of_kind = ("sampler", "space", "")
        return validate(
            SearchOptions,
            {**given.options, **({"budget": kind.budget} if kind.budget else {})},
            "config",
            keys=lambda option: f"searches.{name}." + (f"kinds.{number}" if option in of_kind else "options"),
            fixed={"factor": factor, "sampler": kind.sampler, "space": kind.space, "seed": seed},
        )

    def search_report(self, name: str, given: SearchRows) -> None:
        """Found ropes and their rivals, read on documents that no search saw, at each doubling of the length."""
        found = self.searches(name)
        factors = sorted({*given.factors, *(2.0**k for k in range(1, 40) if 2.0**k <= max(given.factors))})
        for model in self.all_models(given.models, f"searches.{name}.models"):
            own = [one for one in found if one.model == model.id]
            for one in own:
                self.found_rope(one, model)
            if not given.rivals:
                continue
            asked = own[0].options
            assert isinstance(asked, SearchOptions)
            options = ProbeOptions(
                factors=factors,
                documents=given.test_documents,
                retrieval=asked.retrieval,
                seed=asked.answer_seed,
                dtype=asked.dtype,
            )
            blank: dict[str, Any] = {"factor": None, "seed": None, "search": None}
            original = self.rope_row(model.table, ORIGINAL, Recipe(({"method": "default"},)))
            ropes: dict[str, tuple[RopeRow, Mapping[str, Any]]] = {
                original.id: (original, {**blank, "method": ORIGINAL})
            }
            for factor in given.factors:
                for rival in given.rivals:
                    if rival not in self.recipes:
                        raise ConfigError(
                            f"config key {f'searches.{name}.rivals'!r}: {rival!r} is none of ropes"
                            f"{nearest(rival, self.recipes)}; expected some of {', '.join(self.recipes)}."
                        )
                    fixed = self.recipes[rival].at(factor) == self.recipes[rival]
                    rope = self.made_rope(rival, model, factor, rival if fixed else f"{rival}-{factor:g}x")
                    ropes.setdefault(rope.id, (rope, {**blank, "method": rival, "factor": None if fixed else factor}))
            for one in own:
                rope = self.found_rope(one, model)
                ropes[rope.id] = (rope, one.columns)
            corpora = self.corpora(model.tokenizer, None, "corpora")
            readings = [
                self.reading(join(name, "probe", model.id, rope.name), "probe", model, rope, corpora, options, columns)
                for rope, columns in ropes.values()
            ]
            called = self.report_name(name, given.models, model)
            self.report(
                "search",
                called,
                given.report,
                f"searches.{name}.report",
                readings=tuple(reading.id for reading in readings),
                searches=tuple(one.id for one in own),
            )

    # Readings

    def reading_rows(self, name: str, given: ReadingRows) -> None:
        rows = []
        for subjects in given.of:
            for model in self.all_models(subjects.models, f"readings.{name}.of.models"):
                corpora = self.text_of(given, model, name)
                for rope in self.all_ropes(subjects.ropes, model, f"readings.{name}.of.ropes"):
                    rows.append(self.reading_as(name, model, rope, corpora))
        rows = list({row.id: row for row in rows}.values())
        kind = {"nll": "perplexity"}.get(given.kind, given.kind)
        first = self.study.models[rows[0].model]
        self.report(
            kind,
            name,
            given.report,
            f"readings.{name}.report",
            readings=tuple(row.id for row in rows),
            model=first.id if kind == "perplexity" and first.kind == "pretrain" else None,
        )

    def text_of(self, given: ReadingRows, model: ModelRow, name: str) -> tuple[str, ...]:
        if given.kind in WITHOUT_TEXT:
            return ()
        return self.corpora(model.tokenizer, given.corpora, f"readings.{name}.corpora")

    def reading_as(
        self,
        name: str,
        model: ModelRow,
        rope: RopeRow,
        corpora: tuple[str, ...],
        called: str | None = None,
        **more: Any,
    ) -> ReadingRow:
        """A reading with the options of an experiment of ``readings``, under its name or another id."""
        options = self.reading_options(name, rope, **more)
        id_ = called or join(name, model.id, rope.name)
        return self.reading(id_, self.config.readings[name].kind, model, rope, corpora, options)

    def reading_options(self, name: str, rope: RopeRow | None = None, **more: Any) -> Options:
        given = self.config.readings[name]
        values = {**given.options, **more}
        # Another length at which dynamic ropes are read changes nothing for the others.
        if given.kind == "nll" and rope is not None and self.is_static(rope):
            values.pop("dynamic_lengths", None)
        return validate(READING_OPTIONS[given.kind], values, "config", keys=f"readings.{name}.options")

    def is_static(self, rope: RopeRow) -> bool:
        """Whether a rope surely does not change with the length."""
        if rope.search is not None and not rope.steps:
            return True
        if rope.file is not None or (rope.name == OWN and rope.table.model is not None):
            return False
        if rope.rope is not None and not self.is_static(self.study.ropes[rope.rope]):
            return False
        lists = [step["long_factor"] for step in rope.steps if isinstance(step.get("long_factor"), list)]
        pairs = len(lists[0]) if lists else (rope.table.head_dim or 64) // 2
        return bool(cook(default_rope(2 * pairs, 1e4, 128), rope.steps).static)

    def reading(
        self,
        id_: str,
        kind: str,
        model: ModelRow,
        rope: RopeRow,
        corpora: tuple[str, ...],
        options: Options,
        columns: Mapping[str, Any] | None = None,
    ) -> ReadingRow:
        known = {"reading": id_, "rope": rope.name}
        columns = {**model.columns, **known, **(columns or {})}
        return self.put(self.study.readings, ReadingRow(id_, kind, model.id, rope.id, corpora, options, columns))

    def sweep_report(self, name: str, given: SweepRows) -> None:
        spec = self.spec(given.read_as, "nll", f"sweeps.{name}.read_as")
        copy = self.spec(given.copy_as, "copying", f"sweeps.{name}.copy_as") if given.copy_as else None
        scaled = {
            (new_base, length, group.steps or given.options.get("steps"), seed)
            for base in self.all_models(given.models, name)
            for group in given.groups
            if group.log_scaling
            for new_base, length in _bases(group, _known(base.table, given))
            for seed in group.seeds
        }
        tuned = self.models(name, name)
        for base in self.all_models(given.models, name):
            readings = []
            own = [row for row in tuned if row.base == base.id]
            for row in own:
                assert isinstance(row.options, TuningOptions)
                assert row.rope is not None
                length, new_base = row.options.length, row.columns["base"]
                read_to = getattr(self.reading_options(given.read_as), "read_to", 0)
                if length >= read_to:
                    raise UserError(
                        f"the tuning length {length} is not below read_to of readings.{given.read_as}, {read_to}: no "
                        "limit could be seen."
                    )
                plain = self.study.ropes[row.rope]
                ropes = [("", plain)]
                if (new_base, length, row.options.steps, row.options.seed) in scaled:
                    steps = ({"method": "log_scaling", "length": length},)
                    log = self.rope_row(row.table, f"{plain.name}_log-{length}", Recipe(steps), rope=plain.id)
                    ropes.append(("log-scaled", log))
                for word, rope in ropes:
                    text = self.text_of(spec, row, given.read_as)
                    id_ = join(row.id, word)
                    read = self.reading_as(given.read_as, row, rope, text, join(id_, "nll"), window=length)
                    readings.append(read.id)
                    if copy is not None and given.copy_as:
                        readings.append(self.reading_as(given.copy_as, row, rope, (), join(id_, "copying")).id)
            called = self.report_name(name, given.models, base)
            self.report("scaling", called, given.report, f"sweeps.{name}.report", readings=tuple(readings))
            table = _known(base.table, given)
            if table.head_dim and table.base and table.length:
                cells = list(dict.fromkeys((row.columns["base"], row.columns["tune_length"]) for row in own))
                options = PredictionOptions(
                    head_dim=table.head_dim,
                    base=table.base,
                    length=table.length,
                    bases=tuple(cell[0] for cell in cells),
                    tune_lengths=tuple(cell[1] for cell in cells),
                )
                self.put(self.study.reports, ReportRow(f"predictions/{called}", "predictions", called, options))

    def tuning_report(self, name: str, given: TuningRows) -> None:
        if given.read_as is None:
            return
        spec = self.spec(given.read_as, "nll", f"tunings.{name}.read_as")
        for base in self.all_models(given.models, name):
            text = self.text_of(spec, base, given.read_as)
            ropes = self.all_ropes([*given.ropes, *given.untuned], base, f"tunings.{name}.untuned")
            untuned = [self.reading_as(given.read_as, base, rope, text) for rope in ropes]
            tuned = []
            for row in self.models(name, name):
                if row.base == base.id:
                    assert row.rope is not None
                    tuned.append(self.reading_as(given.read_as, row, self.study.ropes[row.rope], text))
            values = {"lengths": spec.report.get("lengths", []), "reference": ropes[0].name}
            self.report(
                "finetune",
                self.report_name(name, given.models, base),
                values,
                f"tunings.{name}",
                readings=tuple(row.id for row in [*untuned, *tuned]),
            )

    def spec(self, name: str, kind: str, key: str) -> ReadingRows:
        known = [each for each, one in self.config.readings.items() if one.kind == kind]
        if name not in known:
            raise ConfigError(
                f"config key {key!r}: there are no readings {name!r} of kind {kind}{nearest(name, known)}; expected "
                f"one of {', '.join(known) or 'none, for there are none'}."
            )
        return self.config.readings[name]

    # PosGen

    def posgen(self, name: str) -> None:
        given = self.config.posgen[name]
        options = given.options
        factor = given.factor or options.test_length / options.train_length
        ids: dict[str, str] = {}
        for rope, wanted in given.ropes.items():
            with _at(f"posgen.{name}.ropes.{rope}.recipe"):
                recipe = Recipe.parse(wanted.recipe).at(factor)
                if recipe.start is not None and recipe.start[0] != "file":
                    raise UserError("PosGen has a table of its own; expected methods, or a start from a file.")
            length = wanted.original_length or options.train_length
            table = Table(f"posgen/{name}", head_dim=options.head_dim, base=options.base, length=length)
            file = recipe.start[1] if recipe.start else None
            ids[rope] = self.rope_row(table, rope, recipe, file=file).id
        trained = tuple(ids[rope] for rope, wanted in given.ropes.items() if wanted.weights is None)
        others = [(rope, wanted) for rope, wanted in given.ropes.items() if wanted.weights is not None]
        swapped = tuple((ids[rope], str(wanted.weights)) for rope, wanted in others if not wanted.brief)
        brief = tuple((ids[rope], str(wanted.weights)) for rope, wanted in others if wanted.brief)
        tasks = [
            PosGenTask(f"{name}/{task}", name, task, options, given.scoring, given.layout, trained, swapped, brief)
            for task in given.tasks
        ]
        for task in tasks:
            self.put(self.study.posgen, task)
        self.report("posgen", name, {}, f"posgen.{name}", tasks=tuple(task.id for task in tasks))

    # What all share

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

    def report_name(self, name: str, models: Iterable[str], model: ModelRow) -> str:
        """The name of an experiment, and the model's where it has several."""
        several = len(self.all_models(list(models), name)) > 1
        return join(name, model.id if several else None)

    def report(
        self,
        kind: str,
        name: str,
        values: Mapping[str, Any],
        key: str,
        **rows: Any,
    ) -> None:
        shared = {"experiment": name, "confidence": self.config.confidence}
        options = validate(REPORT_OPTIONS[kind], values, "config", keys=key, fixed=shared)
        if kind in ("perplexity", "finetune"):
            self.check_lengths(kind, options, rows["readings"], key)
        self.put(self.study.reports, ReportRow(f"{kind}/{name}", kind, name, options, **rows))

    def check_lengths(self, kind: str, options: Options, readings: Sequence[str], key: str) -> None:
        """See that the reported lengths were read, and that the reference is among the ropes."""
        rows = [self.study.readings[each] for each in readings]
        lengths: tuple[int, ...] = getattr(options, "lengths")  # noqa: B009
        furthest = min(getattr(row.options, "read_to") for row in rows)  # noqa: B009
        if not lengths or len(set(lengths)) < len(lengths) or max(lengths) > furthest:
            raise ConfigError(
                f"config key {f'{key}.lengths'!r} is {list(lengths)}; expected different lengths up to read_to, "
                f"{furthest}."
            )
        # A report of tunings is told a rope, which every regime and seed has.
        names = labels([row.columns for row in rows])
        known = list(dict.fromkeys(row.columns["rope"] for row in rows)) if kind == "finetune" else names
        reference = getattr(options, "reference")  # noqa: B009
        if reference not in known:
            raise ConfigError(
                f"config key {f'{key}.reference'!r} is {reference!r}; expected one of {', '.join(known)}."
            )

    def put(self, table: dict[str, Row], row: Row) -> Row:
        """A row in its table; the same one may be put twice."""
        id_: str = row.id  # type: ignore[attr-defined]
        if id_ in table and table[id_] != row:
            raise UserError(f"two rows have the id {id_!r} and differ; rename what they are made of.")
        return table.setdefault(id_, row)


def _table(shape: ModelShape) -> Table:
    return Table(f"{shape.head_dim}-{shape.base:.10g}-{shape.length}", None, shape.head_dim, shape.base, shape.length)


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

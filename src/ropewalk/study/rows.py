"""The rows of a study's tables. A row says what it is made of; where its files lie is left to the workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ropewalk.corpora.options import CorpusOptions
from ropewalk.errors import UserError
from ropewalk.models.shape import ModelShape
from ropewalk.options import Options
from ropewalk.study.config import Config, RowSeeds
from ropewalk.training.options import Layout

OWN = "own"
"""In a list of ropes: the rope that a model was trained with. In the place of seeds: the seed of its training."""


def join(*parts: Any) -> str:
    """The one place where ids are made: parts joined by ``_``, without the empty ones. Nothing takes an id apart."""
    return "_".join(
        f"{part:.10g}" if isinstance(part, float) else str(part) for part in parts if part not in (None, "")
    )


@dataclass(frozen=True)
class Table:
    """A rotary table, where it is known without a model; else the model that has it.

    Attributes:
        id: names the table in files.
        model: id of the fetched model whose configuration holds it; None where it is known.
        head_dim, base, length: rotated dimensions, base, and length of pre-training in tokens, where they are known.
    """

    id: str
    model: str | None = None
    head_dim: int | None = None
    base: float | None = None
    length: int | None = None


@dataclass(frozen=True)
class RopeRow:
    """A rope for one rotary table.

    Attributes:
        id: names its file; made of the table's and its own name.
        name: in tables and figures.
        table: what it starts from, unless ``start`` says otherwise.
        steps: methods with their parameters.
        file: path of the rope that it starts from.
        rope: id of the rope that it starts from.
        search: id of the search whose rope it starts from.
    """

    id: str
    name: str
    table: Table
    steps: tuple[Mapping[str, Any], ...]
    file: str | None = None
    rope: str | None = None
    search: str | None = None


@dataclass(frozen=True)
class ModelRow:
    """A model: fetched, pre-trained here, or tuned from another.

    Attributes:
        id: names its folder.
        kind: ``fetch``, ``pretrain`` or ``tune``.
        table: the rotary table of its pre-training.
        tokenizer: id of the fetched model whose tokenizer it has, or ``byte``.
        corpora: ids of the corpora that it is trained on.
        source, revision: of a fetched model.
        shape: of a pre-trained model.
        options: of its training.
        layout: where its training runs.
        base: id of the model that was tuned.
        rope: id of the rope that it was tuned with.
        columns: what it is called in tables.
    """

    id: str
    kind: str
    table: Table
    tokenizer: str
    corpora: tuple[str, ...] = ()
    source: str | None = None
    revision: str | None = None
    shape: ModelShape | None = None
    options: Options | None = None
    layout: Layout = Layout()
    base: str | None = None
    rope: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadingRow:
    """A model that is read with a rope.

    Attributes:
        id: names its folder.
        kind: ``nll``, ``copying``, ``needle``, ``leval`` or ``probe``.
        model: id of the model.
        rope: id of the rope.
        corpora: ids of the corpora.
        options: of the kind.
        columns: what it is called in tables.
    """

    id: str
    kind: str
    model: str
    rope: str
    corpora: tuple[str, ...]
    options: Options
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchJob:
    """A search, which makes a rope.

    Attributes:
        id: names its folder.
        model: id of the model.
        corpora: ids of the corpora.
        options: of the search.
        workers: jobs that share its journal.
        columns: what it is called in tables.
    """

    id: str
    model: str
    corpora: tuple[str, ...]
    options: Options
    workers: int
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportRow:
    """A model with a rope, written for other engines.

    Attributes:
        id: names its folder.
        model: id of the model.
        rope: id of the rope.
        to: ``hf`` or ``gguf``.
        columns: what it is called in tables.
    """

    id: str
    model: str
    rope: str
    to: str
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PosGenTask:
    """The models of one task of a PosGen experiment.

    Attributes:
        id: names its folder.
        experiment: which it is a part of.
        task: rule of its sequences.
        options, scoring, layout: of the experiment.
        trained: ids of ropes that models are trained with.
        swapped: id of a rope and name of the rope whose weights it is read with.
        brief: the same, for ropes that are only tested.
    """

    id: str
    experiment: str
    task: str
    options: Options
    scoring: Options
    layout: Options
    trained: tuple[str, ...]
    swapped: tuple[tuple[str, str], ...]
    brief: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ReportRow:
    """What is said of some rows.

    Attributes:
        id: names its folder; made of its kind and its name.
        kind: which report.
        name: of the experiment.
        options: of the report.
        readings: ids of the readings that it compares, in order.
        searches: ids of searches.
        tasks: ids of PosGen tasks.
        model: id of a model that is shown too.
    """

    id: str
    kind: str
    name: str
    options: Options
    readings: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    model: str | None = None


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
    exports: dict[str, ExportRow] = field(default_factory=dict)
    posgen: dict[str, PosGenTask] = field(default_factory=dict)
    reports: dict[str, ReportRow] = field(default_factory=dict)

    def reports_of(self, *kinds: str) -> list[ReportRow]:
        """The reports of these kinds, in order; of every kind where none is named."""
        return [report for report in self.reports.values() if not kinds or report.kind in kinds]


def seeds_for(model: ModelRow, seeds: RowSeeds) -> tuple[int, ...]:
    """The seeds of the rows that are made of a model.

    Raises:
        UserError: it is to be the model's own, and it was not trained here.
    """
    if not isinstance(seeds, str):
        return seeds
    own = getattr(model.options, "seed", None)
    if own is None:
        raise UserError(f"seeds is {OWN!r}, and {model.id} was not trained here; expected a list of seeds.")
    return (int(own),)

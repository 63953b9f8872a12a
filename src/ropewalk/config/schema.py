"""The schema of a study's configuration: what may stand there, and what it means."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ropewalk.errors import UserError
from ropewalk.posgen.data import DataOptions
from ropewalk.posgen.tasks import Kind, Task
from ropewalk.rope.methods import METHODS, apply, default_rope
from ropewalk.rope.prediction import Setting
from ropewalk.rope.theory import critical_base, small_base_thresholds

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Tokens = Annotated[int, Field(ge=2)]


ALL = "all"
"""The name under which tables show all corpora together, as in ``evaluation.perplexity``."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@contextmanager
def _faults_of_a_key() -> Iterator[None]:
    """Let a fault that the package finds be one of the schema, which adds the key to the sentence."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error).rstrip(".")) from None


class FreshModel(Section):
    """Sizes of the Llama model that is made where `source` is `fresh`."""

    hidden_size: int = Field(128, ge=8, description="width of the residual stream")
    layers: int = Field(3, ge=1, description="decoder layers")
    heads: int = Field(2, ge=1, description="query heads; the head dimension is hidden_size / heads")
    kv_heads: int = Field(2, ge=1, description="key/value heads")
    intermediate_size: int = Field(256, ge=8, description="width of the feed-forward layers")
    base: float = Field(10000.0, gt=1, description="base of the rotary embedding")
    length: int = Field(128, ge=8, description="training length in tokens")

    @model_validator(mode="after")
    def _heads_fit(self) -> FreshModel:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} over {self.heads} heads gives no even head dimension")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")
        return self


class Model(Section):
    """The model whose context is lengthened."""

    source: str = Field(
        "fresh",
        pattern=r"^(fresh|hub:[^/]+/[^/]+|folder:.+|gguf:[^/]+/.+)$",
        description="fresh (pre-train a small one), hub:ORGANISATION/NAME, folder:PATH, or gguf:PACKAGE/FILE",
    )
    revision: str | None = Field(None, description="revision on the hub; a commit hash pins it")
    fresh: FreshModel = FreshModel()


class Pretraining(Section):
    """How a fresh model is trained."""

    steps: int = Field(2600, ge=1, description="optimiser steps")
    batch_size: int = Field(16, ge=1, description="sequences a step")
    copy_fraction: float = Field(
        0.5, ge=0, le=1, description="share of sequences that are periodic strings of digits, which teach copying"
    )
    learning_rate: float = Field(0.002, gt=0, description="its peak")
    warmup_steps: int = Field(100, ge=0, description="steps of linear rise to the peak")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="shape of the fall after it")
    final_fraction: float = Field(0.1, ge=0, le=1, description="learning rate at the end, as a share of the peak")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW, on matrices")
    clip_norm: float = Field(1.0, ge=0, description="largest norm of the gradient; 0 does not clip")
    accumulation: int = Field(1, ge=1, description="micro-batches a batch is cut into")
    checkpoint_every: int = Field(300, ge=1, description="steps between the checkpoints that a killed job resumes from")
    seed: int = Field(0, ge=0, description="of weights and data")

    @model_validator(mode="after")
    def _batches_can_be_cut(self) -> Pretraining:
        if self.batch_size % self.accumulation:
            raise ValueError(f"a batch of {self.batch_size} sequences cannot be cut into {self.accumulation} parts")
        return self


class Corpus(Section):
    """A corpus of documents."""

    source: str = Field(
        pattern=r"^(package:(books|government|mathematics)|hub:(pg19|govreport|proof-pile)|folder:.+)$",
        description="package:books, package:government, package:mathematics, folder:PATH, hub:pg19, hub:govreport "
        "or hub:proof-pile",
    )
    revision: str | None = Field(None, description="revision of a data set on the hub; a commit hash pins it")
    text_key: str = Field("text", description="key of the text in the lines of JSONL files")
    limit: int | None = Field(None, ge=1, description="read no more documents than this")


class NamedRope(Section):
    """A rope to evaluate: a method of the registry with its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: Name = Field(description="name in files, tables and figures")
    method: str = Field(description=f"one of {', '.join(METHODS)}")
    resonance: bool = Field(False, description="round the wavelengths to integers after everything else")

    @model_validator(mode="after")
    def _method_and_parameters_exist(self) -> NamedRope:
        if self.method not in METHODS:
            raise ValueError(f"method {self.method!r} is not known{nearest(self.method, METHODS)}")
        allowed = method_parameters(self.method)
        for key in self.model_extra or {}:
            if key not in allowed:
                have = ", ".join(allowed) or "no parameters"
                raise ValueError(f"method {self.method!r} has no parameter {key!r}; it has {have}")
        for key, parameter in allowed.items():
            needed = parameter.default is inspect.Parameter.empty and key != "factor"
            if needed and key not in (self.model_extra or {}):
                raise ValueError(f"method {self.method!r} needs the parameter {key!r}")
        given = self.parameters(factor=2.0)
        # Any table shows whether the values are good; a list of factors fixes how many pairs it must have.
        pairs = len(given["long_factor"]) if isinstance(given.get("long_factor"), list) else 32
        with _faults_of_a_key():
            apply(default_rope(2 * pairs, 1e4, 128), self.method, **given)
        return self

    def parameters(self, factor: float) -> dict[str, Any]:
        """Parameters for the method; ``factor`` serves where the method takes one and none is given."""
        given = dict(self.model_extra or {})
        return {"factor": factor, **given} if "factor" in method_parameters(self.method) else given


def _check_names(ropes: Sequence[NamedRope]) -> None:
    names = [rope.name for rope in ropes]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"rope name {name!r} stands for {names.count(name)} ropes")


class Extension(Section):
    """How far the context is lengthened, and by which ropes."""

    factor: float = Field(8.0, ge=1, description="target length over training length, where a rope names no other")
    ropes: list[NamedRope] = Field(min_length=1, description="the ropes to evaluate; a preset replaces the whole list")

    @model_validator(mode="after")
    def _names_differ(self) -> Extension:
        _check_names(self.ropes)
        return self


class Copying(Section):
    """Copy accuracy by distance."""

    gaps: list[Tokens] = Field(description="distances in tokens; the model reads twice as many. [] skips it")
    samples: int = Field(16, ge=2, description="strings a distance")
    seed: int = Field(0, ge=0, description="of the strings")


class Evaluation(Section):
    """What is measured, and on which documents."""

    split: Literal["train", "search", "selection", "test"] = Field("test", description="documents are split by hash")
    documents: int = Field(12, ge=1, description="documents of each corpus")
    lengths: list[Tokens] = Field(
        [64, 128, 256, 512, 1024, 2048],
        min_length=1,
        description="lengths in tokens; static ropes take one pass at the longest",
    )
    chunk: int = Field(1024, ge=1, description="tokens that go through the model at a time; bounds memory")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto is bfloat16 on a GPU and float32 on a CPU"
    )
    reference: str = Field("yarn", description="the rope that the others are compared with, document by document")
    confidence: float = Field(0.95, gt=0, lt=1, description="of every interval")
    copying: Copying


class PosGenRope(NamedRope):
    """A rope of PosGen: models are trained with it, unless it is put into the place of another at evaluation."""

    weights: Name | None = Field(
        None,
        description="read the weights that were trained with the rope of this name; none trains models of its own. Its "
        "validation curve is drawn while these train, so that a change trains them again, unless it is brief",
    )
    brief: bool = Field(False, description="tested only: no validation curve, no generated text, no run in MLflow")
    original_length: int | None = Field(
        None, ge=1, description="length in tokens that the method takes for the trained one, where it is another"
    )


class PosGen(Section):
    """A PosGen experiment; without a value here it is what the paper says, and where it is silent, the plainest."""

    tasks: list[Kind] = Field(
        ["recursive", "chain-of-thought", "semi-recursive"], min_length=1, description="rules that make sequences"
    )
    modulus: int = Field(17, ge=2, description="tokens are 0 to modulus - 1; the next is a sum modulo it")
    far: int = Field(1, ge=1, description="tokens that the sum reads at the far place")
    near: int = Field(3, ge=1, description="tokens that the sum reads at the end")
    starts: Literal["disjoint", "cycled"] = Field(
        "disjoint",
        description="first tokens: random, none in two splits (the paper), or cycled combinations (the released code)",
    )
    data_seed: int = Field(0, ge=0, description="of disjoint starts")
    train_sequences: int = Field(10_000, ge=1, description="sequences to train on")
    validation_sequences: int = Field(1_000, ge=1, description="sequences to validate on")
    test_sequences: int = Field(1_000, ge=1, description="sequences to test on")
    train_length: Tokens = Field(64, description="tokens of a training sequence")
    test_length: Tokens = Field(256, description="tokens of a validation or test sequence")
    hidden_size: int = Field(512, ge=1, description="width of the residual stream")
    layers: int = Field(2, ge=1, description="decoder layers; the released code has 6")
    heads: int = Field(8, ge=1, description="attention heads")
    head_dim: int = Field(64, ge=2, multiple_of=2, description="dimensions of a head, all rotated")
    intermediate_size: int = Field(2048, ge=1, description="width of the feed-forward layers")
    base: float = Field(10000.0, gt=1, description="base of the rotary embedding")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        [5549, 4955, 42, 3701, 49],
        min_length=2,
        description="one model a rope and seed; two at least, or there is no interval. These are the published ones",
    )
    steps: int = Field(11_850, ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=1, description="sequences of each model a step")
    learning_rate: float = Field(2e-4, gt=0, description="of AdamW, or its peak")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW, on all parameters")
    schedule: Literal["constant", "one-cycle"] = Field("constant", description="the released code has one-cycle")
    cycle_momentum: bool = Field(False, description="let one-cycle move beta1 too, as the released code does")
    dropout: float = Field(0.1, ge=0, lt=1, description="probability with which values are dropped")
    train_feed_forward: bool = Field(True, description="the released code leaves these layers as they were drawn")
    keep: Literal["last", "best"] = Field(
        "last", description="weights to test: the last, or of the best validation accuracy (the released code)"
    )
    validate_every: int = Field(158, ge=1, description="steps between validations")
    checkpoint_every: int = Field(500, ge=1, description="steps between the checkpoints that a killed job resumes from")
    precision: Literal["highest", "high"] = Field(
        "highest", description="of matrix products on a GPU: float32, or TF32"
    )
    factor: float | None = Field(
        None, ge=1, description="of the ropes that name no other; test_length / train_length where null"
    )
    generated_sequences: int = Field(100, ge=1, description="test sequences that models continue on their own")
    ropes: list[PosGenRope] = Field(
        min_length=1, description="ropes to train with, and ropes to put in their place at evaluation (weights: NAME)"
    )

    @model_validator(mode="after")
    def _experiment_is_possible(self) -> PosGen:
        _check_names(self.ropes)
        trained = [rope.name for rope in self.ropes if rope.weights is None]
        for rope in self.ropes:
            if rope.weights is not None and rope.weights not in trained:
                raise ValueError(
                    f"rope {rope.name!r} is to be read with the weights of {rope.weights!r}; expected one that models "
                    f"are trained with: {', '.join(trained) or 'there is none'}"
                )
            if rope.brief and rope.weights is None:
                raise ValueError(f"rope {rope.name!r} is brief and has no weights; expected the name of a trained rope")
        for values, what in ((self.seeds, "seeds"), (self.tasks, "tasks")):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} are {', '.join(map(str, values))}; expected different ones")
        if self.cycle_momentum and self.schedule != "one-cycle":
            raise ValueError(f"cycle_momentum needs the schedule one-cycle; it is {self.schedule}")
        if self.generated_sequences > self.test_sequences:
            raise ValueError(
                f"generated_sequences is {self.generated_sequences}; expected at most test_sequences, "
                f"{self.test_sequences}"
            )
        data = DataOptions(
            starts=self.starts,
            train_sequences=self.train_sequences,
            validation_sequences=self.validation_sequences,
            test_sequences=self.test_sequences,
            train_length=self.train_length,
            test_length=self.test_length,
        )
        with _faults_of_a_key():
            for kind in self.tasks:
                data.check(Task(kind, self.modulus, self.far, self.near))
        return self


BASE_NAMES = ("original", "beta0", "beta1", "beta2", "beta3")


def _base_is_known(value: Any) -> Any:
    if value in BASE_NAMES:
        return value
    number = value
    if isinstance(value, str):  # YAML reads 1e6 as one
        with suppress(ValueError):
            number = float(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 < number < math.inf:
        raise ValueError(f"base {value!r}: expected a number above 1, or one of {', '.join(BASE_NAMES)}")
    return number


Base = Annotated[float | str, BeforeValidator(_base_is_known)]


class Tuning(Section):
    """How each base is tuned: all weights, starting from one pre-trained model."""

    steps: int = Field(250, ge=1, description="optimiser steps")
    batch_tokens: int = Field(2048, ge=2, description="tokens a step, a multiple of every tuning length")
    copy_fraction: float = Field(0.25, ge=0, le=1, description="share of sequences that are periodic strings of digits")
    learning_rate: float = Field(1e-3, gt=0, description="its peak")
    warmup_steps: int = Field(20, ge=0, description="steps of linear rise to the peak")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="shape of the fall after it")
    final_fraction: float = Field(0.1, ge=0, le=1, description="learning rate at the end, as a share of the peak")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW, on matrices")
    clip_norm: float = Field(1.0, ge=0, description="largest norm of the gradient; 0 does not clip")
    accumulation: int = Field(1, ge=1, description="micro-batches a batch is cut into")
    checkpoint_every: int = Field(250, ge=1, description="steps between the checkpoints that a killed job resumes from")


class Sweep(Section):
    """Bases that are tuned alike: a cell for each base and seed."""

    length: Tokens | None = Field(None, description="tuning length in tokens; that of pre-training where null")
    bases: list[Base] = Field(
        min_length=1,
        description="numbers; or original; beta0, up to which the law speaks of no walls; beta1, beta2, beta3, the "
        "thresholds of small bases; rounded down, for this tuning length",
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1, description="of the data of tuning")
    steps: int | None = Field(None, ge=1, description="optimiser steps; those of `tuning` where null")
    log_scaling: bool = Field(False, description="read each cell a second time with log-scaled attention")


@dataclass(frozen=True)
class Cell:
    """One model of a sweep: what tells it from the others."""

    base: float
    length: int
    steps: int
    seed: int
    log_scaling: bool

    @property
    def name(self) -> str:
        return f"base-{self.base:.10g}_length-{self.length}_steps-{self.steps}_seed-{self.seed}"


class Table(Section):
    """The rotary table of a model that is not made here."""

    head_dim: int = Field(ge=2, multiple_of=2, description="rotated dimensions of a head")
    base: float = Field(gt=1, description="base of pre-training")
    length: Tokens = Field(description="length of pre-training in tokens")


class Scaling(Section):
    """A sweep of the base, read with the lengths, documents and copying of `evaluation`."""

    table: Table | None = Field(
        None,
        description="the table of a model that is not made here: with it bases can be named, and predictions need no "
        "model",
    )

    fresh: FreshModel | None = Field(
        None, description="sizes of a model that is pre-trained for this sweep; null takes that of the study"
    )
    pretraining: Pretraining | None = Field(None, description="how it is trained; null is as the study's")
    tuning: Tuning = Tuning()
    sweeps: list[Sweep] = Field(min_length=1, description="what is tuned; a preset replaces the whole list")
    thresholds: list[Annotated[float, Field(gt=0)]] = Field(
        [0.05, 0.1, 0.2],
        min_length=1,
        description="nats a token that reading everything may cost against reading the last tokens; predictors are "
        "held against the first",
    )
    smoothing: int | None = Field(
        None, ge=1, description="positions in the moving mean of that cost; a quarter of the pre-training where null"
    )
    perplexity_ratio: float = Field(1.1, gt=1, description="for the rule on perplexity: by how much it may rise")

    def cells(self, table: Table | None) -> list[Cell]:
        """The models to tune, in order; a cell that two sweeps name is one.

        Args:
            table: of the model that is tuned, where it is known: names of bases and lengths need it.

        Raises:
            UserError: a name where no table is known, or a cell that cannot be.
        """
        found: dict[str, Cell] = {}
        for sweep in self.sweeps:
            length = sweep.length or (table.length if table else None)
            if length is None:
                raise UserError(
                    "a sweep of a model that is not made here needs its length in tokens, or a table; null removes it"
                )
            if length % 2:
                raise UserError(f"length is {length}; expected an even number, for windows that overlap by half")
            if self.tuning.batch_tokens % length:
                raise UserError(
                    f"tuning.batch_tokens is {self.tuning.batch_tokens}; expected a multiple of the length {length}"
                )
            if self.tuning.batch_tokens // length % self.tuning.accumulation:
                raise UserError(
                    f"tuning.accumulation is {self.tuning.accumulation}; expected a divisor of the "
                    f"{self.tuning.batch_tokens // length} sequences of {length} tokens in a batch"
                )
            for named in sweep.bases:
                base = _base(named, length, table)
                if table is not None:
                    Setting(table.head_dim, table.base, table.length, length, base)
                for seed in sweep.seeds:
                    cell = Cell(base, length, sweep.steps or self.tuning.steps, seed, sweep.log_scaling)
                    scaled = cell.log_scaling or (cell.name in found and found[cell.name].log_scaling)
                    found[cell.name] = replace(cell, log_scaling=scaled)
        return list(found.values())


def _base(named: float | str, length: int, table: Table | None) -> float:
    if isinstance(named, float | int):
        return float(named)
    if named in ("beta1", "beta2", "beta3"):
        # Down, so that the base lies below the threshold that it is named after.
        return float(math.floor(small_base_thresholds(length)[int(named[-1]) - 1]))
    if table is None:
        raise UserError(
            f"the base {named!r} of a model that is not made here is not known; expected a number, or a table"
        )
    return table.base if named == "original" else float(math.floor(critical_base(table.base, table.length, length)))


class SearchKind(Section):
    """A sampler in a space."""

    sampler: Literal["gp", "tpe", "cma", "sobol", "evolution", "scan"] = Field(
        description="Bayesian optimisation, another of Optuna's samplers, a Sobol sequence, LongRoPE's evolution (of "
        "pairs), or a coordinate scan (of groups)"
    )
    space: Literal["ramp", "bands", "tail", "pairs", "groups"] = Field(
        description="six numbers; nine; a critical pair and all after it; every pair; eight groups in any order"
    )
    budget: int | None = Field(None, ge=1, description="trials; those of the experiment where null")

    @model_validator(mode="after")
    def _sampler_fits_the_space(self) -> SearchKind:
        only = {"evolution": "pairs", "scan": "groups"}.get(self.sampler, self.space)
        if self.space != only:
            raise ValueError(f"sampler {self.sampler!r} searches the space {only}, not {self.space}")
        return self


class Search(Section):
    """Searches of a rope without training, each kind for each factor and seed."""

    factors: list[Annotated[float, Field(gt=1)]] = Field(
        min_length=1, description="target lengths over the training length"
    )
    searches: list[SearchKind] = Field(min_length=1, description="others are compared with the first of them")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0, 1], min_length=1, description="of the proposals")
    budget: int = Field(64, ge=1, description="trials of a search, the hand-made ropes among them")
    corpora: list[Name] | None = Field(
        None, description="names of the corpora to search on; all where null. Tests are on all of them"
    )
    documents: int = Field(
        6, ge=1, description="documents of each corpus to search on, and as many to choose the best trial on"
    )
    test_documents: int = Field(6, ge=1, description="documents of each corpus to test found ropes on")
    retrieval: Literal["needle", "copy", "none"] = Field(
        "needle", description="answers that the objective asks for: a hidden fact, digits to copy, or none"
    )
    short_cost: float | None = Field(
        None,
        ge=0,
        description="nats a token that texts up to the training length may cost; what YaRN costs and 0.02 where null",
    )
    prune: bool = Field(False, description="stop trials that are already seen to be worse than the best")
    patience: int | None = Field(None, ge=1, description="stop after so many trials without progress; never where null")
    candidates: int = Field(5, ge=1, description="best trials among which the split selection decides")
    answer_seed: int = Field(0, ge=0, description="of hidden facts and digits")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="of the weights")
    workers: int = Field(
        0, ge=0, description="jobs that share the journal of one search, for models whose trials take minutes"
    )

    @model_validator(mode="after")
    def _searches_differ(self) -> Search:
        names = [f"{kind.sampler} of {kind.space}" for kind in self.searches]
        for values, what in ((names, "searches"), (self.factors, "factors"), (self.seeds, "seeds")):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} are {', '.join(map(str, values))}; expected different ones")
        return self

    @property
    def studies(self) -> dict[str, dict[str, Any]]:
        """The options of each search by its name."""
        shared = self.model_dump(
            include={
                "documents",
                "retrieval",
                "short_cost",
                "prune",
                "patience",
                "candidates",
                "answer_seed",
                "dtype",
            }
        )
        return {
            f"{kind.sampler}-{kind.space}-{factor:g}x-seed-{seed}": {
                "factor": factor,
                "sampler": kind.sampler,
                "space": kind.space,
                "budget": kind.budget or self.budget,
                "seed": seed,
                **shared,
            }
            for factor in self.factors
            for kind in self.searches
            for seed in self.seeds
        }


class Resources(Section):
    """What one job of a stage asks of a cluster, and how many threads it gets on any machine."""

    threads: int = Field(1, ge=1, description="CPU threads")
    mem_mb: int = Field(4000, ge=500, description="memory in MB; a retry asks for twice as much")
    runtime: int = Field(60, ge=1, description="minutes; a retry asks for twice as much")
    gpu: int = Field(0, ge=0, description="GPUs; asked of a cluster, used where there are any")


class StageResources(Section):
    """Resources by stage."""

    corpora: Resources = Resources(runtime=30)
    model: Resources = Resources(threads=2, mem_mb=8000, runtime=120, gpu=1)
    evaluate: Resources = Resources(gpu=1)
    posgen: Resources = Resources(threads=2, gpu=1)
    tuning: Resources = Resources(runtime=120, gpu=1)
    search: Resources = Resources(runtime=120, gpu=1)


class Config(Section):
    """A study."""

    name: Name = Field("default", description="results go to results/NAME, experiments are called NAME/STAGE")
    model: Model = Model()
    pretraining: Pretraining = Pretraining()
    corpora: dict[Name, Corpus | None] = Field(description="corpora by name; a preset removes one by null")
    extension: Extension
    evaluation: Evaluation
    posgen: dict[Name, PosGen | None] = Field(
        {}, description="PosGen experiments by name; a preset removes one by null"
    )
    scaling: dict[Name, Scaling | None] = Field(
        {}, description="sweeps of the base by name; a preset removes one by null"
    )
    search: dict[Name, Search | None] = Field({}, description="searches by name; a preset removes one by null")
    resources: StageResources = StageResources()

    @model_validator(mode="after")
    def _parts_fit(self) -> Config:
        if not any(self.corpora.values()):
            raise ValueError("corpora: expected at least one")
        if ALL in self.used_corpora:
            raise ValueError(f"corpora: the name {ALL!r} stands for all of them together; expected another")
        if len(set(self.evaluation.lengths)) < len(self.evaluation.lengths):
            raise ValueError(f"evaluation.lengths: expected different lengths, not {self.evaluation.lengths}")
        names = [rope.name for rope in self.extension.ropes]
        if self.evaluation.reference not in names:
            raise ValueError(
                f"evaluation.reference: {self.evaluation.reference!r} is no rope of extension.ropes; "
                f"expected one of {', '.join(names)}"
            )
        for name, experiment in self.used_search.items():
            unknown = sorted(set(experiment.corpora or []) - set(self.used_corpora))
            if unknown:
                raise ValueError(
                    f"search.{name}.corpora: {unknown[0]!r} is no corpus of this study; expected some of "
                    f"{', '.join(self.used_corpora)}"
                )
        for name, sweep in self.used_scaling.items():
            if self.model.source != "fresh" and (sweep.fresh or sweep.pretraining):
                raise ValueError(f"scaling.{name}: a model of its own needs model.source fresh, for text in its tokens")
            if sweep.pretraining and not sweep.fresh:
                raise ValueError(f"scaling.{name}.pretraining: expected with `fresh`, a model of its own, only")
            if self.model.source == "fresh" and sweep.table:
                raise ValueError(f"scaling.{name}.table: a model that is made here has the table of its own shape")
            try:
                longest = max(cell.length for cell in self.cells(name))
            except UserError as error:
                raise ValueError(f"scaling.{name}: {str(error).rstrip('.')}") from None
            if longest >= max(self.evaluation.lengths):
                raise ValueError(
                    f"scaling.{name}: the tuning length {longest} is not below the longest of evaluation.lengths, "
                    f"{max(self.evaluation.lengths)}: no limit could be seen"
                )
        return self

    @property
    def used_corpora(self) -> dict[str, Corpus]:
        return {name: corpus for name, corpus in self.corpora.items() if corpus is not None}

    @property
    def used_scaling(self) -> dict[str, Scaling]:
        return {name: sweep for name, sweep in self.scaling.items() if sweep is not None}

    def table(self, name: str) -> Table | None:
        """The rotary table of a sweep's model, where it is known without the model."""
        sweep = self.used_scaling[name]
        shape = sweep.fresh or (self.model.fresh if self.model.source == "fresh" else None)
        if shape is None:
            return sweep.table
        return Table(head_dim=shape.hidden_size // shape.heads, base=shape.base, length=shape.length)

    def cells(self, name: str) -> list[Cell]:
        """The cells of a sweep.

        Raises:
            UserError: one of them cannot be.
        """
        return self.used_scaling[name].cells(self.table(name))

    @property
    def used_search(self) -> dict[str, Search]:
        return {name: experiment for name, experiment in self.search.items() if experiment is not None}

    def search_corpora(self, name: str) -> list[str]:
        """Names of the corpora that an experiment searches on."""
        return self.used_search[name].corpora or list(self.used_corpora)

    @property
    def used_posgen(self) -> dict[str, PosGen]:
        return {name: experiment for name, experiment in self.posgen.items() if experiment is not None}


def method_parameters(method: str) -> dict[str, inspect.Parameter]:
    """The keyword parameters of a rope method."""
    parameters = inspect.signature(METHODS[method], eval_str=True).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def nearest(word: str, known: Any) -> str:
    """What a mistyped word may have meant, as the end of a sentence; nothing where nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

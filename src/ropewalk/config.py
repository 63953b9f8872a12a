"""The configuration of a study: one schema that checks it, documents it, and writes the commented default.

``config/default.yaml`` and ``config/schema.json`` are generated (``ropewalk config default``, ``ropewalk config
schema``); a preset such as ``config/smollm2.yaml`` holds only what differs.
"""

from __future__ import annotations

import difflib
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from ropewalk.errors import UserError
from ropewalk.posgen.data import DataOptions
from ropewalk.posgen.tasks import Kind, Task
from ropewalk.rope.methods import METHODS, apply, default_rope

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
            raise ValueError(f"method {self.method!r} is not known{_nearest(self.method, METHODS)}")
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
        return self

    @property
    def used_corpora(self) -> dict[str, Corpus]:
        return {name: corpus for name, corpus in self.corpora.items() if corpus is not None}

    @property
    def used_posgen(self) -> dict[str, PosGen]:
        return {name: experiment for name, experiment in self.posgen.items() if experiment is not None}


_POSGEN_YARN = {"method": "yarn_written", "beta": 2.0, "mixing": "wavelength"}

DEFAULTS: dict[str, Any] = {
    "corpora": {
        "books": {"source": "package:books"},
        "government": {"source": "package:government"},
        "mathematics": {"source": "package:mathematics"},
    },
    "extension": {
        "ropes": [
            {"name": "none", "method": "default"},
            {"name": "pi", "method": "pi"},
            {"name": "ntk", "method": "ntk"},
            {"name": "ntk-critical", "method": "ntk_critical"},
            {"name": "ntk-critical-discrete", "method": "ntk_critical", "inverse": "discrete"},
            {"name": "abf-1e6", "method": "abf", "new_base": 1000000.0},
            {"name": "ntk-by-parts", "method": "ntk_by_parts"},
            {"name": "yarn", "method": "yarn"},
            {"name": "yarn-written", "method": "yarn_written"},
            {"name": "dynamic-ntk", "method": "dynamic_ntk", "factor": 2.0},
            {"name": "llama3", "method": "llama3"},
            {"name": "mrrope-uni", "method": "mrrope_uni"},
            {"name": "mrrope-pro", "method": "mrrope_pro"},
            {"name": "p-rope", "method": "p_rope", "p": 0.35},
            {"name": "log-scaling", "method": "log_scaling"},
            {"name": "resonance", "method": "default", "resonance": True},
            {"name": "resonance-yarn", "method": "yarn", "resonance": True},
        ]
    },
    "evaluation": {"copying": {"gaps": [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]}},
    "posgen": {
        "embedded": {
            "modulus": 7,
            "train_sequences": 1500,
            "validation_sequences": 30,
            "test_sequences": 100,
            "train_length": 32,
            "test_length": 128,
            "hidden_size": 64,
            "heads": 2,
            "head_dim": 32,
            "intermediate_size": 128,
            "steps": 288,
            "batch_size": 24,
            "learning_rate": 0.003,
            "schedule": "one-cycle",
            "dropout": 0.0,
            "validate_every": 32,
            "checkpoint_every": 50,
            "generated_sequences": 50,
            "ropes": [
                {"name": "rope", "method": "default"},
                {"name": "resonance", "method": "default", "resonance": True},
                {"name": "yarn", **_POSGEN_YARN},
                {"name": "resonance-yarn", **_POSGEN_YARN, "resonance": True},
                {"name": "yarn-swapped", **_POSGEN_YARN, "weights": "rope"},
                {"name": "resonance-yarn-swapped", **_POSGEN_YARN, "resonance": True, "weights": "resonance"},
                *(
                    {**rope, "weights": "rope", "brief": True}
                    for rope in (
                        {"name": "pi", "method": "pi"},
                        {"name": "ntk", "method": "ntk"},
                        {"name": "ntk-critical", "method": "ntk_critical"},
                        {"name": "abf-1e6", "method": "abf", "new_base": 1000000.0},
                        {"name": "ntk-by-parts", "method": "ntk_by_parts"},
                        {"name": "yarn-coded", "method": "yarn"},
                        {"name": "dynamic-ntk", "method": "dynamic_ntk"},
                        {"name": "llama3", "method": "llama3"},
                        {"name": "mrrope-uni", "method": "mrrope_uni"},
                        {"name": "mrrope-pro", "method": "mrrope_pro"},
                        {"name": "p-rope", "method": "p_rope", "p": 0.35},
                        {"name": "log-scaling", "method": "log_scaling"},
                        {"name": "resonance-swapped", "method": "default", "resonance": True},
                    )
                ),
            ],
        }
    },
}
"""What the default study sets beyond the defaults of the schema."""


def method_parameters(method: str) -> dict[str, inspect.Parameter]:
    """The keyword parameters of a rope method."""
    parameters = inspect.signature(METHODS[method], eval_str=True).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def check_config(values: Mapping[str, Any]) -> Config:
    """Check a configuration.

    Raises:
        UserError: one sentence for the first fault that names the key, the value and what is allowed.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        # A mistyped key explains the missing one beside it.
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        more = f" ({error.error_count() - 1} more faults)" if error.error_count() > 1 else ""
        raise UserError(_sentence(first) + more) from None


def _sentence(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        siblings = _fields_at(fault["loc"][:-1])
        nearest = _nearest(str(fault["loc"][-1]), siblings)
        return f"config key {key!r} is not known{nearest}; allowed: {', '.join(siblings)}."
    if fault["type"] == "missing":
        return f"config key {key!r} is missing; it has no default."
    if fault["type"] == "value_error":
        reason = str(fault["ctx"]["error"])
        return f"config{f' key {key!r}' if key else ''}: {reason}."
    if fault["type"] == "string_pattern_mismatch":
        return f"config key {key!r} is {fault['input']!r}; expected {_description(fault['loc'])}."
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"config key {key!r} is {fault['input']!r}: {message}."


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    """Names of the keys that the schema allows at a place in the configuration."""
    section = _section_at(location)
    return list(section.model_fields) if section else []


def _description(location: tuple[Any, ...]) -> str:
    """What the schema says of a key."""
    section = _section_at(location[:-1])
    known = section.model_fields.get(str(location[-1])) if section else None
    return known.description or "" if known else "letters, digits, '_', '-' and '.' only"


def _section_at(location: tuple[Any, ...]) -> type[BaseModel] | None:
    here: Any = Config
    for part in location:
        here = here.model_fields[part].annotation if _is_section(here) else get_args(here)[-1]
        if get_origin(here) not in (dict, list):
            here = next((kind for kind in get_args(here) if _is_section(kind)), here)
    return here if _is_section(here) else None


def _is_section(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseModel)


def default_config() -> Config:
    """The default study."""
    return check_config(DEFAULTS)


def json_schema() -> str:
    """The JSON schema, for editors that complete and check YAML."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


def default_yaml() -> str:
    """The default study as YAML, each key with its description."""
    head = (
        "# yaml-language-server: $schema=schema.json\n"
        "# The default study. Generated by `ropewalk config default` from src/ropewalk/config.py: change it there,\n"
        "# or write a preset that holds only what differs and pass it with --configfile.\n"
    )
    return head + "".join(_yaml_lines(default_config(), 0))


def _yaml_lines(section: BaseModel, depth: int) -> list[str]:
    pad, lines = "  " * depth, []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            note = inspect.getdoc(type(value)) or ""
            lines += ["\n"] * (depth == 0) + _comment(note, pad) + [f"{pad}{name}:\n", *_yaml_lines(value, depth + 1)]
        elif name == "corpora":
            lines += ["\n", *_comment(_describe(field), pad), f"{pad}{name}:\n"]
            for key, corpus in value.items():
                lines.append(f"{pad}  {key}: {_flow(corpus.model_dump(exclude_unset=True))}\n")
        elif name == "posgen":
            lines += ["\n", *_comment(_describe(field), pad), f"{pad}{name}:\n"]
            for key, experiment in value.items():
                note = inspect.getdoc(type(experiment)) or ""
                lines += [*_comment(note, f"{pad}  "), f"{pad}  {key}:\n", *_yaml_lines(experiment, depth + 2)]
        elif name == "ropes":
            lines += [*_comment(_describe(field), pad), f"{pad}{name}:\n"]
            lines += [f"{pad}  - {_flow(rope.model_dump(exclude_unset=True))}\n" for rope in value]
        else:
            lines += [*_comment(_describe(field), pad), f"{pad}{name}: {_flow(value)}\n"]
    return lines


def _describe(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    allowed = f" ({', '.join(map(str, choices))})" if choices else ""
    return f"{field.description or ''}{allowed}"


def _comment(text: str, pad: str) -> list[str]:
    return [f"{pad}# {line}\n" for line in textwrap.wrap(text, 110 - len(pad))]


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("\n...\n").strip()

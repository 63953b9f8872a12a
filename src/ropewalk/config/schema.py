"""The schema of a study's configuration: what may stand there, and what it means."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ropewalk.config.finetune import Finetune, Subject
from ropewalk.config.models import Model, Pretraining
from ropewalk.config.posgen import PosGen
from ropewalk.config.retrieval import LEval, Needle
from ropewalk.config.ropes import NamedRope, check_names
from ropewalk.config.scaling import Cell, Scaling, Table
from ropewalk.config.search import Search
from ropewalk.config.section import Name, Section, Tokens
from ropewalk.errors import UserError

ALL = "all"
"""The name under which tables show all corpora together, as in ``evaluation.perplexity``."""


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


class Extension(Section):
    """How far the context is lengthened, and by which ropes."""

    factor: float = Field(8.0, ge=1, description="target length over training length, where a rope names no other")
    ropes: list[NamedRope] = Field(min_length=1, description="the ropes to evaluate; a preset replaces the whole list")

    @model_validator(mode="after")
    def _names_differ(self) -> Extension:
        check_names(self.ropes)
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


class Resources(Section):
    """What one job of a stage asks of a cluster, and how many threads it gets on any machine."""

    threads: int = Field(1, ge=1, description="CPU threads")
    mem_mb: int = Field(4000, ge=500, description="memory in MB; a retry asks for twice as much")
    runtime: int = Field(60, ge=1, description="minutes; a retry asks for twice as much")
    gpu: int = Field(0, ge=0, description="GPUs; asked of a cluster, used where there are any")


class NodeResources(Resources):
    """What one training asks of a cluster on each of its nodes, and how many threads it gets on any machine."""

    nodes: int = Field(1, ge=1, description="nodes of a Slurm cluster that share one training")

    @model_validator(mode="after")
    def _processes_have_gpus(self) -> NodeResources:
        if self.nodes > 1 and not self.gpu:
            raise ValueError("several nodes share a training among their GPUs; expected gpu")
        return self


class StageResources(Section):
    """Resources by stage."""

    corpora: Resources = Resources(runtime=30)
    model: Resources = Resources(threads=2, mem_mb=8000, runtime=120, gpu=1)
    evaluate: Resources = Resources(gpu=1)
    posgen: Resources = Resources(threads=2, gpu=1)
    tuning: Resources = Resources(runtime=120, gpu=1)
    search: Resources = Resources(runtime=120, gpu=1)
    finetune: NodeResources = NodeResources(runtime=240, gpu=1)
    retrieval: Resources = Resources(runtime=240, gpu=1)


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
    finetune: dict[Name, Finetune | None] = Field({}, description="fine-tunings by name; a preset removes one by null")
    leval: dict[Name, LEval | None] = Field({}, description="L-Eval by name; a preset removes one by null")
    needle: dict[Name, Needle | None] = Field({}, description="hidden facts by name; a preset removes one by null")
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
        for name, tuning in self.used_finetune.items():
            for rope in [*tuning.ropes, *tuning.untuned]:
                if rope not in names:
                    raise ValueError(
                        f"finetune.{name}: {rope!r} is no rope of extension.ropes; expected one of {', '.join(names)}"
                    )
            unknown = sorted(set(tuning.corpora or []) - set(self.used_corpora))
            if unknown:
                raise ValueError(
                    f"finetune.{name}.corpora: {unknown[0]!r} is no corpus of this study; expected some of "
                    f"{', '.join(self.used_corpora)}"
                )
        for section, experiments in (("leval", self.used_leval), ("needle", self.used_needle)):
            for name, asked in experiments.items():
                for subject in asked.subjects:
                    self._check_subject(f"{section}.{name}.subjects", subject)
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

    def _check_subject(self, key: str, subject: Subject) -> None:
        experiment, _, rest = (subject.tuned or subject.found or "").partition("/")
        if subject.rope:
            wanted, known = subject.rope, [rope.name for rope in self.extension.ropes]
        elif subject.tuned:
            tuning = self.used_finetune.get(experiment)
            wanted, known = rest, list(tuning.trainings) if tuning else []
        else:
            search = self.used_search.get(experiment)
            wanted, known = rest, list(search.studies) if search else []
        if wanted not in known:
            what = "rope of extension.ropes" if subject.rope else f"result of {experiment!r}"
            raise ValueError(f"{key}: {wanted!r} is no {what}; expected one of {', '.join(known) or 'none'}")

    @property
    def used_leval(self) -> dict[str, LEval]:
        return {name: asked for name, asked in self.leval.items() if asked is not None}

    @property
    def used_needle(self) -> dict[str, Needle]:
        return {name: asked for name, asked in self.needle.items() if asked is not None}

    @property
    def used_finetune(self) -> dict[str, Finetune]:
        return {name: experiment for name, experiment in self.finetune.items() if experiment is not None}

    @property
    def used_posgen(self) -> dict[str, PosGen]:
        return {name: experiment for name, experiment in self.posgen.items() if experiment is not None}

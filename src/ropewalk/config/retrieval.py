"""What is asked of models with ropes: the closed-ended tasks of L-Eval, and facts hidden in long texts."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from ropewalk.config.finetune import Subject
from ropewalk.config.section import Section, Tokens


def _subjects_differ(subjects: list[Subject]) -> list[Subject]:
    names = [subject.name for subject in subjects]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} stands there {names.count(name)} times; expected different subjects")
    return subjects


Subjects = Annotated[
    list[Subject],
    Field(
        min_length=1,
        description="models with ropes: {rope: NAME}, {tuned: EXPERIMENT/ROPE/REGIME/seed-N} or {found: "
        "EXPERIMENT/SEARCH}; the others are compared with the first",
    ),
    AfterValidator(_subjects_differ),
]
Task = Literal["tpo", "quality", "coursera", "sci_fi", "gsm100", "codeU", "topic_retrieval_longchat"]


class Needle(Section):
    """Facts hidden in long texts, by length and depth."""

    subjects: Subjects
    tasks: list[
        Literal["single", "passkey", "digits", "multi-key", "multi-value", "variable-tracking", "common-words"]
    ] = Field(
        ["single", "multi-key", "multi-value", "variable-tracking", "common-words", "passkey"],
        min_length=1,
        description="what is hidden and asked; `ropewalk needle measure --help` says more",
    )
    lengths: list[Tokens] = Field(min_length=1, description="tokens of a prompt, its answer included")
    depths: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        [0, 0.25, 0.5, 0.75, 1], min_length=1, description="where the asked fact stands, as shares of the text"
    )
    samples: int = Field(12, ge=1, description="prompts a task, length and depth")
    by: Literal["generation", "nll"] = Field(
        "generation", description="what the model says; or how likely the answer is to it, for small models"
    )
    seed: int = Field(0, ge=0, description="of all prompts")
    split: Literal["train", "search", "selection", "test"] = Field("test", description="documents to hide facts in")
    chunk: int = Field(1024, ge=1, description="tokens that go through the model at a time")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="of the weights")

    @model_validator(mode="after")
    def _parts_fit(self) -> Needle:
        if sorted(set(self.lengths)) != self.lengths:
            raise ValueError(f"lengths are {self.lengths}; expected ascending ones")
        return self


class Pocket(Section):
    """The bundled tasks, made of invented people and places."""

    documents: int = Field(6, ge=1, description="of each task")
    questions: int = Field(2, ge=1, description="on each document")
    words: int = Field(60, ge=50, description="of each document, about")
    seed: int = Field(0, ge=0, description="of names, places and numbers")


class LEval(Section):
    """Questions on long documents, with answers that are right or wrong."""

    data: str = Field(
        "pocket",
        pattern=r"^(pocket|folder:.+|hub:[^/]+/[^/]+)$",
        description="pocket (made here), folder:PATH with TASK.jsonl files, or hub:L4NLP/LEval",
    )
    revision: str | None = Field(None, description="revision on the hub; a commit hash pins it")
    pocket: Pocket = Pocket()
    subjects: Subjects
    tasks: list[Task] = Field(
        list(get_args(Task)),
        min_length=1,
        description="by the names of their files",
    )
    context: Tokens = Field(16000, description="tokens of a document and its answer together; longer ones are cut")
    max_new_tokens: int = Field(512, ge=1, description="most tokens of an answer")
    documents: int | None = Field(None, ge=1, description="at most so many of each task")
    questions: int | None = Field(None, ge=1, description="at most so many on each document")
    prompts: str | None = Field(None, description="folder of TASK.toml prompt templates; our own where null")
    parity: bool = Field(False, description="leave the user's turn open where the original does")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="of the weights")
    rows: int = Field(8, ge=1, description="questions that are answered together")

    @model_validator(mode="after")
    def _parts_fit(self) -> LEval:
        if self.max_new_tokens >= self.context:
            raise ValueError(f"max_new_tokens {self.max_new_tokens} leaves nothing of the context {self.context}")
        return self

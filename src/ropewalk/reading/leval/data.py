"""Documents with their questions and right answers, from a folder or from the raw files on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError
from ropewalk.reading.leval.lines import json_lines
from ropewalk.reading.leval.tasks import ExamTask

HUB = "hub:L4NLP/LEval"
HUB_FOLDER = "LEval/Exam"


@dataclass(frozen=True)
class ExamDocument:
    """A text, its questions, and their right answers in the same order."""

    text: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class DataSource:
    """Where tasks come from: ``folder`` and a path with a JSONL file a task, or ``hub`` and a data set of such."""

    kind: str
    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> DataSource:
        """Read ``folder:PATH``, ``hub:ORGANISATION/NAME``, or a plain path.

        Raises:
            UserError: it is none of these.
        """
        kind, colon, name = text.partition(":")
        if not colon:
            kind, name = "folder", text
        if kind not in ("folder", "hub") or not name:
            raise UserError(f"tasks {text!r}: expected folder:PATH or {HUB}.")
        return cls(kind, name, revision)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" + (f" at revision {self.revision}" if self.revision else "")

    def file(self, task: ExamTask) -> Path:
        """The JSONL file of a task.

        Raises:
            UserError: there is none, or the hub cannot be reached.
        """
        if self.kind == "folder":
            path = Path(self.name) / f"{task.name}.jsonl"
            if not path.is_file():
                raise UserError(
                    f"task folder {self.name}: no {path.name} there; expected the task's JSON lines, as "
                    "huggingface.co/datasets/L4NLP/LEval has them in LEval/Exam, or data: hub:L4NLP/LEval."
                )
            return path
        from huggingface_hub import hf_hub_download

        try:
            return Path(
                hf_hub_download(
                    self.name, f"{HUB_FOLDER}/{task.name}.jsonl", repo_type="dataset", revision=self.revision
                )
            )
        except Exception as error:
            text = " ".join(str(error).split())
            raise UserError(
                f"tasks {self}: {task.name}.jsonl cannot be had from the Hugging Face hub ({text[:200]}); "
                "check the network, or name a downloaded copy as folder:PATH."
            ) from error


def load_task(source: DataSource, task: ExamTask) -> list[ExamDocument]:
    """The documents of a task.

    Raises:
        UserError: the file is missing, or a line is malformed or lacks something.
    """
    path = source.file(task)
    documents = [_document(path, line, value) for line, value in json_lines(path, "an L-Eval task")]
    if not documents:
        raise UserError(f"{path} holds no lines; expected an L-Eval task.")
    return documents


def _document(path: Path, line: int, value: dict[str, Any]) -> ExamDocument:
    for key in ("input", "instructions", "outputs"):
        if key not in value:
            raise UserError(f"{path}:{line} has no key {key!r}; expected input, instructions and outputs.")
    text = value["input"]
    if not isinstance(text, str):
        raise UserError(f"{path}:{line} input is a {type(text).__name__}; expected a text.")
    questions, answers = (_texts(path, line, key, value[key]) for key in ("instructions", "outputs"))
    if len(questions) != len(answers):
        raise UserError(
            f"{path}:{line} has {len(questions)} instructions and {len(answers)} outputs; expected one output each."
        )
    return ExamDocument(text, questions, answers)


def _texts(path: Path, line: int, key: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not all(isinstance(one, str) for one in values):
        raise UserError(f"{path}:{line} {key} is no list of texts; expected one.")
    return tuple(values)

"""Documents with their questions and right answers, from a folder or from the raw files on the hub."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError
from ropewalk.files import whole_folder, write_json
from ropewalk.hub import refusal
from ropewalk.reading.leval.lines import json_lines
from ropewalk.reading.leval.tasks import TASKS, ExamTask

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

        name = f"{HUB_FOLDER}/{task.name}.jsonl"
        try:
            return Path(hf_hub_download(self.name, name, repo_type="dataset", revision=self.revision))
        except Exception as error:
            said = refusal(f"tasks {self}: {task.name}.jsonl", error, "data set")
            raise said or UserError(f"tasks {self}: {task.name}.jsonl cannot be had ({error}).") from error


def fetch(source: DataSource, folder: Path) -> None:
    """Put all tasks of a source into ``folder``, whole or not at all; ``source.json`` says where they came from.

    Raises:
        UserError: a task is missing, malformed, or cannot be had.
    """
    commit = None
    if source.kind == "hub":
        # In the hub's cache a file lies below the commit that it is of; the others are taken from the same one.
        commit = source.file(TASKS["tpo"]).parents[2].name
        source = DataSource(source.kind, source.name, commit)
    files = {task.name: source.file(task) for task in TASKS.values()}
    with whole_folder(folder) as temporary:
        for name, path in files.items():
            shutil.copyfile(path, temporary / f"{name}.jsonl")
        for task in TASKS.values():
            load_task(DataSource("folder", str(temporary)), task)
        write_json(temporary / "source.json", {"kind": source.kind, "name": source.name, "revision": commit})


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

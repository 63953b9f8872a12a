"""The seven closed-ended tasks, and how a file's task is told from its name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from ropewalk.errors import UserError

Kind = Literal["choice", "choices", "number", "code", "topic", "judgement"]
"""What an answer is: one option, one or several, a number, what a program prints, a topic, or true/false twice."""
GUESSED: Mapping[Kind, float] = MappingProxyType({"choice": 25.0, "choices": 25.0, "judgement": 50.0})
"""Percent that guessing gives, where it gives any: one of four options, true or false. Of several options all must be
right, so that it gives less; the larger number asks more of a model."""


@dataclass(frozen=True)
class ExamTask:
    """One task.

    Attributes:
        name: of its files.
        title: its name in the paper.
        kind: what an answer is.
        mark: a file whose path holds this belongs to the task.
        keeps_end: a document that is too long loses its start, since what matters stands at its end.
        parts: what is scored apart before the mean is taken.
    """

    name: str
    title: str
    kind: Kind
    mark: str
    keeps_end: bool = False
    parts: tuple[str, ...] = ("all",)


TASKS: Mapping[str, ExamTask] = MappingProxyType(
    {
        task.name: task
        for task in (
            ExamTask("tpo", "TOEFL", "choice", "tpo"),
            ExamTask("quality", "QuALITY", "choice", "quality"),
            ExamTask("coursera", "Coursera", "choices", "coursera"),
            ExamTask("sci_fi", "SFiction", "judgement", "sci_fi", parts=("loyalty", "fact")),
            ExamTask("gsm100", "GSM", "number", "gsm"),
            ExamTask("codeU", "CodeU", "code", "code", keeps_end=True),
            ExamTask("topic_retrieval_longchat", "TopicRet", "topic", "topic", parts=("first", "second", "third")),
        )
    }
)
"""The tasks by the names of their files."""

PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "Vicuna1.5-13b-16k": {
            "coursera": 40.69, "gsm100": 36.00, "quality": 53.96, "tpo": 68.40, "codeU": 0.00, "sci_fi": 61.71,
        },
        "ChatGLM2-32k": {
            "coursera": 47.81, "gsm100": 27.00, "quality": 45.04, "tpo": 55.01, "codeU": 2.22, "sci_fi": 57.02,
        },
        "Llama3-8b-Instruct": {
            "tpo": 82.89, "quality": 64.85, "coursera": 53.77, "sci_fi": 69.53, "gsm100": 79.00, "codeU": 2.22,
        },
    }
)  # fmt: skip
"""Published scores by model and task; they are cut, not rounded, to two decimals."""


def task_of(path: str | os.PathLike[str]) -> ExamTask:
    """The task of a file: by what its name holds, else by what the folders on its path hold.

    Raises:
        UserError: nothing on the path names a task.
    """
    # The name first: a folder may be called after anything, as codellama/ is.
    for text in (Path(path).name, os.fspath(path)):
        for task in TASKS.values():
            if task.mark in text.lower():
                return task
    raise UserError(
        f"{os.fspath(path)}: its name tells no task; expected one of {', '.join(t.mark for t in TASKS.values())} in it."
    )


def task_named(name: str) -> ExamTask:
    """The task of that name.

    Raises:
        UserError: there is none.
    """
    if name not in TASKS:
        raise UserError(f"task {name!r}: expected one of {', '.join(TASKS)}.")
    return TASKS[name]

"""Score files of answers, anyone's: one JSON object a line with ``gt`` and a key that contains ``_pred``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.intervals import CONFIDENCE, Interval, bootstrap
from ropewalk.reading.leval import parity, strict
from ropewalk.reading.leval.lines import json_lines
from ropewalk.reading.leval.tasks import ExamTask, task_of

PREDICTION = "_pred"
SCORERS = {"parity": parity.score, "strict": strict.score}
DECIMALS = 4


@dataclass(frozen=True)
class Scored:
    """The scores of one file.

    Attributes:
        task: of the file.
        items: one row an answer: ``line``, ``document`` (of the answer, else its own line), ``question`` (within the
            document), ``query``, ``gt``, ``part``, and ``parity`` and ``strict`` from 0 to 1. Judgements have two rows
            an answer, one a part.
    """

    task: ExamTask
    items: pd.DataFrame

    def parts(self, scorer: str = "parity") -> dict[str, float]:
        """Percent right by part, rounded to four decimals as in the original."""
        groups = self.items.groupby("part", sort=False)[scorer]
        found = {str(part): round(float(100 * values.sum() / len(values)), DECIMALS) for part, values in groups}
        return {part: found[part] for part in self.task.parts if part in found}

    def score(self, scorer: str = "parity") -> float:
        """Percent right, the mean over parts, rounded to four decimals."""
        parts = self.parts(scorer)
        return round(sum(parts.values()) / len(parts), DECIMALS)

    def by_document(self, scorer: str = "parity") -> pd.Series:
        """Sum of the scores in percent and so weighted that their mean over documents is the score.

        Answers on one document depend on each other, so documents are what is resampled.
        """
        # An answer counts by the share that its part has in the score.
        sizes = self.items.groupby("part")["line"].transform("size")
        weighted = 100 * self.items[scorer] / (sizes * self.items["part"].nunique())
        sums = weighted.groupby(self.items["document"], sort=False).sum()
        return sums * len(sums)

    def interval(self, scorer: str = "parity", confidence: float = CONFIDENCE) -> Interval:
        """The score with its bootstrap interval over documents, in percent."""
        return bootstrap(self.by_document(scorer).to_numpy(), confidence=confidence)


def score_file(path: str | Path, task: ExamTask | None = None) -> Scored:
    """Score a file of answers by the original's rules and by the strict ones.

    Args:
        path: JSON lines; ``gt`` and the first key that contains ``_pred`` are needed.
        task: told from the file's name where not given.

    Raises:
        UserError: the name tells no task, or a line is malformed, lacks a key, or there is none.
    """
    task = task or task_of(path)
    rows: list[dict[str, Any]] = []
    counts: dict[Any, int] = {}
    for place, (line, value) in enumerate(json_lines(path, "a file of L-Eval answers")):
        answer, truth = _texts(path, line, value)
        document = value.get("document", f"line {line}")
        if not isinstance(document, str | int):
            raise UserError(f"{path}:{line} document is {document!r}; expected a number or a name.")
        counts[document] = counts.get(document, -1) + 1
        about = {
            "line": line,
            "document": document,
            "question": value.get("question", counts[document]),
            "query": str(value.get("query", "")),
            "gt": truth,
        }
        found = {name: scorer(task, answer, truth) for name, scorer in SCORERS.items()}
        # The three questions on a conversation come in turn.
        parts = (task.parts[place % len(task.parts)],) if task.kind == "topic" else task.parts
        rows += [{**about, "part": part, **{name: found[name][i] for name in SCORERS}} for i, part in enumerate(parts)]
    if not rows:
        raise UserError(f"{path} holds no lines; expected a file of L-Eval answers.")
    return Scored(task, pd.DataFrame(rows))


def _texts(path: str | Path, line: int, value: Mapping[str, Any]) -> tuple[str, str]:
    """Answer and truth of a line."""
    key = next((key for key in value if PREDICTION in key), None)
    if key is None:
        raise UserError(f"{path}:{line} has no key that contains {PREDICTION!r}; expected the model's answer there.")
    if "gt" not in value:
        raise UserError(f"{path}:{line} has no key 'gt'; expected the right answer there.")
    answer, truth = value[key], value["gt"]
    if not isinstance(answer, str):
        raise UserError(f"{path}:{line} {key} is {answer!r}; expected a text, which may be empty.")
    if isinstance(truth, int | float) and not isinstance(truth, bool):
        truth = str(truth)
    if not isinstance(truth, str):
        raise UserError(f"{path}:{line} gt is {truth!r}; expected a text.")
    return answer, truth


def check_same_questions(subjects: Mapping[str, Scored]) -> None:
    """Raise ``UserError`` where files of one task do not answer the same questions in the same order."""
    first_name, first = next(iter(subjects.items()))
    wanted = first.items[["document", "question", "query", "gt", "part"]].astype(str)
    for name, scored in subjects.items():
        found = scored.items[["document", "question", "query", "gt", "part"]].astype(str)
        if len(found) != len(wanted) or not np.array_equal(found.to_numpy(), wanted.to_numpy()):
            raise UserError(
                f"{first.task.name}: {name} answers other questions than {first_name}; "
                "expected the same ones of all that are compared."
            )

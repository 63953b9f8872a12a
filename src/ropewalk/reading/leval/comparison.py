"""Answers of several models or ropes to the same questions, each against one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.errors import UserError
from ropewalk.intervals import CONFIDENCE, FEWEST_RESAMPLED, RESAMPLES, Interval, bootstrap, quantile_interval
from ropewalk.reading.leval.scoring import SCORERS, Scored, check_same_questions, score_file
from ropewalk.reading.leval.tasks import TASKS

AVERAGE = "average"
"""Stands for the mean over tasks in the column ``task``."""

Subjects = Mapping[str, Mapping[str, Scored]]
"""Scores by task and subject."""


def read_answers(predictions: Mapping[str, Path]) -> dict[str, dict[str, Scored]]:
    """Scores by task and subject.

    Args:
        predictions: folders with ``TASK.jsonl`` files by the name of the subject, a model with a rope.

    Raises:
        UserError: a folder has no answers, or subjects did not answer the same questions.
    """
    scored: dict[str, dict[str, Scored]] = {}
    for task in TASKS.values():
        files = {name: folder / f"{task.name}.jsonl" for name, folder in predictions.items()}
        there = [name for name, file in files.items() if file.is_file()]
        lacking = [name for name in files if name not in there]
        if there and lacking:
            raise UserError(
                f"{files[lacking[0]]}: no such file, but {there[0]} answered {task.name}; "
                "expected the same tasks of all that are compared."
            )
        if there:
            scored[task.name] = {name: score_file(file, task) for name, file in files.items()}
            check_same_questions(scored[task.name])
    if not scored:
        raise UserError(
            f"no answers in {', '.join(map(str, predictions.values()))}; expected TASK.jsonl files of `ropewalk read "
            "leval`."
        )
    return scored


def compare(scored: Subjects, reference: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row a task and subject, and at the end one a subject for the average over tasks.

    Args:
        scored: of :func:`read_answers`.
        reference: subject that the others are compared with.
        confidence: of the intervals.

    Returns:
        ``task``, ``subject``, ``answers``, ``documents``; in percent with ``_low`` and ``_high``: ``parity``,
        ``strict``, ``flaws`` (what the original's flaws give, the first less the second), ``difference`` and
        ``strict_difference`` from the reference, paired by document, with the verdicts ``better`` and
        ``strict_better`` (empty for the reference itself).

    Raises:
        UserError: the reference is not among the subjects.
    """
    names = list(next(iter(scored.values())))
    if reference not in names:
        raise UserError(f"reference {reference!r} is not among {', '.join(names)}; expected one of them.")
    rows = []
    for task, subjects in scored.items():
        values = {name: {scorer: _documents(one, scorer) for scorer in SCORERS} for name, one in subjects.items()}
        for name, one in subjects.items():
            row = {"task": task, "subject": name, "answers": int(one.items["line"].nunique())}
            rows.append(row | _columns([values[name]], [values[reference]], name == reference, confidence))
            # Rounded as in the original, whose numbers these are to be held against.
            rows[-1] |= {scorer: one.score(scorer) for scorer in SCORERS}
    for name in names:
        mine = [{scorer: _documents(subjects[name], scorer) for scorer in SCORERS} for subjects in scored.values()]
        base = [{scorer: _documents(subjects[reference], scorer) for scorer in SCORERS} for subjects in scored.values()]
        answers = sum(int(subjects[name].items["line"].nunique()) for subjects in scored.values())
        row = {"task": AVERAGE, "subject": name, "answers": answers}
        rows.append(row | _columns(mine, base, name == reference, confidence))
    return pd.DataFrame(rows)


def _documents(scored: Scored, scorer: str) -> np.ndarray:
    return scored.by_document(scorer).to_numpy()


def _columns(
    mine: Sequence[Mapping[str, np.ndarray]],
    base: Sequence[Mapping[str, np.ndarray]],
    itself: bool,
    confidence: float,
) -> dict[str, Any]:
    """Means, differences and verdicts of one subject over one task or several."""
    found = {
        "parity": mean_over_tasks([one["parity"] for one in mine], confidence),
        "strict": mean_over_tasks([one["strict"] for one in mine], confidence),
        "flaws": mean_over_tasks([one["parity"] - one["strict"] for one in mine], confidence),
    }
    verdicts: dict[str, str] = {}
    for scorer, prefix in (("parity", ""), ("strict", "strict_")):
        pairs = [one[scorer] - other[scorer] for one, other in zip(mine, base, strict=True)]
        difference = found[f"{prefix}difference"] = mean_over_tasks(pairs, confidence)
        verdicts[f"{prefix}better"] = "" if itself else difference.better(lower=False)
    columns: dict[str, Any] = {"documents": found["parity"].count}
    for name, interval in found.items():
        columns |= interval.columns(name)
    return columns | verdicts


def mean_over_tasks(tasks: Sequence[np.ndarray], confidence: float = CONFIDENCE) -> Interval:
    """The mean over tasks of the means over documents; documents are resampled within each task.

    Args:
        tasks: values by document, shape (documents,) each.
        confidence: probability that the interval is to cover.

    Returns:
        No interval where a task has a single document, since nothing tells how far others would lie from it.
    """
    if len(tasks) == 1:
        return bootstrap(tasks[0], confidence=confidence)
    mean, count = float(np.mean([values.mean() for values in tasks])), sum(map(len, tasks))
    if min(map(len, tasks)) < 2:
        return Interval(mean, np.nan, np.nan, count, FEWEST_RESAMPLED)
    draws = np.zeros(RESAMPLES)
    for place, values in enumerate(tasks):
        places = np.random.default_rng([0, place]).integers(0, len(values), size=(RESAMPLES, len(values)))
        draws += values[places].mean(axis=1) / len(tasks)
    low, high = quantile_interval(draws, count, confidence)
    return Interval(mean, low, high, count, FEWEST_RESAMPLED)

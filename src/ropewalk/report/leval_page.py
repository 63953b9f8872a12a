"""L-Eval as a page: scores, differences, what the scorer's flaws give, and published scores beside them."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ropewalk.reading.leval.comparison import AVERAGE, Subjects
from ropewalk.reading.leval.tasks import PUBLISHED, TASKS
from ropewalk.report.tables import bounds_text, page, verdict_class


def leval_html(table: pd.DataFrame, scored: Subjects, reference: str, confidence: float, figure: bytes) -> str:
    """Scores of models and ropes on L-Eval, as one self-contained page with its figure, a PNG, in it."""
    return page(
        "L-Eval", "L-Eval, closed-ended tasks", "".join(_sections(table, scored, reference, confidence, figure))
    )


def _sections(table: pd.DataFrame, scored: Subjects, reference: str, confidence: float, figure: bytes) -> Iterator[str]:
    tasks = list(table["task"].unique())
    yield (
        f"<p>Percent right, with {100 * confidence:g} % intervals: answers on one document depend on each other, so "
        f"documents are resampled, within each task for the average. Below it the paired difference from "
        f"<b>{html.escape(reference)}</b> on the same documents; green is better and red is worse with an interval "
        "that excludes zero, no colour is undecided. Fewer than six documents decide nothing.</p>"
        f"<p><img src='data:image/png;base64,{b64encode(figure).decode()}' "
        "alt='Scores by task and subject, with intervals' style='max-width:100%'></p>"
    )
    yield "<h2>As L-Eval scores</h2>" + _scores(table, tasks, "parity", "difference", "better")
    yield (
        "<h2>Scored with care</h2><p>A letter counts where it is clearly given as the answer, a number where it is the "
        "number itself, and no answer is wrong.</p>"
    ) + _scores(table, tasks, "strict", "strict_difference", "strict_better")
    yield (
        "<h2>What the flaws of the scorer give</h2><p>Percent that L-Eval's rules give beyond the strict ones. They "
        "count a response without any option as A, read the first of the letters A to D even inside a word, and find 1 "
        "in 10.</p>"
    ) + _grid(table, tasks, lambda row: f"<td>{_interval(row, 'flaws', '+.2f')}</td>")
    if any(len(one.task.parts) > 1 for subjects in scored.values() for one in subjects.values()):
        yield "<h2>Parts</h2>" + _parts(scored)
    yield "<h2>Published</h2>" + _published(tasks)


def _scores(table: pd.DataFrame, tasks: list[str], name: str, difference: str, verdict: str) -> str:
    def cell(row: Mapping[Any, Any]) -> str:
        paired = f"<br>{_small(row, difference, '+.2f')}" if row[verdict] else ""
        return f"<td{verdict_class(row, verdict)}>{_interval(row, name, '.2f')}{paired}</td>"

    return _grid(table, tasks, cell)


def _grid(table: pd.DataFrame, tasks: list[str], cell: Any) -> str:
    """One row a subject, one column a task."""
    counts = {row["task"]: (row["answers"], row["documents"]) for row in table.to_dict("records")}
    head = "".join(
        f"<th>{_title(task)}<br><small>{counts[task][0]} answers, {counts[task][1]} documents</small></th>"
        for task in tasks
    )
    rows = []
    for subject, group in table.groupby("subject", sort=False):
        by_task = {row["task"]: row for row in group.to_dict("records")}
        rows.append(f"<tr><td>{html.escape(str(subject))}</td>{''.join(cell(by_task[task]) for task in tasks)}</tr>")
    return _wide(f"<thead><tr><th>subject</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>")


def _parts(scored: Subjects) -> str:
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{one.task.title}</td><td>{part}</td><td>{value:.2f}</td>"
        f"<td>{one.parts('strict')[part]:.2f}</td></tr>"
        for subjects in scored.values()
        for name, one in subjects.items()
        if len(one.task.parts) > 1
        for part, value in one.parts().items()
    ]
    head = "<th>subject</th><th>task</th><th>part</th><th>as L-Eval scores</th><th>strict</th>"
    return _wide(f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>")


def _published(tasks: list[str]) -> str:
    shown = [task for task in tasks if any(task in row for row in PUBLISHED.values())]
    rows = []
    for model, known in PUBLISHED.items():
        cells = "".join(f"<td>{known[task]:.2f}</td>" if task in known else "<td></td>" for task in shown)
        rows.append(f"<tr><td>{html.escape(model)}</td>{cells}</tr>")
    head = "".join(f"<th>{_title(task)}</th>" for task in shown)
    return (
        "<p>On the real documents and by L-Eval's rules, cut to two decimals; they can be held against scores here "
        "only where these are of the same documents and prompts.</p>"
    ) + _wide(f"<thead><tr><th>model</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>")


def _wide(table: str) -> str:
    return f"<div class=wide><table>{table}</table></div>"


def _title(task: str) -> str:
    return "average over tasks" if task == AVERAGE else TASKS[task].title


def _interval(row: Mapping[Any, Any], name: str, form: str) -> str:
    return f"{row[name]:{form}}<br><small>{bounds_text(row, name, form)}</small>"


def _small(row: Mapping[Any, Any], name: str, form: str) -> str:
    return f"<small>{row[name]:{form}} {bounds_text(row, name, form)}</small>"

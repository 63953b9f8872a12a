"""L-Eval as a page: scores, differences, what the scorer's flaws give, and published scores beside them."""

from __future__ import annotations

from base64 import b64encode

import pandas as pd

from ropewalk.reading.leval.comparison import AVERAGE, Subjects
from ropewalk.reading.leval.tasks import PUBLISHED, TASKS
from ropewalk.report.html import render
from ropewalk.report.tables import grouped


def leval_html(table: pd.DataFrame, scored: Subjects, reference: str, confidence: float, figure: bytes) -> str:
    """Scores of models and ropes on L-Eval, as one self-contained page with its figure, a PNG, in it."""

    counts = table.drop_duplicates("task", keep="last").to_dict("records")
    shown = [task for task in table["task"].unique() if any(task in row for row in PUBLISHED.values())]
    return render(
        "leval",
        "L-Eval",
        heading="L-Eval, closed-ended tasks",
        confidence=confidence,
        reference=reference,
        figure=b64encode(figure).decode(),
        head=[f"{_title(row['task'])}\n{row['answers']} answers, {row['documents']} documents" for row in counts],
        rows=grouped(table, "subject"),
        parts=[
            [name, one.task.title, part, f"{value:.2f}", f"{one.parts('strict')[part]:.2f}"]
            for subjects in scored.values()
            for name, one in subjects.items()
            if len(one.task.parts) > 1
            for part, value in one.parts().items()
        ],
        published_tasks=[_title(task) for task in shown],
        published=[
            [model, *(f"{known[task]:.2f}" if task in known else "" for task in shown)]
            for model, known in PUBLISHED.items()
        ],
    )


def _title(task: str) -> str:
    return "average over tasks" if task == AVERAGE else TASKS[task].title

"""`ropewalk leval`: answer the tasks of L-Eval, score answers, and report on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ropewalk.cli.options import Output
from ropewalk.errors import UserError
from ropewalk.reading.leval.tasks import TASKS
from ropewalk.rope import Rope

leval_app = typer.Typer(help="Closed-ended tasks of L-Eval: answer, score, report.", no_args_is_help=True)

ALL_TASKS = ",".join(TASKS)


@leval_app.command()
def predict(
    model: Annotated[str, typer.Option(help="folder, hub id, or gguf:PACKAGE/FILE")],
    data: Annotated[str, typer.Option(help="folder:PATH with TASK.jsonl files, or hub:L4NLP/LEval")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    rope: Annotated[Path | None, typer.Option(help="rope.json to bind to it; the model's own where not given")] = None,
    tasks: Annotated[str, typer.Option(help="with commas between them")] = ALL_TASKS,
    state: Annotated[
        Path | None, typer.Option(help="folder of the answers so far; OUTPUT.state where not given; removed at the end")
    ] = None,
    name: Annotated[str | None, typer.Option(help="of the model in the answers; OUTPUT's name where not given")] = None,
    context: Annotated[int, typer.Option(help="tokens of a document and its answer together")] = 16_000,
    max_new_tokens: Annotated[int, typer.Option(help="most tokens of an answer")] = 512,
    documents: Annotated[int | None, typer.Option(help="at most so many of each task")] = None,
    questions: Annotated[
        int | None, typer.Option(help="at most so many on each document; of topics always all three")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="folder of TASK.toml prompt templates; our own where not given")
    ] = None,
    parity: Annotated[
        bool, typer.Option("--parity", help="leave the user's turn open where the original does")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="revision of the model on the hub")] = None,
    data_revision: Annotated[str | None, typer.Option(help="revision of the data on the hub")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = "auto",
    chunk: Annotated[int, typer.Option(help="tokens of a prompt that go through the model at a time")] = 1024,
    rows: Annotated[int, typer.Option(help="questions that are answered together")] = 8,
) -> None:
    """Answer the questions of the tasks greedily; killed and called again, it goes on after the last document.

    Writes TASK.jsonl in the original's format for each task, and settings.json.
    """
    from ropewalk.models.sources import ModelSource
    from ropewalk.reading.leval.data import DataSource
    from ropewalk.reading.leval.predict import Options
    from ropewalk.reading.leval.predict import predict as run

    named = output.absolute().name
    run(
        ModelSource.parse(model, revision),
        Rope.load(rope) if rope is not None else None,
        DataSource.parse(data, data_revision),
        [one.strip() for one in tasks.split(",")],
        options=Options(context, max_new_tokens, documents, questions, prompts, parity, dtype, chunk, rows),
        state=state or output.with_name(f"{named}.state"),
        folder=output,
        name=name or named,
    )


@leval_app.command()
def score(
    files: Annotated[list[str], typer.Argument(help="JSON lines of answers, each named after its task")],
    as_json: Annotated[bool, typer.Option("--json", help="print file → score as JSON")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="with --json: by the strict rules")] = False,
    published: Annotated[bool, typer.Option("--published", help="show published scores beside them")] = False,
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
) -> None:
    """Score answers, anyone's, exactly as the original does, and by strict rules that lack its flaws."""
    from ropewalk.reading.leval.scoring import score_file
    from ropewalk.report.leval import scores_text

    scored = {file: score_file(file) for file in files}
    if as_json:
        print(json.dumps({name: one.score("strict" if strict else "parity") for name, one in scored.items()}, indent=2))
        return
    print(scores_text(scored, confidence, published=published))


@leval_app.command()
def pocket(
    output: Annotated[Path, Output],
    documents: Annotated[int, typer.Option(help="of each task")] = 3,
    questions: Annotated[int, typer.Option(help="on each document")] = 4,
    words: Annotated[int, typer.Option(help="of each document, about")] = 400,
    seed: Annotated[int, typer.Option(help="of names, places and numbers")] = 0,
) -> None:
    """Make small tasks in the same format, offline, of invented people and places."""
    from ropewalk.reading.leval.pocket import write_pocket

    write_pocket(output, documents=documents, questions=questions, words=words, seed=seed)


@leval_app.command()
def report(
    predictions: Annotated[
        list[str], typer.Option("--predictions", help="NAME=FOLDER or FOLDER of `leval predict`; repeat for more")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for page, table and figure")],
    reference: Annotated[str | None, typer.Option(help="the one the others are compared with; the first")] = None,
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
) -> None:
    """Compare answers of models and ropes to the same questions: page, table, figure, scores.json."""
    from ropewalk.report.leval import write_report

    named: dict[str, Path] = {}
    for text in predictions:
        name, equals, place = text.partition("=")
        folder = Path(place if equals else text)
        name = name if equals else folder.absolute().name
        if name in named:
            raise UserError(f"two folders of answers are called {name!r}; expected different names.")
        named[name] = folder
    write_report(named, reference=reference or next(iter(named)), folder=output, confidence=confidence)

"""`ropewalk leval`: score answers to L-Eval, and make small tasks in its format."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ropewalk.cli.options import Confidence, JsonOptions, Output, documented, from_json
from ropewalk.options import CONFIDENCE

leval_app = typer.Typer(
    help="Closed-ended tasks of L-Eval. `ropewalk read leval` answers them, `ropewalk report leval` compares answers.",
    no_args_is_help=True,
)


@leval_app.command()
def score(
    files: Annotated[list[str], typer.Argument(help="JSON lines of answers, each named after its task")],
    as_json: Annotated[bool, typer.Option("--json", help="print file → score as JSON")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="with --json: by the strict rules")] = False,
    published: Annotated[bool, typer.Option("--published", help="show published scores beside them")] = False,
    confidence: Confidence = CONFIDENCE,
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
def fetch(
    source: Annotated[str, typer.Argument(help="hub:L4NLP/LEval, or folder:PATH")],
    output: Output,
    revision: Annotated[str | None, typer.Option(help="revision on the hub; a commit hash pins it")] = None,
) -> None:
    """Put the documents and questions of all tasks into a folder, to be read without the network afterwards."""
    from ropewalk.reading.leval.data import DataSource
    from ropewalk.reading.leval.data import fetch as run

    run(DataSource.parse(source, revision), output)


@leval_app.command(cls=documented("ropewalk.reading.options:PocketOptions"))
def pocket(output: Output, options: JsonOptions = "{}") -> None:
    """Make small tasks in the same format, offline, of invented people and places."""
    from ropewalk.reading.leval.pocket import write_pocket
    from ropewalk.reading.options import PocketOptions

    write_pocket(output, from_json(PocketOptions, options))

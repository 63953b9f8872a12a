"""The command line, thin: a workflow rule calls these commands, and so can a person.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys

import typer

from ropewalk.cli import (
    configuration,
    export,
    harness,
    leval,
    longppl,
    needle,
    posgen,
    predict,
    ropes,
    scaling,
    scorecard,
    search,
    stages,
    tracking,
)
from ropewalk.errors import UserError

app = typer.Typer(
    name="ropewalk",
    help="Lengthen the context of RoPE language models, and measure whether it worked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(ropes.rope_app, name="rope")
app.command()(ropes.show)
app.command("original-rope")(ropes.original_rope)
app.command()(predict.predict)
app.command("export")(export.export)
app.command("verify-export")(export.verify_export)
app.command("fetch-model")(stages.fetch_model)
app.command()(stages.corpus)
app.command()(stages.pretrain)
# Its options are those of `python -m ropewalk.training.finetune`, which launchers start.
app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    stages.finetune
)
app.command("finetune-report")(stages.finetune_report)
app.command()(stages.evaluate)
app.command()(stages.perplexity)
app.command("parity")(stages.parity_perplexity)
app.command()(stages.report)
app.command()(scorecard.scorecard)
app.command()(scorecard.summary)
app.add_typer(longppl.longppl_app, name="longppl")
app.add_typer(scaling.scaling_app, name="scaling")
app.command()(search.search)
app.command("search-compare")(search.search_compare)
app.command("search-report")(search.search_report)
app.add_typer(posgen.posgen_app, name="posgen")
app.add_typer(leval.leval_app, name="leval")
app.add_typer(needle.needle_app, name="needle")
app.command()(harness.harness)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(tracking.track)
app.command()(tracking.deliver)
app.add_typer(configuration.config_app, name="config")


def main() -> None:
    """Run the command line; a fault that a person can mend is one sentence and exit status 1."""
    try:
        app()
    except UserError as error:
        print(f"ropewalk: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        print(f"ropewalk: {error.strerror or error}{place}.", file=sys.stderr)
        sys.exit(1)

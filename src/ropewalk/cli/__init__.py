"""The command line, thin: a workflow rule calls these commands, and so can a person.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from functools import cache

import typer

from ropewalk.cli import (
    budget,
    doctor,
    export,
    extend,
    harness,
    jobs,
    leval,
    longppl,
    perplexity,
    posgen,
    predict,
    reports,
    ropes,
    studies,
    tracking,
    zoo,
)
from ropewalk.cli.options import documented
from ropewalk.errors import MISTAKE, UserError

app = typer.Typer(
    name="ropewalk",
    help="Lengthen the context of RoPE language models, and measure whether it worked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

READING, TRAINING, REPORT = (f"ropewalk.{room}.options" for room in ("reading", "training", "report"))
LAYOUT = f"--layout={TRAINING}:Layout"

app.command()(studies.study)
app.command()(extend.extend)
app.add_typer(ropes.rope_app, name="rope")
app.command()(ropes.show)
app.command()(predict.predict)
app.command("export")(export.export)
app.command("verify-export")(export.verify_export)
app.command(cls=budget.Budget)(budget.budget)
app.command()(perplexity.perplexity)
app.command("parity")(perplexity.parity_perplexity)
app.add_typer(longppl.longppl_app, name="longppl")
app.add_typer(leval.leval_app, name="leval")
app.command()(harness.harness)
app.command()(reports.scorecard)
app.command()(jobs.fetch)
app.command(cls=documented("ropewalk.corpora.options:CorpusOptions"))(jobs.corpus)
app.command(cls=documented("--shape=ropewalk.models.shape:ModelShape", f"{TRAINING}:PretrainingOptions", LAYOUT))(
    jobs.pretrain
)
app.command(cls=documented(f"{TRAINING}:TuningOptions", LAYOUT))(jobs.tune)
app.command(
    cls=documented(
        f"--options of nll={READING}:NllOptions",
        f"--options of copying={READING}:CopyingOptions",
        f"--options of needle={READING}:NeedleOptions",
        f"--options of leval={READING}:LEvalOptions",
        "--options of probe=ropewalk.search.options:ProbeOptions",
    )
)(jobs.read)
app.command(cls=documented("ropewalk.search.options:SearchOptions"))(jobs.search)
app.add_typer(posgen.posgen_app, name="posgen")
app.command(
    cls=documented(
        "--options of copying, needle, leval and posgen=ropewalk.options:ReportOptions",
        f"--options of perplexity={REPORT}:PerplexityReportOptions",
        f"--options of measures={REPORT}:MeasuresReportOptions",
        f"--options of finetune={REPORT}:TuningReportOptions",
        "--options of scaling=ropewalk.scaling.options:SweepOptions",
        f"--options of predictions={REPORT}:PredictionOptions",
        "--options of search=ropewalk.search.options:SearchReportOptions",
    )
)(reports.report)
app.command()(reports.summary)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(tracking.track)
app.command()(tracking.deliver)
app.add_typer(doctor.doctor_app, name="doctor")
app.add_typer(zoo.zoo_app, name="zoo")
app.add_typer(studies.config_app, name="config")


@cache
def commands() -> Callable[..., object]:
    """All commands with their arguments, whose signatures take a while to read."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command line; a fault that a person can mend is one sentence, and its status says whether it must be."""
    # It warns of two keys at every start that other engines need, and keeps them.
    logging.getLogger("transformers.modeling_rope_utils").addFilter(lambda said: "_mscale" not in said.getMessage())
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a sign of ours shows a question mark instead.
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="replace")
    try:
        commands()(prog_name="ropewalk")
    except UserError as error:
        print(f"ropewalk: {error}", file=sys.stderr)
        sys.exit(error.status)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "ropewalk"):
            raise
        print(f"ropewalk: this needs the package {package}; install ropewalk[study], which has it.", file=sys.stderr)
        sys.exit(MISTAKE)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        print(f"ropewalk: {error.strerror or error}{place}.", file=sys.stderr)
        sys.exit(1)

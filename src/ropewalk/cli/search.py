"""`ropewalk search`, `search-compare` and `search-report`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.cli.options import Corpora, open_corpora
from ropewalk.errors import UserError


def search(
    model: Annotated[str, typer.Option(help="folder, hub id, or gguf:PACKAGE/FILE")],
    corpus: Corpora,
    factor: Annotated[float, typer.Option(help="target length over training length")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="folder to write; a worker on a shared journal writes none")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="file that keeps the trials; OUTPUT.journal where not given")
    ] = None,
    space: Annotated[str, typer.Option(help="ramp, bands, tail, pairs or groups")] = "ramp",
    sampler: Annotated[str, typer.Option(help="gp, tpe, cma, sobol, evolution (of pairs) or scan (of groups)")] = "gp",
    budget: Annotated[int, typer.Option(help="trials; raise it later to go on")] = 64,
    seed: Annotated[int, typer.Option(help="of the proposals")] = 0,
    documents: Annotated[int, typer.Option(help="documents of each corpus, from its split search")] = 6,
    retrieval: Annotated[
        str, typer.Option(help="answers to ask for: needle (a hidden fact), copy (digits) or none")
    ] = "needle",
    short_cost: Annotated[
        float | None,
        typer.Option(
            help="nats a token that texts up to the training length may cost; what YaRN costs and 0.02 by default"
        ),
    ] = None,
    prune: Annotated[bool, typer.Option(help="stop trials that are already seen to be worse than the best")] = False,
    patience: Annotated[int | None, typer.Option(help="stop after so many trials without progress")] = None,
    candidates: Annotated[int, typer.Option(help="best trials among which the split selection decides")] = 5,
    answer_seed: Annotated[int, typer.Option(help="of facts and digits")] = 0,
    devices: Annotated[
        str | None, typer.Option(help="with commas between them; each measures one trial at a time")
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = "auto",
    metrics: Annotated[Path | None, typer.Option(help="JSON lines to write while searching, one a trial")] = None,
) -> None:
    """Find a rope for a longer context by trying ropes on a model, without training it.

    Bayesian optimisation in the manner of ORoPE, or one of its rivals. Ctrl-C, SIGTERM and even kill -9 lose at most
    the trial under way: call it again and it goes on. Several processes may share one --journal without -o; a last call
    with -o writes rope.json, best.json, trials.parquet and scores.json.
    """
    from ropewalk.models.sources import ModelSource
    from ropewalk.search.objective import ObjectiveOptions
    from ropewalk.search.run import search as run
    from ropewalk.search.study import SearchOptions

    if output is None and journal is None:
        raise UserError("expected -o FOLDER, or --journal FILE for one of several workers.")
    aim = ObjectiveOptions(retrieval=retrieval, short_cost=short_cost, documents=documents, seed=answer_seed)  # type: ignore[arg-type]
    signal.signal(signal.SIGTERM, _stop)
    run(
        ModelSource.parse(model),
        open_corpora(corpus),
        space=space,
        factor=factor,
        options=SearchOptions(sampler, budget, seed, prune, patience, candidates),
        aim=aim,
        journal=journal or Path(f"{output}.journal"),
        folder=output,
        metrics=metrics,
        devices=devices.split(",") if devices else (),
        dtype=dtype,
    )
    if output is not None:
        print(f"wrote {output}: rope.json, best.json, trials.parquet, scores.json")


def _stop(number: int, frame: Any) -> None:
    """End as an exception, so that the trial under way is counted as failed."""
    raise SystemExit(128 + number)


def search_compare(
    search: Annotated[list[Path], typer.Option(help="folder of `ropewalk search`; repeat it for more")],
    model: Annotated[str, typer.Option(help="the model of the searches")],
    corpus: Corpora,
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    documents: Annotated[int, typer.Option(help="documents of each corpus")] = 6,
    split: Annotated[str, typer.Option(help="train, search, selection or test")] = "test",
    seed: Annotated[int, typer.Option(help="of facts and digits")] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16")] = "auto",
) -> None:
    """Measure found ropes and every hand-made one on documents that no search saw, at each doubling of the length."""
    from ropewalk.models.sources import ModelSource
    from ropewalk.search.comparison import compare

    compare(
        ModelSource.parse(model),
        open_corpora(corpus),
        search,
        documents=documents,
        folder=output,
        split=split,
        seed=seed,
        dtype=dtype,
    )


def search_report(
    search: Annotated[list[Path], typer.Option(help="folder of `ropewalk search`; repeat it for more")],
    comparison: Annotated[Path, typer.Option(help="folder of `ropewalk search-compare` of these searches")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for page, tables and figures")],
    confidence: Annotated[float, typer.Option(help="of the intervals")] = 0.95,
) -> None:
    """Say what searches found and what it is worth: page, tables, figures, scores.json."""
    from ropewalk.report.search import write_report

    write_report(search, comparison, output, confidence=confidence)

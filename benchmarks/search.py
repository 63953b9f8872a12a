"""Searching a rope: a resident model against one loaded for each trial, evaluations needed against evolution's, and
what it costs to tell a found rope from one tuned by hand.

    uv run python benchmarks/search.py --model results/embedded/models/small \
        --corpus results/embedded/corpora/byte/government --corpus results/embedded/corpora/byte/mathematics \
        [--factor 8] [--evolution 1344] [--budget 96] [--seeds 2]
    uv run python benchmarks/search.py --study results/evidence [--width 0.1]

The first prints seconds per evaluation with one resident model, whose rope is patched, and with the model loaded anew
for each trial, as a script around an evaluation command would; what evolution (population 32, 8 mutants and 8 crosses a
generation, over a divisor for each pair) reaches, and the evaluations after which Bayesian optimisation is below that,
by seed and space; and the seconds that each takes to propose a trial. One thread; all on the same documents of the
split search, with the same first points.

The second reads what a study left behind: for each factor the half width of the interval of the difference between what
Bayesian optimisation found and the rope tuned by hand, over documents, seeds and models; the seconds of searches, and
of pre-training their models, behind it; and the seconds to bring it to ``--width`` nats. An interval is as wide as
1 / √n of what varies most, so that documents, seeds and models are taken to grow together.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ropewalk.corpora import Corpus
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.rope.bases import ntk
from ropewalk.rope.ramps import mrrope_pro, yarn
from ropewalk.scores import Scores
from ropewalk.search.comparison import BY_HAND
from ropewalk.search.objective import Objective, Reader, ability, make_probes
from ropewalk.search.options import SearchOptions
from ropewalk.search.spaces import make_space
from ropewalk.search.study import SearchLoop


def search(objective: Objective, table, args, sampler: str, space: str, budget: int, seed: int) -> pd.DataFrame:
    """The trials of one search."""
    with tempfile.TemporaryDirectory() as folder:
        found = SearchLoop(
            make_space(space, table, args.factor),
            SearchOptions(factor=args.factor, sampler=sampler, space=space, budget=budget, seed=seed),
            length=objective.readers[0].length,
            identity={},
            journal=Path(folder) / "journal",
        )
        with found.opened():
            found.run(objective)
            return found.trials()


def width(study: Path, wanted: float) -> None:
    """Print what a study's intervals cost."""
    for file in sorted(study.glob("reports/search/*/scores.json")):
        scores = Scores.read(file)
        trained = []
        for row in scores.select(quantity="competence"):
            training = Scores.read(study / f"models/{row.model}/scores.json")
            trained += [found.value or 0.0 for found in training.select(quantity="seconds")]
        for row in scores.select(quantity="difference", against=BY_HAND):
            found = scores.one(quantity="seconds", method=row.method, factor=row.factor)
            if found is None or found.value is None or row.low is None or row.high is None:
                continue
            half = (row.high - row.low) / 2
            searches = found.value * (row.n_seeds or 1) * (row.n_models or 1)
            seconds = searches + sum(trained)
            print(
                f"{file.parent.name}, {row.method} {row.factor:g}x: ± {half:.3f} nats from {searches:,.0f} s of "
                f"searches and {sum(trained):,.0f} s of pre-training; "
                f"± {wanted:g} nats from {seconds * (half / wanted) ** 2:,.0f} s"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--width", type=float, default=0.1)
    parser.add_argument("--model")
    parser.add_argument("--corpus", action="append", type=Path)
    parser.add_argument("--factor", type=float, default=8.0)
    parser.add_argument("--retrieval", default="copy")
    parser.add_argument("--documents", type=int, default=6)
    parser.add_argument("--evolution", type=int, default=1344)
    parser.add_argument("--budget", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    if args.study is not None:
        width(args.study, args.width)
    elif args.model and args.corpus:
        evaluations(args)
    else:
        parser.error("expected --study, or --model and --corpus")


def evaluations(args: argparse.Namespace) -> None:
    """Print what evaluations cost, and how many Bayesian optimisation needs against evolution."""
    torch.set_num_threads(1)
    source = ModelSource.parse(args.model)
    model, tokenizer = load_model(source), load_tokenizer(source)
    corpora = {folder.name: Corpus.open(folder) for folder in args.corpus}
    table = read_rope(model.config)
    asked = {"split": "search", "documents": args.documents}
    able = ability(model, tokenizer, table, corpora, retrieval=args.retrieval, **asked)
    length = round(args.factor * table.original_length)
    probes = make_probes(
        corpora,
        tokenizer,
        **asked,
        train_length=table.original_length,
        length=length,
        retrieval=able.retrieval,
    )
    objective = Objective([Reader(model, probes, table.original_length)], table, args.factor, None)
    print(f"{len(probes)} documents of {length:,} tokens; {able.reason}")

    ropes = [make(table, factor=args.factor) for make in (yarn, mrrope_pro, ntk)]
    started = time.perf_counter()
    for rope in ropes:
        objective.readers[0].read(rope)
    resident = (time.perf_counter() - started) / len(ropes)
    started = time.perf_counter()
    for rope in ropes:
        Reader(load_model(source), probes, table.original_length).read(rope)
    reloaded = (time.perf_counter() - started) / len(ropes)
    print(f"an evaluation: {resident:.2f} s resident, {reloaded:.2f} s with the model loaded for it, ", end="")
    print(f"{reloaded / resident:.2f} times (within one process; another adds its imports)")

    bar = [search(objective, table, args, "evolution", "pairs", args.evolution, seed) for seed in range(args.seeds)]
    for seed, trials in enumerate(bar):
        marks = [n for n in (48, 96, 192, 384, 768, 1344) if n <= len(trials)]
        reached = ", ".join(f"{trials['best'].iloc[n - 1]:+.3f} after {n}" for n in marks)
        print(f"evolution, seed {seed}: {reached}; {trials['seconds_measuring'].sum():.0f} s of measuring")
    level = min(trials["best"].iloc[-1] for trials in bar)
    for space in ("ramp", "bands"):
        for seed in range(args.seeds):
            trials = search(objective, table, args, "gp", space, args.budget, seed)
            below = np.flatnonzero(trials["best"].to_numpy() <= level)
            after = f"below the best of evolution ({level:+.3f}) after {below[0] + 1}" if len(below) else "never below"
            proposals = trials["seconds_proposing"]
            print(
                f"gp of {space}, seed {seed}: {trials['best'].iloc[-1]:+.3f} after {len(trials)}, {after}; proposing "
                f"{proposals[16:40].mean():.2f} s a trial up to 40, {proposals[40:].mean():.2f} s after"
            )


if __name__ == "__main__":
    main()

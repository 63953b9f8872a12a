"""A sweep of the base: CPU seconds to a given width of the interval of the slope, by the rule of a limit.

    uv run python benchmarks/sweep.py --study results/evidence [--experiment bases] [--width 0.05]

For each rule: cells behind the slope of ln limit over ln base, the half width of its interval, the CPU seconds of the
tunings and readings behind it, and those to bring it to ``--width``. A step of tuning and the reading of one text are
timed in the same run, with one thread, on the model and the texts of one cell; pre-training, which other experiments
share, is not counted. An interval is as wide as 1 / √n of what varies most, so that seeds, models and documents are
taken to grow together; Student's t for few of them, which narrows faster, is left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from ropewalk.corpora import Corpus
from ropewalk.models.loading import load_model
from ropewalk.models.sources import ModelSource
from ropewalk.reading import nll
from ropewalk.reading.nll_file import read_nll
from ropewalk.rope import Rope
from ropewalk.scores import Scores

STEPS, TEXTS = 5, 2


def cell_seconds(study: Path, experiment: str) -> float:
    """CPU seconds to tune and read one cell, from a few steps and texts."""
    folder = next(iter(sorted((study / "readings").glob(f"{experiment}_*_length-*_nll"))))
    _, about = read_nll(folder / "nll.parquet")
    training, options, names = about["training"], about["options"], list(about["corpora"])
    model = load_model(ModelSource.parse(training["model"]), dtype="float32")
    tuned = training["options"]
    batch = torch.randint(0, 256, (tuned["batch_tokens"] // tuned["length"], tuned["length"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    model.train()
    start = time.process_time()
    for _ in range(STEPS):
        model(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    step = (time.process_time() - start) / STEPS
    model.eval()
    corpora = {name: Corpus.open(study / "corpora/byte" / name) for name in names[:1]}
    texts = nll.texts(corpora, split=options["split"], documents=TEXTS, length=options["read_to"])
    start = time.process_time()
    nll.score(model, Rope.from_json(about["rope"]), texts, [options["read_to"]], window=options["window"])
    text = (time.process_time() - start) / TEXTS
    return step * tuned["steps"] + text * options["documents"] * len(names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="results/NAME of a study that was run")
    parser.add_argument("--experiment", default="bases", help="name of its sweep")
    parser.add_argument("--width", type=float, default=0.05, help="half width to price")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scores = Scores.read(args.study / "reports/scaling" / args.experiment / "scores.json")
    one = cell_seconds(args.study, args.experiment)
    print(f"one cell, tuned and read: {one:.1f} CPU s")
    print(f"{'tuned at':>9}{'rule':>18}{'cells':>7}{'slope':>8}{'±':>8}{'CPU s':>8}{f'CPU s to ± {args.width:g}':>18}")
    for row in scores.select(quantity="slope"):
        if row.low is None or row.high is None or row.value is None:
            continue
        cells = (row.n_bases or 0) * (row.n_seeds or 0) * (row.n_models or 0)
        half, seconds = (row.high - row.low) / 2, cells * one
        needed = seconds * (half / args.width) ** 2
        print(
            f"{row.tune_length:>9}{row.rule:>18}{cells:>7}{row.value:>8.3f}{half:>8.3f}{seconds:>8,.0f}{needed:>18,.0f}"
        )


if __name__ == "__main__":
    main()

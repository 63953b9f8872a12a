"""The numbers of a finished study under names that do not depend on where its files lie, and whether they moved.

    python tests/golden/record.py record RESULTS tests/golden/tiny.json --about commit=09bfd07
    python tests/golden/record.py compare tests/golden/tiny.json FOUND.json

Readers know one kind of file each; only ``collect`` knows the folders. Means are exact sums over a number of values, so
that the order of rows decides nothing. What takes time is left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

Value = float | list[float]
Pairs = Iterator[tuple[str, Value]]

POINTS = 10
"""Steps of a training at which its losses are kept."""
SHORTEST = 16
"""Positions below it are one group; from there on, each doubling is one."""
TIMES = {"seconds", "proposing", "seconds_measuring", "seconds_proposing", "tokens_per_second", "overtakes"}
"""Columns and keys that another run changes; ``overtakes`` is the time after which a search leads."""
VERDICTS = ("reproduced", "not reproduced", "undecided", "not visible", "no verdict", "not tried")
"""Of the scorecard."""
CHECKSUM = "crc32"
"""Names that end so are equal or not, whatever the tolerance."""


def mean(values: Iterable[float]) -> float | None:
    """The mean of the values that are numbers; None where there are none."""
    kept = [float(value) for value in values if not math.isnan(value)]
    return math.fsum(kept) / len(kept) if kept else None


def means(groups: Mapping[str, Iterable[float]]) -> Pairs:
    """The mean of each group that has one."""
    for name, values in groups.items():
        found = mean(values)
        if found is not None:
            yield name, found


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def checksum(file: Path, prefix: str) -> Pairs:
    """The CRC-32 of a file's bytes."""
    yield f"{prefix}/{file.stem}_{CHECKSUM}", zlib.crc32(file.read_bytes())


# Readers: a file, and what its names begin with.


def read_corpus(folder: Path, prefix: str) -> Pairs:
    """How much text there is, and which."""
    about = json.loads((folder / "corpus.json").read_text())
    yield f"{prefix}/documents", about["documents"]
    yield f"{prefix}/tokens", about["tokens"]
    yield f"{prefix}/ids_{CHECKSUM}", zlib.crc32(np.load(folder / "tokens.npy").astype(np.int64).tobytes())


def read_rope(file: Path, prefix: str) -> Pairs:
    """The table of a rope and what it does to logits."""
    about = json.loads(file.read_text())
    yield f"{prefix}/inv_freq", about["inv_freq"]
    yield f"{prefix}/attention_factor", about["attention_factor"]
    if about["log_scaling_length"] is not None:
        yield f"{prefix}/log_scaling_length", about["log_scaling_length"]


def read_losses(file: Path, prefix: str, *, brief: bool) -> Pairs:
    """Losses of a training at a few of its steps, the last among them, and the gradients there."""
    lines = rows_of(file)
    every = math.ceil(len(lines) / POINTS)
    for line in lines[::-1][::every][::-1]:
        yield f"{prefix}/loss@{line['step']}", line["loss"]
        if not brief:
            yield f"{prefix}/gradient_norm@{line['step']}", line["gradient_norm"]


def read_nll(file: Path, prefix: str, *, brief: bool) -> Pairs:
    """Mean NLL by doubling of position, of all texts and by corpus, and of each document; a rope that changes with the
    length has several passes."""
    rows = pd.read_parquet(file)
    doublings = [max(SHORTEST, 2 ** int(position).bit_length()) for position in rows["position"]]
    rows = rows.assign(doubling=doublings, corpus=rows["corpus"].astype(str), document=rows["document"].astype(str))
    for column in ("nll", "window_nll"):
        if column not in rows:
            continue
        start = f"{column}/{prefix}"
        for length, one in rows.groupby("pass_length"):
            within = f"{start}/pass={length}" if rows["pass_length"].nunique() > 1 else start
            groups = {f"{within}/length<={doubling}": part[column] for doubling, part in one.groupby("doubling")}
            yield from means(groups)
            if not brief:
                cells = one.groupby(["corpus", "doubling"])
                yield from means({f"{within}/corpus={c}/length<={d}": part[column] for (c, d), part in cells})
        for corpus, texts in rows.groupby("corpus"):
            by_document = [mean(part[column]) for _, part in texts.groupby("document")]
            yield f"{start}/documents={corpus}", [value for value in by_document if value is not None]


def read_copying(file: Path, prefix: str) -> Pairs:
    """Mean accuracy by gap."""
    rows = pd.read_csv(file)
    yield from means({f"copying/{prefix}/gap={gap}": part["accuracy"] for gap, part in rows.groupby("gap")})


def read_limits(file: Path, prefix: str) -> Pairs:
    """Measured limits of each reading by rule, and predicted ones, which every rule repeats."""
    predicted: dict[str, float] = {}
    measured = ("limit", "low", "high")
    known = {"cell", "tune_length", "steps", "new_base", "log_scaling", "model", "seed", "regime", "rule"}
    known |= set(measured)
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            cell = f"base={float(row['new_base']):.10g}/length={row['tune_length']}/steps={row['steps']}"
            start = f"{prefix}/{row['model']}/{cell}/seed={row['seed']}/log_scaling={row['log_scaling']}"
            for name, value in row.items():
                if not value or name.startswith("ratio "):
                    continue
                if name in measured:
                    yield f"{start}/{row['rule']}/{name}", float(value)
                elif name not in known:
                    predicted[f"{start}/predicted/{name}"] = float(value)
    yield from predicted.items()


def read_search(folder: Path, prefix: str, *, brief: bool) -> Pairs:
    """The trials of a search, what was chosen on the selection documents, and the rope that was found."""
    best = json.loads((folder / "best.json").read_text())
    trials = pd.read_parquet(folder / "trials.parquet")
    asked = best["options"]
    start = f"{prefix}/{asked['sampler']}/{asked['space']}/{asked['factor']:g}x/seed={asked['seed']}"
    parameters = list(best["values"])
    if brief:
        yield f"{start}/objective", trials["objective"].tolist()
        yield f"{start}/parameters", [math.fsum(values) for values in trials[parameters].to_numpy(dtype=float)]
    else:
        for row in trials.to_dict("records"):
            for name in ("objective", "excess", "short", "tail", "answer", "accuracy", "documents", *parameters):
                yield from means({f"{start}/trial={row['number']}/{name}": [row[name]]})
    for name in ("chosen", "objective", "excess", "short_cost"):
        yield f"{start}/best/{name}", best[name]
    if best["answers"]["accuracy"] is not None:
        yield f"{start}/best/ability", best["answers"]["accuracy"]
    for one in best["candidates"]:
        yield f"{start}/selection/trial={one['number']}", [one["objective"], one["excess"]]
    for name, share in best["importances"].items():
        yield f"{start}/importance/{name}", share
    yield from read_rope(folder / "rope.json", f"{start}/rope")


def read_probe(folder: Path, prefix: str) -> Pairs:
    """Means of a rope that was read as a search reads, by length."""
    columns = columns_of(folder)
    rope, factor = columns["method"], columns["factor"]
    if columns["search"] is not None:
        rope = f"{rope.replace('/', '-')}-{factor:g}x-seed-{columns['seed']}"
    elif factor is not None:
        rope = f"{rope}-{factor:g}x"
    for at, part in pd.read_parquet(folder / "measured.parquet").groupby("at"):
        measured = {name: part[name] for name in ("short", "tail", "answer", "accuracy")}
        for name, value in means(measured):
            yield f"{prefix}/rope={rope}/at={at:g}/{name}", value


def read_posgen_training(file: Path, prefix: str, *, brief: bool) -> Pairs:
    """Losses and accuracies of each rope and seed by step; briefly, the training loss of each model alone."""
    lines = rows_of(file)
    for name in (name for name in lines[0] if "/" in name):
        rope, seed, quantity = name.split("/")
        start = f"{prefix}/rope={rope}/seed={seed}/{quantity}"
        if not brief:
            yield from ((f"{start}@{line['step']}", line[name]) for line in lines)
        elif quantity == "training_loss":
            yield start, [line[name] for line in lines]


def read_posgen_accuracy(file: Path, prefix: str) -> Pairs:
    """Accuracies of each rope and seed within the training length and beyond, and the loss over all positions."""
    rows = json.loads((file.parent / "scores.json").read_text())["rows"]
    losses = pd.read_parquet(file).groupby(["rope", "seed"])["loss"]
    for (rope, seed), values in losses:
        start = f"{prefix}/rope={rope}/seed={seed}"
        for row in rows:
            if (row["rope"], row["seed"]) == (rope, seed):
                yield f"{start}/{row['quantity']}", row["value"]
        yield from means({f"{start}/loss": values})


def read_needle(file: Path, prefix: str) -> Pairs:
    """Means by task, length and depth."""
    rows = pd.DataFrame(rows_of(file))
    measured = [name for name in ("score", "nll", "control_nll") if name in rows]
    for (task, length, depth), part in rows.groupby(["task", "length", "depth"]):
        found = dict(means({name: part[name].astype(float) for name in measured}))
        for name, value in found.items():
            yield f"{prefix}/task={task}/length={length}/depth={depth:g}/{name}", value


def read_leval_scores(file: Path, prefix: str) -> Pairs:
    """Scores by subject and task."""
    for row in json.loads(file.read_text())["rows"]:
        if row["quantity"] == "score" and row.get("task") and "against" not in row:
            yield f"{prefix}/subject={row['model']}/task={row['task']}/{row['scoring']}", row["value"]


def read_leval_answers(file: Path, prefix: str) -> Pairs:
    """Checksum of what was said on one task, and the lengths of the prompts."""
    rows = rows_of(file)
    said = [value for row in rows for name, value in row.items() if name.endswith("_pred")]
    yield f"{prefix}/answers_{CHECKSUM}", zlib.crc32("\n".join(said).encode())
    yield f"{prefix}/prompt_tokens", sum(row["prompt_tokens"] for row in rows)


def read_scorecard(file: Path, prefix: str, without: Sequence[str] = ()) -> Pairs:
    """What decided each claim, and how: 0 to 5 in the order of ``VERDICTS``."""
    for finding in json.loads(file.read_text())["findings"]:
        if finding["experiment"] in without:
            continue
        start = f"{prefix}/{finding['id']}"
        yield f"{start}/verdict", VERDICTS.index(finding["verdict"])
        for name in ("value", "low", "high"):
            if finding[name] is not None:
                yield f"{start}/{name}", finding[name]


def read_table(file: Path, prefix: str) -> Pairs:
    """Rows of a report's CSV, and the sum of the finite values of each column of numbers."""
    table = pd.read_csv(file)
    yield f"{prefix}/rows", len(table)
    for name in table.select_dtypes("number"):
        if name not in TIMES:
            values = table[name].astype(float)
            yield f"{prefix}/{name}", math.fsum(values[np.isfinite(values)])


# The walk: where a study's files lie, and what they are called here.

FACTOR = re.compile(r"-[0-9.]+x$")


def collect(results: Path, *, brief: bool = False, without: Sequence[str] = ()) -> dict[str, Value]:
    """The numbers of a study.

    Args:
        results: ``results/NAME`` of a finished study, with one experiment of each kind and one pre-trained model.
        brief: NLL by doubling of all corpora together, no gradients, objective and sum of parameters of each trial.
        without: experiments to leave out.
    """
    found: dict[str, Value] = {}

    def add(reader: Callable[..., Pairs], file: Path, prefix: str, **options: bool) -> None:
        for name, value in reader(file, prefix, **options):
            if name in found:
                raise ValueError(f"two values are called {name}; expected one experiment of each kind.")
            found[name] = value

    for folder in _folders(results / "corpora/byte"):
        add(read_corpus, folder, f"corpus/{folder.name}")
    for table in _folders(results / "ropes"):
        if table.name == "posgen":
            for file in sorted(table.glob("*/*.json")):
                add(read_rope, file, f"posgen/rope/{file.stem}")
            continue
        for file in sorted(table.glob("*.json")):
            # Ropes of a factor and found ones are told by the searches.
            if not FACTOR.search(file.stem) and "seed-" not in file.stem:
                add(read_rope, file, f"sweep/rope/{file.stem}" if "base-" in file.stem else f"rope/{file.stem}")
    for folder in _folders(results / "models"):
        columns = json.loads((folder / "training.json").read_text())["columns"]
        if columns.get("experiment") in without:
            continue
        prefix = f"tune/{trained_as(columns)}" if "tuned_rope" in columns else "pretrain"
        add(read_losses, folder / "metrics.jsonl", prefix, brief=brief)
        add(checksum, folder / "model.safetensors", prefix)
    for folder in _folders(results / "readings"):
        columns = columns_of(folder)
        if columns.get("experiment") in without:
            continue
        tuned = trained_as(columns) if "tuned_rope" in columns else ""
        scaled = "log-scaled" if "_log-" in columns["rope"] else "measured"
        prefix = f"model=fresh/rope={columns['rope']}"
        if tuned:
            prefix = f"model={tuned}/{scaled}" if "base" in columns else f"model={tuned}"
        if (folder / "nll.parquet").exists():
            add(read_nll, folder / "nll.parquet", prefix, brief=brief)
        elif (folder / "copying.csv").exists():
            add(read_copying, folder / "copying.csv", prefix)
        elif (folder / "measured.parquet").exists():
            add(read_probe, folder, "probe")
        elif (folder / "answers.jsonl").exists():
            add(read_needle, folder / "answers.jsonl", f"needle/subject={asked_as(columns)}")
        else:
            for file in sorted(folder.glob("*.jsonl")):
                add(read_leval_answers, file, f"leval/subject={asked_as(columns)}/task={file.name.split('.')[0]}")
    for folder in _folders(results / "searches"):
        if (folder / "best.json").exists():
            add(read_search, folder, "search", brief=brief)
    for task in sorted(results.glob("posgen/*/*")):
        prefix = f"posgen/{task.name}"
        add(read_posgen_training, task / "models/metrics.jsonl", prefix, brief=brief)
        add(checksum, task / "models/models.safetensors", prefix)
        add(read_posgen_accuracy, task / "scores/accuracy.parquet", prefix)
    for report, name in (
        ("predictions/*/predictions.csv", "report/predictions"),
        *((f"search/*/{table}.csv", f"report/search/{table}") for table in ("standings", "rivals", "transfer")),
        ("finetune/*/perplexity.csv", "report/finetune/perplexity"),
        *((f"posgen/*/{table}.csv", f"report/posgen/{table}") for table in ("accuracy", "feature_gap")),
        ("needle/*/needle.csv", "report/needle"),
        ("perplexity/*/perplexity.csv", "report/perplexity"),
    ):
        for file in sorted((results / "reports").glob(report)):
            if file.parent.name not in without:
                add(read_table, file, name)
    for file in sorted((results / "reports").glob("scaling/*/limits.csv")):
        add(read_limits, file, "limits")
    for file in sorted((results / "reports").glob("leval/*/scores.json")):
        add(read_leval_scores, file, "leval")
    for name, value in read_scorecard(results / "scorecard/scorecard.json", "scorecard", without):
        found[name] = value
    return found


def columns_of(reading: Path) -> dict[str, Any]:
    """What a reading is called."""
    if (reading / "nll.parquet").exists():
        metadata = pq.read_schema(reading / "nll.parquet").metadata
        header: dict[str, Any] = json.loads(metadata[b"ropewalk"])
    else:
        header = json.loads((reading / "reading.json").read_text())
    columns: dict[str, Any] = header["columns"]
    return columns


def trained_as(columns: Mapping[str, Any]) -> str:
    """What a tuned model is called here."""
    if "regime" in columns:
        return f"finetune/rope={columns['tuned_rope']}/regime={columns['regime']}/seed={columns['seed']}"
    lengths = f"length={columns['tune_length']}/steps={columns['steps']}"
    return f"sweep/base={columns['base']:.10g}/{lengths}/seed={columns['seed']}"


def asked_as(columns: Mapping[str, Any]) -> str:
    """What a model that was asked is called here."""
    if "regime" in columns:
        return f"{columns['rope']}_{columns['regime']}_seed-{columns['seed']}"
    rope: str = columns["rope"]
    return rope.removeprefix(f"search_{columns['model']}_").replace("_", "-") if "seed-" in rope else rope


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())


# Files of values, and differences between them.


def header() -> dict[str, Any]:
    """What the numbers were made with, as far as this process can tell."""
    packages = ("torch", "transformers", "numpy", "optuna", "pandas")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(file: Path, about: Mapping[str, Any], values: Mapping[str, Value]) -> None:
    """One line for the names that differ in their last part alone; floats survive to the last bit."""
    lines: dict[str, dict[str, Value]] = {}
    for name, value in sorted(values.items()):
        start, _, last = name.rpartition("/")
        lines.setdefault(start, {})[last] = value
    body = ",\n".join(
        f"{json.dumps(start)}: {json.dumps(ends, separators=(',', ':'))}" for start, ends in lines.items()
    )
    file.write_text(f'{{"header": {json.dumps(about, indent=1)},\n"values": {{\n{body}\n}}}}\n')


def load(file: Path) -> dict[str, Value]:
    """The values that :func:`write` wrote, by their whole names."""
    lines = json.loads(file.read_text())["values"]
    return {f"{start}/{last}": value for start, ends in lines.items() for last, value in ends.items()}


def differences(
    golden: Mapping[str, Value], found: Mapping[str, Value], rtol: float = 0.0, atol: float = 0.0
) -> list[str]:
    """What is missing, new, or differs by more than ``atol`` and a share ``rtol`` of it; checksums may not differ."""
    lines = [f"missing: {name}" for name in sorted(golden.keys() - found.keys())]
    lines += [f"new: {name}" for name in sorted(found.keys() - golden.keys())]
    for name in sorted(golden.keys() & found.keys()):
        wanted, got = np.atleast_1d(golden[name]), np.atleast_1d(found[name])
        exact = name.endswith(CHECKSUM)
        if wanted.shape != got.shape:
            lines.append(f"moved: {name}: {wanted.size} values were, {got.size} are")
            continue
        moved = np.flatnonzero(
            ~np.isclose(got, wanted, rtol=0 if exact else rtol, atol=0 if exact else atol, equal_nan=True)
        )
        if len(moved):
            first = int(moved[0])
            place = f"[{first}], {len(moved)} of {wanted.size}" if wanted.size > 1 else ""
            lines.append(f"moved: {name}{place}: {wanted[first].item()!r} was, {got[first].item()!r} is")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="write the numbers of a study")
    record.add_argument("results", type=Path)
    record.add_argument("output", type=Path)
    record.add_argument("--brief", action="store_true", help="fewer numbers, for a study of many jobs")
    record.add_argument("--about", action="append", default=[], metavar="KEY=VALUE", help="for the header")
    compare = commands.add_parser("compare", help="say what moved between two files of numbers")
    compare.add_argument("golden", type=Path)
    compare.add_argument("found", type=Path)
    compare.add_argument("--rtol", type=float, default=0.0)
    given = parser.parse_args(arguments)
    if given.command == "record":
        values = collect(given.results, brief=given.brief)
        told = dict(pair.split("=", 1) for pair in given.about)
        write(given.output, {**told, "brief": given.brief, **header()}, values)
        print(f"{len(values)} names, {given.output.stat().st_size / 1000:.0f} kB")
        return 0
    golden, found = load(given.golden), load(given.found)
    lines = differences(golden, found, given.rtol)
    print("\n".join([*lines, f"{len(golden)} names, {len(lines)} differences"]))
    return bool(lines)


if __name__ == "__main__":
    raise SystemExit(main())

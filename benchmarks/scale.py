"""What breaks first when a workflow grows: planning, MLflow, the journal of a search, or the number of files.

    uv run python benchmarks/scale.py plan [--jobs 1000,5000,20000]
    uv run python benchmarks/scale.py mlflow [--runs 50,250] [--points 100]
    uv run python benchmarks/scale.py journal [--writers 1,4,16] [--trials 20]
    uv run python benchmarks/scale.py files results/embedded

`plan` dry-runs a sweep of the base with ever more seeds and one fine-tuning with ever more seeds, and prints seconds on
the clock, seconds of CPU and memory. `mlflow` records jobs that do nothing, with as many points of a metric as a short
training has, delivers them to an SQLite store and prints seconds and bytes a run. `journal` lets processes share the
journal of one search, with trials that take no time. `files` counts what a study has left, by stage.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ropewalk.tracking import Job, deliver, run_tracked

ROOT = Path(__file__).parents[1]
BASES = 50


def sweep(jobs: int) -> dict[str, Any]:
    """A study of about so many jobs: LLaMA-2 7B, 50 bases and as many seeds as needed; a cell is two jobs."""
    study = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    bases = [500.0 + 1000 * step for step in range(BASES)]
    study["sweeps"]["bases"]["groups"] = [{"bases": bases, "seeds": list(range(jobs // (2 * BASES)))}]
    return study


def tunings(jobs: int) -> dict[str, Any]:
    """The same for fine-tuning: two ropes, two regimes, as many seeds as needed; a training is two jobs."""
    study = yaml.safe_load((ROOT / "config/paper-finetune.yaml").read_text())
    study["tunings"]["finetune"]["seeds"] = list(range(jobs // 8))
    return study


def plan(jobs: list[int]) -> None:
    """Print what a dry run takes."""
    print("study           jobs    clock s      CPU s    MiB")
    for make in (sweep, tunings):
        for wanted in jobs:
            with tempfile.TemporaryDirectory() as folder:
                config, said = Path(folder) / "study.yaml", Path(folder) / "said"
                config.write_text(yaml.safe_dump({**make(wanted), "name": "scale"}))
                command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--configfile", str(config)]
                started = time.perf_counter()
                with said.open("w") as output:
                    child = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
                    _, status, used = os.wait4(child.pid, 0)
                clock = time.perf_counter() - started
                lines = said.read_text().splitlines()
                if status:
                    raise SystemExit("\n".join(lines[-20:]))
                total = next(line.split()[1] for line in lines if line.startswith("total "))
                cpu = used.ru_utime + used.ru_stime
                print(
                    f"{make.__name__:<10} {int(total):>9,} {clock:>10.1f} {cpu:>10.1f} {used.ru_maxrss / 1024:>6,.0f}"
                )


def mlflow(runs: list[int], points: int) -> None:
    """Print what recording and delivering takes."""
    print("runs      record s a run  deliver s a run   bytes a run in the database")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = folder / "mlflow.db"
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{database}"
        metrics = folder / "metrics.jsonl"
        metrics.write_text(
            "".join(f'{{"step": {step}, "loss": 2.5, "time": {1.7e9 + step}}}\n' for step in range(points))
        )
        settings = {f"setting_{number}": number for number in range(25)}
        done, size = 0, 0
        for wanted in [1, *runs]:  # the first creates the tables
            started = time.perf_counter()
            for number in range(done, wanted):
                job = Job("scale/tune", f"job-{number}", folder / f"records/{number}", settings, metrics_file=metrics)
                run_tracked(job, ["true"])
            recorded = time.perf_counter()
            # All that waits goes in one delivery, as at the end of a workflow.
            sent = deliver(folder / "records").sent
            delivered = time.perf_counter()
            if done:
                grown = (database.stat().st_size - size) / sent
                print(
                    f"{wanted:>5,} {(recorded - started) / sent:>18.3f} {(delivered - recorded) / sent:>16.3f} "
                    f"{grown:>13,.0f}",
                    flush=True,
                )
            done, size = wanted, database.stat().st_size


def write_trials(journal: str, trials: int, ready: Any) -> None:
    """One process on the journal of a search: six numbers, a value and three notes a trial, as Ropewalk's have."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(journal)),
        sampler=optuna.samplers.RandomSampler(),
    )
    ready.wait()
    for _ in range(trials):
        trial = study.ask()
        value = sum(trial.suggest_float(name, 0, 1) for name in "abcdef")
        for note in ("short", "long", "seconds"):
            trial.set_user_attr(note, value)
        study.tell(trial, value)


def journal(writers: list[int], trials: int) -> None:
    """Print how many trials a second go through one journal."""
    print("writers  trials a second of all")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    context = multiprocessing.get_context("spawn")
    for count in writers:
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/journal"
            optuna.create_study(study_name="search", storage=JournalStorage(JournalFileBackend(path)))
            ready = context.Barrier(count + 1)
            processes = [context.Process(target=write_trials, args=(path, trials, ready)) for _ in range(count)]
            for process in processes:
                process.start()
            ready.wait()
            started = time.perf_counter()
            for process in processes:
                process.join()
            print(f"{count:>7} {count * trials / (time.perf_counter() - started):>10.1f}", flush=True)


def files(study: Path) -> None:
    """Print the files and bytes of each stage of a study."""
    number, size = Counter[str](), Counter[str]()
    for path in study.rglob("*"):
        if path.is_file():
            stage = path.relative_to(study).parts[0]
            number[stage] += 1
            size[stage] += path.stat().st_size
    for stage, count in number.most_common():
        print(f"{stage:<20} {count:>7,} files {size[stage] / 1e6:>10,.1f} MB")
    print(f"{'all':<20} {number.total():>7,} files {size.total() / 1e6:>10,.1f} MB")


def numbers(text: str) -> list[int]:
    """Whole numbers, separated by commas."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    planning = what.add_parser("plan")
    planning.add_argument("--jobs", type=numbers, default=[1000, 5000, 20000])
    tracking = what.add_parser("mlflow")
    tracking.add_argument("--runs", type=numbers, default=[50, 250])
    tracking.add_argument("--points", type=int, default=100)
    searching = what.add_parser("journal")
    searching.add_argument("--writers", type=numbers, default=[1, 4, 16])
    searching.add_argument("--trials", type=int, default=20)
    what.add_parser("files").add_argument("study", type=Path)
    given = parser.parse_args()
    match given.what:
        case "plan":
            plan(given.jobs)
        case "mlflow":
            mlflow(given.runs, given.points)
        case "journal":
            journal(given.writers, given.trials)
        case _:
            files(given.study)


if __name__ == "__main__":
    main()

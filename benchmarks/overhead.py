"""What a job costs that does nothing, against a bare import of torch and MLflow, in one run.

    uv run python benchmarks/overhead.py [--repeats 3]

Printed are the least CPU and wall seconds of several tries and the ratio of CPU seconds, for: the import; `ropewalk
--help`; a job as a rule runs it, `ropewalk track … -- true`; the same as the only job of a Snakemake workflow; what
`ropewalk deliver` then needs to record it, once for all jobs that wait; and dry runs of the studies of the papers.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRACKED = "ropewalk track --experiment overhead/none --name none --root records --log log -- true"
SNAKEFILE = f"""
rule none:
    output: touch("done")
    shell: {TRACKED!r}
"""
PAPERS = ("paper", "paper-finetune")


def measure(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """CPU and wall seconds of a command, those of its children included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}; the times mean nothing\n{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="tries, of which the least counts")
    options = parser.parse_args()
    snakemake = [sys.executable, "-m", "snakemake"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        measure(["sh", "-c", TRACKED], folder, environment)
        measure(["ropewalk", "deliver", "records"], folder, environment)  # the first makes the tables
        commands = {
            "import torch, mlflow": ([sys.executable, "-c", "import torch, mlflow"], folder),
            "ropewalk --help": (["ropewalk", "--help"], folder),
            "a job": (["sh", "-c", TRACKED], folder),
            "a job of Snakemake": ([*snakemake, "--cores", "1", "--forceall"], folder),
            "delivery": (["ropewalk", "deliver", "records"], folder),
        }
        for study in PAPERS:
            dry = [*snakemake, "-n", "--quiet", "--configfile", f"config/{study}.yaml"]
            commands[f"dry run of {study}"] = (dry, ROOT)
        lines: dict[str, list[tuple[float, float]]] = {what: [] for what in commands}
        for _ in range(options.repeats):
            for what, (command, place) in commands.items():
                lines[what].append(measure(command, place, environment))

    bare = min(cpu for cpu, _ in lines["import torch, mlflow"])
    print(f"{'':26}{'CPU s':>8}{'wall s':>8}{'ratio':>8}")
    for what, times in lines.items():
        cpu, wall = (min(values) for values in zip(*times, strict=True))
        print(f"{what:26}{cpu:>8.2f}{wall:>8.2f}{cpu / bare:>8.2f}")


if __name__ == "__main__":
    main()

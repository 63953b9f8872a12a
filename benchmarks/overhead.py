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
    python, snakemake = [sys.executable, "-c"], [sys.executable, "-m", "snakemake"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}

        def job() -> None:
            subprocess.run(["sh", "-c", TRACKED], cwd=folder, env=environment, check=True)

        job()
        measure(["ropewalk", "deliver", "records"], folder, environment)  # the first makes the tables
        lines = {"import torch, mlflow": [], "ropewalk --help": [], "a job": [], "a job of Snakemake": []}
        lines |= {"delivery": [], **{f"dry run of {study}": [] for study in PAPERS}}
        for _ in range(options.repeats):
            lines["import torch, mlflow"].append(measure([*python, "import torch, mlflow"], folder, environment))
            lines["ropewalk --help"].append(measure(["ropewalk", "--help"], folder, environment))
            lines["a job"].append(measure(["sh", "-c", TRACKED], folder, environment))
            command = [*snakemake, "--cores", "1", "--forceall"]
            lines["a job of Snakemake"].append(measure(command, folder, environment))
            lines["delivery"].append(measure(["ropewalk", "deliver", "records"], folder, environment))
            for study in PAPERS:
                command = [*snakemake, "-n", "--quiet", "--configfile", f"config/{study}.yaml"]
                lines[f"dry run of {study}"].append(measure(command, ROOT, environment))

    bare = min(cpu for cpu, _ in lines["import torch, mlflow"])
    print(f"{'':26}{'CPU s':>8}{'wall s':>8}{'ratio':>8}")
    for what, times in lines.items():
        cpu, wall = (min(values) for values in zip(*times, strict=True))
        print(f"{what:26}{cpu:>8.2f}{wall:>8.2f}{cpu / bare:>8.2f}")


if __name__ == "__main__":
    main()

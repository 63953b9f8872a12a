"""Put what a part of docs/gpu/one-hour.sh has made beside what made it: `python docs/gpu/collect.py RESULTS OUT`.

Of a study's reports their pages, figures and numbers, without models and texts; and ``provenance.json``: commit,
device, driver, versions, date and time.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ropewalk.files import write_json

PACKAGES = ("ropewalk", "torch", "transformers", "accelerate", "optuna", "numpy", "liger-kernel", "flash-attn")
LARGEST = 2**20
"""Bytes of a file that is taken."""


def said(*command: str) -> str | None:
    """What a command prints; None where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of what computes, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance() -> dict[str, Any]:
    """What makes numbers repeatable."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "commit": said("git", "rev-parse", "HEAD"),
        "changed": bool(said("git", "status", "--porcelain", "--untracked-files=no")),
        "device": gpu or f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "driver": said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> None:
    results, out = Path(sys.argv[1]), Path(sys.argv[2])
    taken = 0
    for file in sorted(results.glob("reports/**/*")) + sorted(results.glob("*.html")) + sorted(results.glob("*.json")):
        if file.is_file() and file.stat().st_size <= LARGEST:
            target = out / file.relative_to(results)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
            taken += 1
    write_json(out / "provenance.json", provenance())
    print(f"{out}: {taken} files of reports, provenance.json, check.json and logs, as far as their parts have run")


if __name__ == "__main__":
    main()

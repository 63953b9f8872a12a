"""Pin what jobs need: write envs/requirements.lock from uv.lock, and its hash into envs/ropewalk.yaml.

Run `uv lock && python envs/lock.py` after a change of the dependencies.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

ENVS = Path(__file__).parent


def conda_yaml(lock: str) -> str:
    """The conda file for the text of a lock file.

    The packages themselves come by envs/ropewalk.post-deploy.sh: some are wanted without their own requirements and all
    with their hashes, neither of which the pip section of a conda file can say. Snakemake makes a new environment when
    this text changes, which is why the hash of the lock is in it.
    """
    digest = hashlib.sha256(lock.encode()).hexdigest()
    return (
        "# Written by `python envs/lock.py`; packages are installed by ropewalk.post-deploy.sh.\n"
        f"# requirements.lock: {digest}\n"
        "channels: [conda-forge]\n"
        "dependencies:\n"
        "  - python=3.12\n"
        "  - pip\n"
    )


def main() -> None:
    lock = ENVS / "requirements.lock"
    # What `uv run` brings by itself: tools of development are not for clusters.
    options = ["--no-emit-project", "--no-annotate", "--no-header"]
    subprocess.run(["uv", "export", "--quiet", "--frozen", *options, "-o", str(lock)], cwd=ENVS.parent, check=True)
    (ENVS / "ropewalk.yaml").write_text(conda_yaml(lock.read_text()))


if __name__ == "__main__":
    main()

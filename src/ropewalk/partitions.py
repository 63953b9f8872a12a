"""What a Slurm cluster allows a job, asked of Slurm itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ropewalk.errors import UserError


@dataclass(frozen=True)
class Partition:
    """The most that one job may ask a partition for; None where there is no limit.

    Attributes:
        name: of the partition.
        minutes: of wall time.
        mem_mb: memory of its largest node, in MB.
    """

    name: str
    minutes: int | None = None
    mem_mb: int | None = None

    def most(self, resource: str) -> int | None:
        """The limit of ``mem_mb`` or of ``runtime`` (minutes)."""
        return self.mem_mb if resource == "mem_mb" else self.minutes

    def check(self, kind: str, resource: str, wanted: int) -> None:
        """Refuse what no job of this partition ever gets: Slurm would let it wait for ever, or reject it at its turn.

        Raises:
            UserError: a first attempt asks for more than there is.
        """
        most = self.most(resource)
        if most is not None and wanted > most:
            unit = "MB of memory on its largest node" if resource == "mem_mb" else "minutes at most"
            raise UserError(
                f"config key 'resources.{kind}.{resource}' is {wanted}, and the Slurm partition {self.name} has {most} "
                f"{unit}; ask for less, or name another partition (slurm_partition in the profile)."
            )

    def capped(self, resource: str, wanted: int) -> int:
        """What another attempt asks for: no more than there is."""
        most = self.most(resource)
        return wanted if most is None else min(wanted, most)


@cache
def partitions() -> dict[str, Partition]:
    """The partitions of the cluster by name, and the default one under ``""``; none where Slurm does not answer."""
    if shutil.which("sinfo") is None:
        return {}
    asked = ["sinfo", "--noheader", "--Node", "--format=%P|%l|%m"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    return read_partitions(said.stdout)


def read_partitions(text: str) -> dict[str, Partition]:
    """Read lines of partition (the default one with a star), time limit, and memory of a node in MB."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, limit, memory = line.strip().split("|")
        known = found.get(name.rstrip("*"))
        mem_mb = max(int(memory.rstrip("+")), (known.mem_mb if known else None) or 0)
        partition = Partition(name.rstrip("*"), _minutes(limit), mem_mb)
        found[partition.name] = partition
        if name.endswith("*"):
            found[""] = partition
    return found


def _minutes(limit: str) -> int | None:
    """Minutes of a time limit as DAYS-HOURS:MINUTES:SECONDS, of which the front parts may be missing."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if match is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes


def partition_of(known: Mapping[str, Partition], name: str | None) -> Partition:
    """A partition by its name, the default one without; one without limits where it is not known.

    Of several, as ``a,b``, Slurm takes whichever is free first, so that the tightest limits count.
    """
    names = [part for part in (name or "").split(",") if part in known] or ([""] if not name and "" in known else [])
    chosen = [known[part] for part in names]
    if len(chosen) < 2:
        return chosen[0] if chosen else Partition(name or "")
    minutes = [one.minutes for one in chosen if one.minutes is not None]
    memory = [one.mem_mb for one in chosen if one.mem_mb is not None]
    return Partition(name or "", min(minutes, default=None), min(memory, default=None))

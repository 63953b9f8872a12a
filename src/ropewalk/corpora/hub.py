"""The data sets of the papers on the Hugging Face hub: their files are brought one after the other, and kept."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ropewalk.errors import PassingError, UserError
from ropewalk.files import files_below
from ropewalk.hub import refusal


@dataclass(frozen=True)
class HubText:
    """A data set on the hub: the paths of the files wanted of it, and the key of their text.

    Files rather than configurations are named: proof-pile's needs a script that nobody runs any more.
    """

    dataset: str
    files: tuple[str, ...]
    column: str


HUB = {
    # The training books, since models are tuned on them; held-out books come from this project's own splits.
    "pg19": HubText("emozilla/pg19", ("data/train-*.parquet",), "text"),
    # All of it: the parts that GovReport itself holds out have about eight reports of 32,768 tokens.
    "govreport": HubText(
        "ccdv/govreport-summarization",
        ("document/test-*.parquet", "document/validation-*.parquet", "document/train-*.parquet"),
        "report",
    ),
    # Read for evaluation only: the part that Proof-pile itself holds out.
    "proof-pile": HubText("hoskinson-center/proof-pile", ("test/proofpile_test.jsonl.gz",), "text"),
}


def commit(name: str, revision: str | None) -> str:
    """The commit that ``revision`` of a data set stands for; a commit in full stands for itself, and asks nobody.

    Without the network it is the commit that was last brought under that name.

    Raises:
        UserError: there is no such revision, or the hub cannot be reached and nothing is kept of it.
    """
    revision, dataset = revision or "main", HUB[name].dataset
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import HfApi

    try:
        # It keeps what the name stood for, which serves when the network is away.
        return HfApi().resolve_revision(dataset, repo_type="dataset", revision=revision).resolved
    except Exception as error:
        raise _unreachable(name, revision, error) from None


def rows(name: str, revision: str) -> Iterator[str]:
    """The texts of a data set in their order; a file is brought when the one before has been read.

    Args:
        name: key of ``HUB``.
        revision: a commit.

    Raises:
        UserError: a file cannot be had or read, or lacks the key of the text.
    """
    wanted = HUB[name]
    known = _listed(name, revision) if any("*" in pattern for pattern in wanted.files) else []
    for pattern in wanted.files:
        for file in _files(name, revision, pattern, known):
            path = _brought(name, revision, file)
            try:
                yield from _parquet(path, wanted.column) if path.suffix == ".parquet" else _lines(path, wanted.column)
            except (OSError, ValueError, LookupError, EOFError) as error:
                raise _unreachable(name, revision, error, f"{file} ") from None


def _listed(name: str, revision: str) -> list[str]:
    """The files of a data set, or those of it that are kept on this machine, where the network is away."""
    from huggingface_hub import HfApi, constants, snapshot_download

    dataset = HUB[name].dataset
    try:
        if not constants.HF_HUB_OFFLINE:
            return list(HfApi().list_repo_files(dataset, repo_type="dataset", revision=revision))
        kept = Path(snapshot_download(dataset, repo_type="dataset", revision=revision, local_files_only=True))
        return [file.relative_to(kept).as_posix() for file in files_below(kept)]
    except Exception as error:
        raise _unreachable(name, revision, error) from None


def _files(name: str, revision: str, pattern: str, known: list[str]) -> list[str]:
    """The files that a pattern stands for, in order; those that a file's own name counts, where the network is away."""
    from huggingface_hub import constants

    if "*" not in pattern:
        return [pattern]
    found = sorted(file for file in known if fnmatch(file, pattern))
    if found:
        return _counted(found) if constants.HF_HUB_OFFLINE else found
    place = f"hub:{name} ({HUB[name].dataset} at revision {revision})"
    if constants.HF_HUB_OFFLINE:
        raise PassingError(
            f"{place}: {pattern} is not kept on this machine, and the Hugging Face hub cannot be asked (offline)."
        )
    raise UserError(f"{place} has no file {pattern}.")


def _counted(kept: list[str]) -> list[str]:
    """All files of a set such as ``train-00002-of-00023.parquet``, of which some are kept."""
    together = re.search(r"-(\d{5})-of-(\d{5})\.", kept[0])
    if together is None:
        return kept
    front, back = kept[0][: together.start()], kept[0][together.end() :]
    return [f"{front}-{k:05d}-of-{together[2]}.{back}" for k in range(int(together[2]))]


def _brought(name: str, revision: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(HUB[name].dataset, file, repo_type="dataset", revision=revision))
    except Exception as error:
        raise _unreachable(name, revision, error, f"{file} ") from None


def _parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(batch_size=64, columns=[column]):
        yield from batch.column(column).to_pylist()


def _lines(path: Path, column: str) -> Iterator[str]:
    with gzip.open(path, "rb") as lines:
        for line in lines:
            record: dict[str, Any] = json.loads(line)
            yield record[column]


def _unreachable(name: str, revision: str, error: Exception, what: str = "") -> UserError:
    place = f"hub:{name} ({HUB[name].dataset} at revision {revision})" + (f": {what.strip()}" if what else "")
    reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return refusal(place, error, "data set") or PassingError(f"{place} cannot be read: {reason}.")

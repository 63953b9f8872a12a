"""Options of a corpus."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ropewalk.errors import OptionError
from ropewalk.options import Count, Options

_SOURCES = re.compile(r"package:(books|government|mathematics)|hub:(pg19|govreport|proof-pile)|folder:.+")


@dataclass(frozen=True, kw_only=True)
class CorpusOptions(Options):
    """Documents, tokenised once for each tokenizer."""

    source: str
    """where the text is: package:books, package:government, package:mathematics, folder:PATH, hub:pg19, hub:govreport
    or hub:proof-pile"""
    revision: str | None = None
    """revision of a data set on the hub; a commit hash pins it"""
    text_key: str = "text"
    """key of the text in the lines of JSONL files"""
    limit: Count | None = None
    """most documents that are read; all where null"""

    def check(self) -> None:
        if not _SOURCES.fullmatch(self.source):
            raise OptionError(
                f"source is {self.source!r}; expected package:books, package:government, package:mathematics, "
                "folder:PATH, hub:pg19, hub:govreport or hub:proof-pile."
            )


@dataclass(frozen=True)
class Need:
    """What a study will ask of a corpus: so many documents of a split with so many tokens at least.

    The token that begins a text, where the tokenizer has one, counts as one of them in ``test``, ``selection`` and
    ``search``, as it does in readings.
    """

    split: str
    length: int
    documents: int

"""Where text comes from, which split it belongs to, and how it is kept once it has been tokenised."""

from __future__ import annotations

from ropewalk.corpora.sources import Document, describe, read_source
from ropewalk.corpora.splits import SPLITS, split_of
from ropewalk.corpora.store import Corpus, build, fingerprint

__all__ = ["SPLITS", "Corpus", "Document", "build", "describe", "fingerprint", "read_source", "split_of"]

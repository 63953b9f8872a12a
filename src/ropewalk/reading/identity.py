"""What makes a reading itself: what an interrupted one left behind is of use only where all of it is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ropewalk.corpora.store import Corpus
from ropewalk.models.sources import ModelSource, weights_hash
from ropewalk.options import Options, plain
from ropewalk.rope import Rope


def reading_identity(
    source: ModelSource, rope: Rope, options: Options, corpora: Mapping[str, Corpus]
) -> dict[str, Any]:
    """Model, rope, text and options, without the ``chunk``, which changes no result."""
    return {
        "model": str(source),
        "weights": weights_hash(source),
        "rope": rope.to_json(),
        "options": {key: value for key, value in plain(options).items() if key != "chunk"},
        "corpora": {name: corpus.info["provenance"] for name, corpus in sorted(corpora.items())},
    }

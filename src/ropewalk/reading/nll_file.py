"""``nll.parquet``: the negative log-likelihood of every scored token.

One row a scored token, with columns

- ``corpus`` and ``document``: which text;
- ``position``: index of the predicted token in the input, from 1;
- ``nll``: nats, float32;
- ``pass_length``: tokens in the forward pass. With a static rope one pass at the longest length serves every shorter
  one, since a causal model's prediction does not depend on what follows. A rope that changes with the length needs
  a pass for each;
- ``window_nll``, where a window was asked for: nats of the same token, given no more than the last ``window - stride``
  to ``window - 1`` tokens before it; the stride is half a window where none was given. What ``nll`` is above it, the
  model loses by reading on.

The file's metadata hold a JSON object ``ropewalk`` with the model, how many weights it has (``parameters``), the rope
and the settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ropewalk.errors import UserError
from ropewalk.files import whole_file

METADATA = b"ropewalk"
COLUMNS = ("corpus", "document", "position", "nll", "pass_length")


def write_nll(path: str | Path, rows: pd.DataFrame, metadata: dict[str, Any]) -> None:
    """Write ``nll.parquet``, whole or not at all.

    Raises:
        UserError: an NLL is not finite, which names the document and position.
    """
    measured = [column for column in ("nll", "window_nll") if column in rows]
    bad = rows[~np.isfinite(rows[measured]).all(axis=1)]
    if len(bad):
        first = bad.iloc[0]
        raise UserError(
            f"{len(bad)} NLL values are not finite, the first at position {first['position']} of document "
            f"{first['document']!r}; the model or the rope is broken."
        )
    categories = rows.astype({"corpus": "category", "document": "category"})
    write_table(path, categories[[*COLUMNS, *measured[1:]]], METADATA, metadata)


def read_nll(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read ``nll.parquet``: its rows and its metadata.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    rows, metadata = read_table(path, METADATA, "an nll.parquet")
    lacking = [column for column in COLUMNS if column not in rows]
    if metadata is None or lacking:
        raise UserError(f"{path} is no nll.parquet: it lacks {', '.join(lacking) or 'its ropewalk metadata'}.")
    return rows, metadata


def write_table(path: str | Path, rows: pd.DataFrame, key: bytes, metadata: Mapping[str, Any]) -> None:
    """Write a parquet file that holds a JSON object under a key of its metadata, whole or not at all."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), key: json.dumps(metadata).encode()})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: str | Path, key: bytes, what: str) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Read a parquet file: its rows, and the JSON object under a key of its metadata; None where there is none.

    Raises:
        UserError: the file is missing or no parquet file; ``what`` says what it should have been.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {what}.") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged or no parquet file: {error}.") from None
    metadata = (table.schema.metadata or {}).get(key)
    return table.to_pandas(), None if metadata is None else json.loads(metadata)

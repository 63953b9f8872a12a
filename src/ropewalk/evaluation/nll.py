"""The negative log-likelihood of every token of a text, from one causal pass.

The value that travels is ``nll.parquet``: one row a scored token, with columns

- ``corpus`` and ``document``: which text;
- ``position``: index of the predicted token in the input, from 1;
- ``nll``: nats, float32;
- ``pass_length``: tokens in the forward pass. With a static rope one pass at the longest length serves every shorter
  one, since a causal model's prediction does not depend on what follows. A rope that changes with the length needs
  a pass for each.

The file's metadata hold a JSON object ``ropewalk`` with the model, the rope and the settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import DynamicCache, PreTrainedModel

from ropewalk.corpora.store import Corpus
from ropewalk.errors import UserError
from ropewalk.files import whole_file
from ropewalk.models import binding
from ropewalk.progress import Progress
from ropewalk.rope import Rope

COLUMNS = ("corpus", "document", "position", "nll", "pass_length")

DEFAULT_CHUNK = 1024
"""Tokens that go through the model at a time. Logits take chunk × vocabulary × 4 bytes."""


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device; on a CPU within the limit of the job's control group."""
    if device.type == "cuda":
        # What torch keeps of freed tensors is free to it, though not to the driver.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, KeyError):  # no control groups, or no limit
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # The group is charged for cached files, which give way.
        free = min(free, limit - used + int(counts["file"]))
    return free


def check_memory(model: PreTrainedModel, length: int, chunk: int) -> None:
    """Refuse a length that cannot fit, before anything is run: an overfull machine kills the job without a word.

    Raises:
        UserError: the key/value cache of ``length`` tokens and the logits of a chunk exceed the free memory.
    """
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None) or length
    kept = sum(min(window, length) if kind == "sliding_attention" else length for kind in kinds)
    cache = 2 * kept * heads * binding.head_dim(config) * model.dtype.itemsize
    # In the model's dtype, in float32, and their softmax.
    logits = min(chunk, length) * config.vocab_size * (model.dtype.itemsize + 8)
    free, gib = free_memory(model.device), 2**30
    if cache + logits > free:
        raise UserError(
            f"a length of {length} tokens needs {(cache + logits) / gib:.1f} GiB for its key/value cache and logits; "
            f"{free / gib:.1f} GiB are free. Evaluate shorter lengths, or use smaller chunks than {chunk} tokens."
        )


@contextmanager
def memory_errors(length: int) -> Iterator[None]:
    """Turn the many errors of too little memory into one sentence.

    Raises:
        UserError: memory ran out in the block.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise UserError(
            f"memory ran out at a length of {length} tokens; evaluate shorter lengths or use smaller chunks."
        ) from None


@torch.inference_mode()
def token_nll(model: PreTrainedModel, tokens: np.ndarray, *, chunk: int = DEFAULT_CHUNK) -> np.ndarray:
    """NLL of each token given all before it, by chunked prefill with a key/value cache.

    Memory grows with the length only through the cache; logits exist for one chunk at a time.

    Args:
        model: a causal language model with a static rope.
        tokens: token ids, shape (length,).
        chunk: tokens that go through the model at a time.

    Returns:
        Nats, float32, shape (length - 1,): entry i is the NLL of token i + 1.

    Raises:
        UserError: fewer than two tokens, or memory ran out.
    """
    if len(tokens) < 2:
        raise UserError(f"a text of {len(tokens)} tokens has nothing to predict; expected at least 2.")
    ids = torch.from_numpy(np.asarray(tokens, dtype=np.int64)).to(model.device)
    cache = DynamicCache(config=model.config) if len(ids) > chunk else None
    nll = torch.empty(len(ids) - 1, dtype=torch.float32, device=model.device)
    with memory_errors(len(ids)):
        for start in range(0, len(ids) - 1, chunk):
            # The last token is only ever predicted.
            stop = min(start + chunk, len(ids) - 1)
            output = model(input_ids=ids[None, start:stop], past_key_values=cache, use_cache=cache is not None)
            logits = output.logits[0].float()
            nll[start:stop] = torch.nn.functional.cross_entropy(logits, ids[start + 1 : stop + 1], reduction="none")
            del output, logits
    return nll.cpu().numpy()


@dataclass(frozen=True)
class Text:
    """A text to score: its corpus, its document id, and its tokens, shape (length,)."""

    corpus: str
    document: str
    tokens: np.ndarray


def texts(corpora: Mapping[str, Corpus], *, split: str, documents: int, length: int) -> list[Text]:
    """The first ``length`` tokens of ``documents`` documents from a split of each corpus.

    The beginning-of-text token is put in front where the tokenizer does so, and counts as one of the tokens.

    Raises:
        UserError: a corpus has too few documents of that length.
    """
    found = []
    for name, corpus in corpora.items():
        front = [] if corpus.bos_id is None else [corpus.bos_id]
        for document in corpus.select(split, length - len(front), documents):
            body = corpus.document(document)[: length - len(front)]
            found.append(Text(name, document, np.concatenate([np.array(front, dtype=np.int64), body])))
    return found


def score(
    model: PreTrainedModel,
    rope: Rope,
    wanted: Sequence[Text],
    lengths: Sequence[int],
    *,
    chunk: int = DEFAULT_CHUNK,
) -> pd.DataFrame:
    """The rows of ``nll.parquet`` for one model, one rope and some texts.

    Args:
        model: stays patched with the rope.
        rope: static ropes take one pass at the longest length, others one at each.
        wanted: texts of at least the longest length.
        lengths: in tokens.
        chunk: tokens that go through the model at a time.
    """
    passes = [max(lengths)] if rope.static else sorted(lengths)
    frames = []
    with Progress("NLL", len(passes) * len(wanted), unit="text") as progress:
        for length in passes:
            check_memory(model, length, chunk)
            binding.patch(model, rope.at(length))
            binding.check_float32(model)
            for text in wanted:
                if len(text.tokens) < length:
                    raise UserError(
                        f"document {text.document!r} of {text.corpus} has {len(text.tokens)} tokens; "
                        f"expected at least {length}."
                    )
                nll = token_nll(model, text.tokens[:length], chunk=chunk)
                frames.append(
                    pd.DataFrame(
                        {
                            "corpus": text.corpus,
                            "document": text.document,
                            "position": np.arange(1, length, dtype=np.int32),
                            "nll": nll,
                            "pass_length": np.int32(length),
                        }
                    )
                )
                progress.advance(note=f"{length} tokens · {nll.mean():.3f} nats")
    return pd.concat(frames, ignore_index=True)


def write_nll(path: str | Path, rows: pd.DataFrame, metadata: dict[str, Any]) -> None:
    """Write ``nll.parquet``, whole or not at all.

    Raises:
        UserError: an NLL is not finite, which names the document and position.
    """
    bad = rows[~np.isfinite(rows["nll"])]
    if len(bad):
        first = bad.iloc[0]
        raise UserError(
            f"{len(bad)} NLL values are not finite, the first at position {first['position']} of document "
            f"{first['document']!r}; the model or the rope is broken."
        )
    categories = rows.astype({"corpus": "category", "document": "category"})
    table = pa.Table.from_pandas(categories[list(COLUMNS)], preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"ropewalk": json.dumps(metadata).encode()})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_nll(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read ``nll.parquet``: its rows and its metadata.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected an nll.parquet.") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged or no parquet file: {error}.") from None
    metadata = (table.schema.metadata or {}).get(b"ropewalk")
    lacking = [column for column in COLUMNS if column not in table.column_names]
    if metadata is None or lacking:
        raise UserError(f"{path} is no nll.parquet: it lacks {', '.join(lacking) or 'its ropewalk metadata'}.")
    return table.to_pandas(), json.loads(metadata)

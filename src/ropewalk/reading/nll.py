"""The negative log-likelihood of every token of a text, from one causal pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel

from ropewalk.corpora.store import Corpus
from ropewalk.errors import PassingError, UserError
from ropewalk.files import whole_file
from ropewalk.models import binding
from ropewalk.models.heads import decoder, has_plain_head
from ropewalk.models.pieces import in_pieces, reads_in_pieces
from ropewalk.models.rope_reading import head_dim, text_config
from ropewalk.progress import Progress
from ropewalk.rope import Rope

DEFAULT_CHUNK = 1024
"""Tokens whose logits exist at a time; they take chunk × vocabulary × 4 bytes."""

CPU_TOKENS = 2048
"""Tokens of several texts in one pass on a CPU, whose caches like small batches."""

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch says where memory ran out, of which only some errors have a type of their own."""


def rows_at_once(device: torch.device, length: int, gpu_tokens: int) -> int:
    """Texts of ``length`` tokens that go through a model in one pass, at least one; the tokens of a GPU are given."""
    return max(1, (gpu_tokens if device.type == "cuda" else CPU_TOKENS) // length)


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


def _kept_heads(config: PretrainedConfig) -> int:
    """Heads of keys, and of values, in a layer."""
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def check_memory(model: PreTrainedModel, length: int, chunk: int, *, rows: int = 1) -> None:
    """Refuse a length that cannot fit, before anything is run: an overfull machine kills the job without a word.

    Raises:
        PassingError: the key/value cache of ``rows`` texts of ``length`` tokens, and the logits of a chunk of each,
            exceed the free memory.
    """
    config = text_config(model.config)
    heads = _kept_heads(config)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None) or length
    kept = sum(min(window, length) if kind == "sliding_attention" else length for kind in kinds)
    cache = rows * 2 * kept * heads * head_dim(config) * model.dtype.itemsize
    # In the model's dtype, in float32, and their softmax.
    logits = rows * min(chunk, length) * config.vocab_size * (model.dtype.itemsize + 8)
    free, gib = free_memory(model.device), 2**30
    if cache + logits > free:
        raise PassingError(
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
        untyped = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
        if untyped and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        raise PassingError(
            f"memory ran out at a length of {length} tokens; evaluate shorter lengths or use smaller chunks."
        ) from None


@torch.inference_mode()
def token_nll(model: PreTrainedModel, tokens: np.ndarray, *, chunk: int = DEFAULT_CHUNK) -> np.ndarray:
    """NLL of each token given all before it, from one causal pass; logits exist for one chunk at a time.

    Args:
        model: a causal language model with a static rope.
        tokens: token ids, shape (length,).
        chunk: tokens whose logits exist at a time.

    Returns:
        Nats, float32, shape (length - 1,): entry i is the NLL of token i + 1.

    Raises:
        UserError: fewer than two tokens, or memory ran out.
    """
    if len(tokens) < 2:
        raise UserError(f"a text of {len(tokens)} tokens has nothing to predict; expected at least 2.")
    ids = torch.from_numpy(np.asarray(tokens, dtype=np.int64)).to(model.device)
    nll = torch.empty(len(ids) - 1, dtype=torch.float32, device=model.device)
    with memory_errors(len(ids)):
        for start, stop, logits in chunk_logits(model, ids[None], chunk):
            targets = ids[start + 1 : stop + 1]
            nll[start:stop] = torch.nn.functional.cross_entropy(logits[0].float(), targets, reduction="none")
            del logits  # before the next chunk has its own
    return nll.cpu().numpy()


def chunk_logits(model: PreTrainedModel, ids: torch.Tensor, chunk: int) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Logits of texts in pieces: for places start to stop - 1, those of the tokens one further on.

    The layers read all tokens in one pass where their activations fit, and only the head works in pieces: a pass
    without a key/value cache keeps the fast kernels of attention. Else the layers work in pieces too, with a cache.

    Args:
        model: a causal language model with a static rope.
        ids: token ids, shape (rows, tokens).
        chunk: tokens of each row whose logits exist at a time.

    Yields:
        start, stop, and logits of shape (rows, stop - start, vocabulary).
    """
    last = ids.shape[1] - 1  # the last token is only ever predicted
    if read_at_once(model, ids.shape[0], last, chunk):
        hidden = decoder(model)(input_ids=ids[:, :last], use_cache=False).last_hidden_state
        for start in range(0, last, chunk):
            stop = min(start + chunk, last)
            yield start, stop, model.get_output_embeddings()(hidden[:, start:stop])
        return
    if last <= chunk or not reads_in_pieces(model):
        yield 0, last, model(input_ids=ids[:, :last], use_cache=False).logits  # at once, or not at all
        return
    start = 0
    for logits, _ in in_pieces(model, ids[:, :last], chunk):
        stop = start + logits.shape[1]
        yield start, stop, logits
        del logits  # the reader's too, before the next piece has its own
        start = stop


def read_at_once(model: PreTrainedModel, rows: int, length: int, chunk: int) -> bool:
    """Whether texts of more tokens than a chunk go through the layers in one pass, which needs no key/value cache."""
    return length > chunk and one_pass_fits(model, rows, length) and has_plain_head(model)


def one_pass_fits(model: PreTrainedModel, rows: int, length: int) -> bool:
    """Whether the activations of one pass take no more than half of the free memory, without a key/value cache."""
    config, size = text_config(model.config), model.dtype.itemsize
    heads = config.num_attention_heads + 2 * _kept_heads(config)
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    # The residual stream, its norm in float32, what a layer adds; queries, keys and values before and after the turn in
    # float32; gate, up and their product.
    width = config.hidden_size * (3 * size + 8) + heads * head_dim(config) * (size + 8) + 3 * inner * size
    needed = rows * length * width
    attention = getattr(model.config, "_attn_implementation", None)
    # On a GPU, torch has no kernel of its own for float32 where several heads share their keys.
    plain = model.device.type == "cuda" and size == 4 and _kept_heads(config) < config.num_attention_heads
    if attention == "eager" or plain:
        needed += rows * config.num_attention_heads * length**2 * (size + 4)
    elif getattr(config, "sliding_window", None):
        needed += length**2 * (1 + size)  # a mask
    return needed < free_memory(model.device) / 2


def prefill(model: PreTrainedModel, ids: torch.Tensor, chunk: int) -> DynamicCache:
    """The key/value cache of texts, read at once where that fits, else in chunks; logits but the last are not computed.

    Args:
        model: a causal language model with a static rope.
        ids: token ids, shape (rows, tokens).
        chunk: tokens of each row that go through the model at a time, where not all do.

    Raises:
        UserError: the model loses what it read where a text goes on by several tokens.
    """
    if not reads_in_pieces(model):
        raise UserError(
            f"model type {model.config.model_type!r} loses what it read where a text goes on by several tokens, which "
            "questions about one text need; NLL is read at once."
        )
    if ids.shape[1] > chunk and one_pass_fits(model, *ids.shape):
        chunk = ids.shape[1]
    cache = DynamicCache(config=model.config)
    if ids.shape[1]:
        for _, after in in_pieces(model, ids, chunk, logits_to_keep=1):
            cache = after
    return cache


@torch.inference_mode()
def window_nll(
    model: PreTrainedModel, tokens: np.ndarray, window: int, *, stride: int | None = None, chunk: int = DEFAULT_CHUNK
) -> np.ndarray:
    """NLL of each token given the last ``window - stride`` to ``window - 1`` tokens before it (fewer at the start).

    Windows of ``window`` tokens start every ``stride`` tokens, each at position 0; the last ``stride`` tokens of each
    are scored, and of the first window all of it.

    Args:
        model: a causal language model with a static rope.
        tokens: token ids, shape (length,), at least a window.
        window: tokens.
        stride: tokens, fewer than a window; half of it where None.
        chunk: tokens that go through the model at a time, at least a window.

    Returns:
        Nats, float32, shape (length - 1,): entry i is the NLL of token i + 1.
    """
    stride = window // 2 if stride is None else stride
    ids = torch.from_numpy(np.asarray(tokens, dtype=np.int64)).to(model.device)
    # The last window is moved back to end with the text; it scores some tokens anew, with more before them.
    starts = sorted({*range(0, len(ids) - window, stride), len(ids) - window})
    windows = torch.stack([ids[start : start + window] for start in starts])
    nll = torch.empty(len(ids), dtype=torch.float32, device=model.device)
    with memory_errors(window):
        for first, part in zip(
            range(0, len(starts), max(1, chunk // window)), windows.split(max(1, chunk // window)), strict=True
        ):
            logits = model(input_ids=part, use_cache=False).logits[:, :-1].float()
            losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="none")
            for start, row in zip(starts[first:], losses.view(len(part), -1), strict=False):
                scored = 1 if start == 0 else window - stride
                nll[start + scored : start + window] = row[scored - 1 :]
    return nll[1:].cpu().numpy()


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
    window: int | None = None,
    stride: int | None = None,
    kept: Path | None = None,
) -> pd.DataFrame:
    """The rows of ``nll.parquet`` for one model, one rope and some texts.

    Args:
        model: stays patched with the rope.
        rope: static ropes take one pass at the longest length, others one at each.
        wanted: texts of at least the longest length.
        lengths: in tokens.
        chunk: tokens that go through the model at a time.
        window: where given, adds ``window_nll`` for windows of so many tokens.
        stride: tokens between the starts of windows; half a window where None.
        kept: folder that keeps what was read of each text, and from which an earlier call that was killed is taken up.

    Raises:
        UserError: a text is too short, the window does not fit its stride or the texts or the rope is not static, or
            memory runs out.
    """
    passes = [max(lengths)] if rope.static else sorted(lengths)
    if window is not None and not rope.static:
        raise UserError("a rope that changes with the length has no table for a window; leave the window out.")
    if window is not None and (window < 2 or (stride is None and window % 2) or window > max(lengths)):
        even = "an even number of " if stride is None else ""
        raise UserError(f"window is {window}; expected {even}2 to {max(lengths)} tokens.")
    if stride is not None and (window is None or not 1 <= stride < window):
        expected = "a window to go with it" if window is None else f"1 to {window - 1} tokens, fewer than the window"
        raise UserError(f"window stride is {stride}; expected {expected}.")
    frames = []
    with Progress("NLL", len(passes) * len(wanted), unit="text") as progress:
        for length in passes:
            binding.patch(model, rope.at(length))
            binding.check_float32(model)
            if not read_at_once(model, 1, length - 1, chunk):
                check_memory(model, length, max(chunk, window or 0))
            for k, text in enumerate(wanted):
                if len(text.tokens) < length:
                    raise UserError(
                        f"document {text.document!r} of {text.corpus} has {len(text.tokens)} tokens; "
                        f"expected at least {length}."
                    )
                file = kept and kept / f"{length}-{k}.parquet"
                if file and file.is_file():
                    frames.append(pd.read_parquet(file))
                else:
                    frames.append(_score_text(model, text, length, chunk, window, stride))
                    if file:
                        with whole_file(file) as temporary:
                            frames[-1].to_parquet(temporary, index=False)
                progress.advance(note=f"{length} tokens · {frames[-1]['nll'].mean():.3f} nats")
    return pd.concat(frames, ignore_index=True)


def _score_text(
    model: PreTrainedModel, text: Text, length: int, chunk: int, window: int | None, stride: int | None
) -> pd.DataFrame:
    tokens = text.tokens[:length]
    columns = {
        "corpus": text.corpus,
        "document": text.document,
        "position": np.arange(1, length, dtype=np.int32),
        "nll": token_nll(model, tokens, chunk=chunk),
        "pass_length": np.int32(length),
    }
    if window is not None:
        columns["window_nll"] = window_nll(model, tokens, window, stride=stride, chunk=max(chunk, window))
    return pd.DataFrame(columns)

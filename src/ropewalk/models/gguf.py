"""GGUF files, as far as a rope needs them: opened, asked for keys, and the rope that llama.cpp makes of them.

llama.cpp turns pair i by position * base^(-2i/d) / f_i, with the divisors f_i from a tensor where there is one, scales
it linearly or by YaRN as keys say, and multiplies cos and sin by ``{arch}.rope.scaling.attn_factor`` whatever the
scaling type (ggml_rope_ext; llama-context.cpp; llama-model.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ropewalk.errors import UserError
from ropewalk.rope import Rope
from ropewalk.rope.bases import default_rope, pi
from ropewalk.rope.pairs import longrope
from ropewalk.rope.ramps import yarn
from ropewalk.rope.rope import FloatArray

FREQS = ("rope_freqs.weight",)
LONG_AND_SHORT = ("rope_factors_long.weight", "rope_factors_short.weight")


def package() -> Any:
    """The package ``gguf``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise UserError("GGUF needs the package 'gguf' (`uv sync --extra gguf`).") from None
    return gguf


def open_gguf(file: Path) -> Any:
    """A ``gguf.GGUFReader`` of a file, to be read only: the one before, where the file is still the same.

    Raises:
        UserError: the file is missing or no GGUF file.
    """
    package()
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected a GGUF file.")
    state = file.stat()
    try:
        return _parsed(file.resolve(), state.st_mtime_ns, state.st_size)
    except Exception as error:
        raise UserError(f"{file} is damaged or no GGUF file: {' '.join(str(error).split())[:200]}") from error


@lru_cache(maxsize=1)
def _parsed(file: Path, changed: int, size: int) -> Any:
    from gguf.gguf_reader import GGUFReader

    return GGUFReader(file)


@contextmanager
def parsed_once() -> Iterator[None]:
    """Have transformers, in the block, take files as :func:`open_gguf` has parsed them.

    By itself it parses a file anew, which takes seconds for a large vocabulary, for the configuration, the weights and
    the tokenizer each, and makes the table of all names of tensors once for every module of a model.
    """
    gguf = package()
    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = lambda file: open_gguf(Path(file)), cache(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names


def value(reader: Any, key: str, default: Any = None) -> Any:
    """The value of a key, where ``{arch}`` stands for the architecture."""
    field = reader.get_field(key.replace("{arch}", architecture(reader)))
    return default if field is None else field.contents()


def architecture(reader: Any) -> str:
    """The architecture that a file names."""
    field = reader.get_field("general.architecture")
    return "" if field is None else str(field.contents())


def training_length(reader: Any) -> tuple[int, str]:
    """The length in tokens that the table was trained at, and the key that says so.

    Raises:
        UserError: no key does.
    """
    arch = architecture(reader)
    for key in (f"{arch}.rope.scaling.original_context_length", f"{arch}.context_length"):
        if number := value(reader, key):
            return int(number), key
    raise UserError(f"{_name(reader)}: no key {arch}.context_length; give the training length (--length).")


def read_table(reader: Any, *, length: int | None = None) -> Rope:
    """The table that a model of this file was trained with, whatever was done to it since.

    Args:
        reader: the opened file; opening it takes longer than all the rest.
        length: training length in tokens, where the file does not say it or is wrong.

    Raises:
        UserError: the file lacks what a table needs.
    """
    base = value(reader, "{arch}.rope.freq_base", 10_000.0)
    return default_rope(_rotary_dim(reader), base, length or training_length(reader)[0])


def read_rope(reader: Any, *, length: int | None = None) -> Rope:
    """The rope that llama.cpp gives a model of this file.

    Args:
        reader: the opened file.
        length: training length in tokens, where the file does not say it or is wrong.

    Raises:
        UserError: see :func:`read_table`; or the file has a rope that this project cannot compute.
    """
    rope = read_table(reader, length=length)
    tensors = {tensor.name: np.asarray(tensor.data, dtype=np.float64) for tensor in _divisors(reader)}
    kind = value(reader, "{arch}.rope.scaling.type", "linear")
    stretch = value(reader, "{arch}.rope.scaling.factor") or value(reader, "{arch}.rope.scale_linear") or 1.0
    factor = value(reader, "{arch}.rope.scaling.attn_factor", 1.0)
    match kind:
        case "linear":
            rope = pi(rope, factor=stretch) if stretch > 1 else rope
        case "yarn":
            betas = {name: value(reader, f"{{arch}}.rope.scaling.yarn_{name}") for name in ("beta_fast", "beta_slow")}
            rope = yarn(rope, factor=stretch, **{name: beta for name, beta in betas.items() if beta})
        case "none" | "longrope":
            pass
        case _:
            raise UserError(f"{_name(reader)}: rope scaling type {kind!r} is not supported.")
    # Divisors apply to whatever the keys make of the table.
    if FREQS[0] in tensors and kind != "longrope":
        return _divided(rope, tensors[FREQS[0]], None, factor)
    if kind == "longrope" or LONG_AND_SHORT[0] in tensors:
        lacking = [name for name in LONG_AND_SHORT if name not in tensors]
        if lacking:
            # llama.cpp takes the tensors as optional and runs the plain table without a word.
            raise UserError(f"{_name(reader)}: a rope with two tables, without the tensor {lacking[0]}.")
        return _divided(rope, tensors[LONG_AND_SHORT[0]], tensors[LONG_AND_SHORT[1]], factor)
    return replace(rope, attention_factor=rope.attention_factor * factor)


def _divided(rope: Rope, long: FloatArray, short: FloatArray | None, factor: float) -> Rope:
    both = None if short is None or np.array_equal(short, long) else short.tolist()
    divided = longrope(rope, long_factor=long.tolist(), short_factor=both, attention_factor=factor)
    changed = factor != 1.0 or np.any(long != 1.0) or (short is not None and np.any(short != 1.0))
    return divided if changed else rope


def _name(reader: Any) -> str:
    return str(reader.data.filename)


def _divisors(reader: Any) -> list[Any]:
    return [tensor for tensor in reader.tensors if tensor.name in FREQS + LONG_AND_SHORT]


def _rotary_dim(reader: Any) -> int:
    heads = value(reader, "{arch}.attention.head_count")
    heads = max(heads) if isinstance(heads, list) else heads
    width = value(reader, "{arch}.attention.key_length")
    if width is None and heads:
        width = (value(reader, "{arch}.embedding_length") or 0) // heads
    rotated = value(reader, "{arch}.rope.dimension_count", width)
    if not rotated:
        raise UserError(f"{_name(reader)}: its keys do not say how many dimensions of a head are rotated.")
    return int(rotated)

"""Prove an export on logits: what an engine computes from the files alone, against the model with its rope bound here.

The engine runs in a process of its own that imports nothing of Ropewalk, so nothing but the files can carry the rope.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ropewalk.errors import UserError
from ropewalk.export import gguf
from ropewalk.models import binding
from ropewalk.models.configurations import load_config
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import read_rope, text_config
from ropewalk.models.sources import ModelSource, gguf_path
from ropewalk.rope import Rope, default_rope

TRANSFORMERS_TOLERANCE = 1e-4
"""Largest difference of a logit between two float32 passes of transformers."""
LLAMA_CPP_TOLERANCE = 5e-3
"""Largest difference of a logit between float32 passes of transformers and llama.cpp, whose kernels differ."""
LAST_BITS = 3.0
"""How many last bits of float32 the frequencies may be off. An engine computes them in float32 from the divisors, and
at position p an angle is off by p times as much: in a real model's long text that shows above the tolerances."""
ROUNDED_CORRELATION = 0.999
"""Least correlation of logits where folding rounded weights of 16 bits once more."""
QUANTISED_FACTOR = 3.0
"""How many times further from 1 a correlation may lie than it does with the rope of pre-training: quantised products
differ between the engines for any rope, by as much as that one shows."""

_POSITIONS = 64
"""Positions compared."""
_BEYOND = 256
"""Tokens beyond the original length, or as many as it has."""
_FLOOR_TOKENS = 512
"""Tokens that show what quantisation alone costs."""

_WITH_TRANSFORMERS = """
import sys
import numpy, torch
from transformers import AutoModelForCausalLM
path, tokens, positions, output = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
tokens, positions = (torch.from_numpy(numpy.load(file)) for file in (tokens, positions))
with torch.no_grad():
    logits = model(tokens[None], logits_to_keep=positions).logits[0]
assert "ropewalk" not in sys.modules
numpy.save(output, logits.numpy())
"""

_WITH_LLAMA_CPP = """
import sys
import llama_cpp, numpy
path, tokens, positions, output = sys.argv[1:]
tokens, positions = (numpy.load(file).tolist() for file in (tokens, positions))
f32 = llama_cpp.GGML_TYPE_F32
# Its own defaults of YaRN's ramp would overrule what the file says.
ramp = {"yarn_beta_fast": -1.0, "yarn_beta_slow": -1.0}
model = llama_cpp.Llama(path, n_ctx=len(tokens), type_k=f32, type_v=f32, verbose=False, **ramp)
rows, start = [], 0
for position in positions:
    model.eval(tokens[start : position + 1])
    start = position + 1
    row = llama_cpp.llama_get_logits_ith(model.ctx, -1)
    rows.append(numpy.ctypeslib.as_array(row, shape=(model.n_vocab(),)).copy())
assert "ropewalk" not in sys.modules
numpy.save(output, numpy.stack(rows))
"""


@dataclass(frozen=True)
class Verification:
    """What came out of a comparison.

    Attributes:
        path: the export.
        engine: what ran it, or None where only its files were read back.
        passed: whether it agrees with the rope.
        criterion: what it was held against, in words.
        tokens: length in tokens of the text that was read.
        original_length: of the rope, in tokens.
        positions: how many positions were compared, and ``positions_beyond`` how many of them lie beyond the original
            length.
        max_difference: largest absolute difference of a logit.
        correlation: of all compared logits.
        faults: what the files say otherwise, one sentence each.
    """

    path: str
    engine: str | None
    passed: bool
    criterion: str
    tokens: int = 0
    original_length: int = 0
    positions: int = 0
    positions_beyond: int = 0
    max_difference: float | None = None
    correlation: float | None = None
    faults: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return asdict(self)


def verify(path: Path, rope: Rope, source: ModelSource) -> Verification:
    """Compare an export with the model that it was made from, as patched with the rope here.

    The text is random tokens, a fixed draw, as many as the original length and up to 256 more; logits are compared at
    64 positions spread over it.

    Raises:
        UserError: the export or the model cannot be read, or the rope was made for another model.
    """
    if path.suffix == ".gguf":
        return _verify_gguf(path, rope, source)
    if not (path / "config.json").is_file():
        raise UserError(f"{path}: expected an export, a folder with config.json or a .gguf file.")
    text = _Text.beyond(rope, text_config(load_config(source)).vocab_size)
    wanted, found = _pair(_WITH_TRANSFORMERS, path, source, rope, text)
    config = load_config(ModelSource("folder", str(path)))
    folded = read_rope(config).attention_factor != rope.attention_factor
    dtype = str(config.dtype or "float32").removeprefix("torch.")
    difference, correlation = _compare(wanted, found)
    if folded and dtype != "float32":
        passed = correlation >= ROUNDED_CORRELATION
        criterion = f"correlation at least {ROUNDED_CORRELATION:g}, since the folded weights are {dtype}"
    else:
        passed, criterion = _within(TRANSFORMERS_TOLERANCE, difference, source, rope, text, wanted)
    return _verification(path, "transformers", passed, criterion, rope, text, difference, correlation)


def _verify_gguf(path: Path, rope: Rope, source: ModelSource) -> Verification:
    faults = tuple(gguf.read_back(path, rope))
    if find_spec("llama_cpp") is None:
        criterion = "divisors, attention factor, base and scaling type read back from the file and equal to the rope's"
        return Verification(str(path), None, not faults, criterion, faults=faults)
    text = _Text.beyond(rope, text_config(load_config(source)).vocab_size)
    wanted, found = _pair(_WITH_LLAMA_CPP, path, source, rope, text)
    difference, correlation = _compare(wanted, found)
    if gguf.all_float32(path):
        passed, criterion = _within(LLAMA_CPP_TOLERANCE, difference, source, rope, text, wanted)
    elif source.kind == "gguf":
        floor = _quantisation_floor(path, source, rope, text)
        least = 1 - QUANTISED_FACTOR * (1 - floor)
        passed = correlation >= least
        criterion = (
            f"correlation at least {least:.6f}: {QUANTISED_FACTOR:g} times as far from 1 as the {floor:.6f} of the "
            "same weights with the rope of pre-training"
        )
    else:
        raise UserError(f"{path} is quantised; expected --model to be the GGUF file that it was made from.")
    return _verification(
        path, "llama.cpp", passed and not faults, criterion, rope, text, difference, correlation, faults
    )


def _pair(
    script: str, path: Path, source: ModelSource, rope: Rope, text: _Text
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits that are wanted and found, shape (positions, vocabulary); of a rope with two tables on both of them."""
    texts = [text] if rope.static else [text, text.first(rope.original_length)]
    wanted = [_reference(source, rope, one) for one in texts]
    found = [_run(script, path, one) for one in texts]
    return np.concatenate(wanted), np.concatenate(found)


def _within(
    tolerance: float, difference: float, source: ModelSource, rope: Rope, text: _Text, wanted: NDArray[np.float32]
) -> tuple[bool, str]:
    """Whether a difference is within the tolerance, or else within what a few last bits of the frequencies do here."""
    if difference <= tolerance:
        return True, f"difference at most {tolerance:g}, both in float32"
    rope = rope.at(len(text.tokens))
    nudged = replace(rope, inv_freq=rope.inv_freq * (1 + np.finfo(np.float32).eps))
    moved, _ = _compare(wanted[: len(text.positions)], _reference(source, nudged, text))
    most = max(tolerance, LAST_BITS * moved)
    return difference <= most, (
        f"difference at most {most:.3g}, both in float32: {tolerance:g}, or {LAST_BITS:g} times what the last bit of "
        "every frequency moves on this text"
    )


def _quantisation_floor(path: Path, source: ModelSource, rope: Rope, text: _Text) -> float:
    """Correlation of the two engines on the same quantised weights, with a rope that nobody doubts."""
    plain, short = default_rope(rope.rotary_dim, rope.base, rope.original_length), text.first(_FLOOR_TOKENS)
    # The file may hold a rope of its own, which transformers does not read from it.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder) / "plain.gguf"
        gguf.graft(gguf_path(source.name), plain, file, rope.original_length)
        found = _run(_WITH_LLAMA_CPP, file, short)
    return _compare(_reference(source, plain, short), found)[1]


@dataclass(frozen=True)
class _Text:
    """Tokens, shape (tokens,), and the positions whose logits are compared, shape (positions,), rising."""

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]

    @classmethod
    def beyond(cls, rope: Rope, vocab_size: int) -> _Text:
        count = rope.original_length + min(_BEYOND, rope.original_length)
        return cls(np.random.default_rng(0).integers(vocab_size, size=count), _spread(count))

    def first(self, count: int) -> _Text:
        tokens = self.tokens[:count]
        return _Text(tokens, _spread(len(tokens)))


def _spread(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, _POSITIONS).round().astype(np.int64))


@torch.no_grad()
def _reference(source: ModelSource, rope: Rope, text: _Text) -> NDArray[np.float32]:
    """Logits of the model in float32 with a rope, shape (positions, vocabulary)."""
    model = load_model(source, dtype="float32", device="cpu")
    binding.patch(model, rope.at(len(text.tokens)))
    keep = torch.from_numpy(text.positions)
    logits: NDArray[np.float32] = model(torch.from_numpy(text.tokens)[None], logits_to_keep=keep).logits[0].numpy()
    return logits


def _run(script: str, path: Path, text: _Text) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.npy" for name in ("tokens", "positions", "logits")]
        np.save(files[0], text.tokens)
        np.save(files[1], text.positions)
        # -P keeps the current folder out of the child's path, where a file could stand in for a package.
        command = [sys.executable, "-P", "-c", script, str(path), *map(str, files)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            lines = [line for line in ran.stderr.splitlines() if line.strip()]
            last = lines[-1].strip()[:300] if lines else f"exit status {ran.returncode}"
            raise UserError(f"{path} cannot be run: {last}")
        logits: NDArray[np.float32] = np.load(files[2])
        return logits


def _compare(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> tuple[float, float]:
    """The largest absolute difference and the correlation, with what is not a number as far away as can be."""
    if wanted.shape != found.shape:
        raise UserError(f"the export gives logits of shape {found.shape}; the model gives {wanted.shape}.")
    if not np.isfinite(found).all():
        return float(np.finfo(np.float32).max), 0.0
    a, b = wanted.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    return float(np.abs(a - b).max()), float(np.corrcoef(a, b)[0, 1])


def _verification(
    path: Path,
    engine: str,
    passed: bool,
    criterion: str,
    rope: Rope,
    text: _Text,
    difference: float,
    correlation: float,
    faults: tuple[str, ...] = (),
) -> Verification:
    return Verification(
        path=str(path),
        engine=engine,
        passed=passed,
        criterion=criterion,
        tokens=len(text.tokens),
        original_length=rope.original_length,
        positions=len(text.positions),
        positions_beyond=int((text.positions >= rope.original_length).sum()),
        max_difference=difference,
        correlation=correlation,
        faults=faults,
    )

"""What engines apply in the place of the rope that they were given: each fault a function of the right one.

A fault applies to a rope where it gives another one at the length that is looked at; nothing else says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ropewalk.errors import UserError
from ropewalk.rope import Rope, default_rope
from ropewalk.rope.bases import pi
from ropewalk.rope.methods import cook
from ropewalk.rope.rope import FloatArray

RIGHT = "right"
"""What the hypothesis that nothing is wrong is called, beside the names of faults."""

_DEFAULT_BASE = 10_000.0
_DEFAULTS = {
    "yarn": {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True},
    "ntk_by_parts": {"alpha": 1.0, "beta": 32.0},
    "llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0},
}
"""Methods with a ramp from a table to the same table divided, and the constants that they are published with."""


@dataclass(frozen=True)
class Applied:
    """What is applied to a text of one length.

    Attributes:
        rope: static.
        softmax_factor: what attention logits are multiplied by beside the rope, as latent attention does with the
            square of its own YaRN temperature.
        bfloat16_angles: whether positions, frequencies and their products, in radians, are rounded to bfloat16.
    """

    rope: Rope
    softmax_factor: float = 1.0
    bfloat16_angles: bool = False

    def same(self, other: Applied) -> bool:
        """Whether no text could tell the two apart."""
        return (
            self.bfloat16_angles == other.bfloat16_angles
            and math.isclose(self.softmax_factor, other.softmax_factor, rel_tol=1e-9)
            and math.isclose(self.rope.attention_factor, other.rope.attention_factor, rel_tol=1e-9)
            and np.allclose(self.rope.inv_freq, other.rope.inv_freq, rtol=1e-9, atol=0)
        )


@dataclass(frozen=True)
class Intended:
    """What an engine should apply.

    Attributes:
        rope: of the model; may have two tables or follow the length.
        longest: tokens that the engine takes, ``max_position_embeddings`` with this rope.
        softmax_factor: see :class:`Applied`; 1 for most models.
    """

    rope: Rope
    longest: int
    softmax_factor: float = 1.0

    def at(self, length: int) -> Applied:
        """What is right for a text of so many tokens."""
        return Applied(self.rope.at(length), self.softmax_factor)


@dataclass(frozen=True)
class Fault:
    """One way in which engines apply a rope wrongly.

    Attributes:
        said: what the engine does, to follow "the engine".
        mend: what to do, one sentence.
        seen: where it was seen, public issues.
        wrong: what the engine applies to a text of so many tokens, in the place of what is intended.
    """

    said: str
    mend: str
    seen: str
    wrong: Callable[[Intended, int], Applied]


def hypotheses(intended: Intended, lengths: set[int]) -> dict[str, Callable[[int], Applied]]:
    """What an engine may apply to texts of some lengths, in tokens: the right rope first, then each fault that differs.

    Of faults that come to the same at all of the lengths the first stands for the others.
    """
    found: dict[str, Callable[[int], Applied]] = {RIGHT: intended.at}
    for name, fault in FAULTS.items():

        def wrong(length: int, fault: Fault = fault) -> Applied:
            return fault.wrong(intended, length)

        if not any(all(wrong(length).same(known(length)) for length in lengths) for known in found.values()):
            found[name] = wrong
    return found


def stretch(rope: Rope) -> float:
    """The product of all factors of a rope; 1 where none is named."""
    return math.prod(step.params.get("factor") or 1.0 for step in rope.steps)


def _ignored(intended: Intended, length: int) -> Applied:
    rope = intended.rope
    plain = default_rope(rope.rotary_dim, rope.base, rope.original_length)
    return Applied(replace(plain, layers=rope.layers))


def _linear(intended: Intended, length: int) -> Applied:
    factor = stretch(intended.rope)
    if factor <= 1:
        return intended.at(length)
    return Applied(pi(_ignored(intended, length).rope, factor=factor))


def _ramp_exchanged(intended: Intended, length: int) -> Applied:
    """YaRN's code with beta_fast and beta_slow in each other's place: the ramp goes down, where all else is kept."""
    rope = intended.rope
    if [step.method for step in rope.changes] != ["yarn"]:
        return intended.at(length)
    given = rope.changes[0].params
    start, end = (
        rope.rotary_dim * math.log(rope.original_length / (2 * math.pi * turns)) / (2 * math.log(rope.base))
        for turns in (given["beta_slow"], given["beta_fast"])
    )
    if given["truncate"]:
        start, end = math.floor(start), math.ceil(end)
    start, end = max(start, 0), min(end, rope.rotary_dim - 1)
    if start == end:
        return intended.at(length)
    divided = np.clip((np.arange(rope.pairs) - start) / (end - start), 0, 1)
    return _with_table(intended, length, rope.original_inv_freq * (divided / given["factor"] + 1 - divided))


def _ramp_defaults(intended: Intended, length: int) -> Applied:
    return _remade(intended, length, constants=_DEFAULTS)


def _original_misread(intended: Intended, length: int) -> Applied:
    if not intended.rope.static:  # it switches later then, which is a fault of its own
        return intended.at(length)
    return _remade(intended, length, original_length=intended.longest)


def _base_ignored(intended: Intended, length: int) -> Applied:
    return _remade(intended, length, base=_DEFAULT_BASE)


def _factor_dropped(intended: Intended, length: int) -> Applied:
    return Applied(replace(intended.rope.at(length), attention_factor=1.0))


def _factor_squared(intended: Intended, length: int) -> Applied:
    rope = intended.rope.at(length)
    return Applied(replace(rope, attention_factor=rope.attention_factor**2), intended.softmax_factor**2)


def _short_for_long(intended: Intended, length: int) -> Applied:
    return intended.at(min(length, intended.rope.original_length))


def _long_for_short(intended: Intended, length: int) -> Applied:
    # The context that the engine holds ready, not that of the text.
    return intended.at(max(length, intended.longest))


def _bfloat16_frequencies(intended: Intended, length: int) -> Applied:
    return _with_table(intended, length, _to_bfloat16(intended.rope.at(length).inv_freq))


def _bfloat16_angles(intended: Intended, length: int) -> Applied:
    return replace(intended.at(length), bfloat16_angles=True)


def _with_table(intended: Intended, length: int, inv_freq: FloatArray) -> Applied:
    right = intended.at(length)
    return replace(right, rope=replace(right.rope, inv_freq=inv_freq))


def _remade(
    intended: Intended,
    length: int,
    *,
    base: float | None = None,
    original_length: int | None = None,
    constants: Mapping[str, Mapping[str, float]] | None = None,
) -> Applied:
    """The same steps from another start, or with other constants; bound as a rope of the model's own base."""
    rope = intended.rope
    start = default_rope(rope.rotary_dim, base or rope.base, original_length or rope.original_length)
    given = constants or {}
    steps = [{"method": s.method, **s.params, **given.get(s.method, {})} for s in rope.steps]
    try:
        made = cook(start, steps).at(length)
    except UserError:  # such a rope cannot be made, so no engine applies it
        return intended.at(length)
    return replace(
        intended.at(length),
        rope=replace(made, base=rope.base, layers=rope.layers, original_length=rope.original_length),
    )


def _to_bfloat16(values: FloatArray) -> FloatArray:
    """Round to the nearest bfloat16, to even where two are as near."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).astype(np.float64)


_PASS_ON = "Pass the rope on the engine's own command line, as `ropewalk export --print ENGINE` shows"

FAULTS: dict[str, Fault] = {
    "ignored": Fault(
        "ignores the rope and turns by the plain table of pre-training",
        f"{_PASS_ON}, and look in its log for the scaling type that it read.",
        "omlx#3347 and PR#3594; mlx-vlm PR#1709 and mlxcel#1340 (Gemma 3)",
        _ignored,
    ),
    "linear-instead": Fault(
        "divides every frequency by the factor, as linear scaling does, and leaves the rest of the rope out",
        "Use an engine that knows this rope type, or export divisors (`ropewalk export --to hf` or `--to gguf`).",
        "flags of training frameworks that silently take linear scaling for other kinds",
        _linear,
    ),
    "wrong-ramp-exchanged": Fault(
        "divides the fast pairs and keeps the slow ones: the two ends of the ramp are exchanged",
        "Check the order of beta_fast and beta_slow in what it was given; beta_fast is the larger one.",
        "",
        _ramp_exchanged,
    ),
    "wrong-ramp-defaults": Fault(
        "places the ramp by default constants in the place of those that are written",
        f"{_PASS_ON}, with beta_fast and beta_slow; if it passes over them, export divisors.",
        "llama.cpp of llama-cpp-python 0.3.36 passes over the constants that a file of Qwen 3 holds",
        _ramp_defaults,
    ),
    "original-length-misread": Fault(
        "takes max_position_embeddings for the original length, and places the ramp by it",
        "Write original_max_position_embeddings into the rope parameters (llama.cpp: --yarn-orig-ctx).",
        "Qwen3#1424 asks which of the two must change",
        _original_misread,
    ),
    "base-ignored": Fault(
        "starts from base 10,000 in the place of the model's own",
        "Write rope_theta inside the rope parameters and beside them (GGUF: rope.freq_base).",
        "",
        _base_ignored,
    ),
    "attention-factor-dropped": Fault(
        "leaves the attention factor out: its frequencies are right, its attention is too flat",
        "Write the factor by the key that the engine reads (`ropewalk export --engines`), or fold it into the weights "
        "(`--fold-temperature`).",
        "vLLM and SGLang pass over attention_factor of longrope; llama.cpp's converter of Phi-3 recomputes it",
        _factor_dropped,
    ),
    "attention-factor-squared": Fault(
        "applies the attention factor twice",
        "Leave it out in one of the two places: the configuration and the command line, or folded weights and keys.",
        "llama.cpp multiplies rope.scaling.attn_factor by yarn's own factor",
        _factor_squared,
    ),
    "short-table-for-long": Fault(
        "turns long texts by the table for short ones",
        "Serve it with a context beyond the original length (vLLM: --max-model-len, llama.cpp: -c), or export one "
        "table for all lengths.",
        "vllm#27414; mlxcel#1358 (kept prefixes across the switch)",
        _short_for_long,
    ),
    "long-table-for-short": Fault(
        "turns short texts by the table for long ones: it chooses by the context that it holds ready",
        "Serve short texts with a context of the original length, or export one table for all lengths.",
        "llama.cpp#24823; vLLM PR#27431",
        _long_for_short,
    ),
    "bf16-frequencies": Fault(
        "holds the frequencies in bfloat16",
        "Keep inv_freq in float32: load the model with a dtype instead of casting it.",
        "transformers#25681, DeepSpeed#4932, gpt-neox#1016, optimum-habana#746",
        _bfloat16_frequencies,
    ),
    "bf16-angles": Fault(
        "makes the angles in bfloat16, where positions above 256 tokens fall together",
        "Make the tables of cos and sin in float32 and round them afterwards.",
        "",
        _bfloat16_angles,
    ),
}
"""All faults by name."""

"""How llama.cpp takes a rope: as divisors in tensors, as keys of a GGUF file, or as flags on its command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ropewalk.errors import UserError
from ropewalk.models.gguf import FREQS, LONG_AND_SHORT
from ropewalk.models.rope_writing import common_base, follows_length, two_tables
from ropewalk.rope import Rope

ARCHITECTURES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("llama", "deci", "arcee", "apertus", "exaone", "exaone4", "mistral3", "nanbeige"), FREQS),
    **dict.fromkeys(("granite", "granitemoe", "minicpm"), FREQS),
    **dict.fromkeys(("phi3", "phimoe"), LONG_AND_SHORT),
}
"""The architectures of llama.cpp whose loader takes divisors and whose graph turns every rotated layer by them, with
the tensors that hold them. Read from src/models/*.cpp as of llama-cpp-python 0.3.36. Some others load the tensor and do
not use it (llada, falcon-h1, pangu-embedded), or would use it and cannot load it (cohere2, deepseek, hunyuan-moe)."""

TWO_TABLES = {"llama", "minicpm", "granite", "granitemoe", "mistral3", "phi3", "phimoe"}
"""Of them, those that take one table for short contexts and one for long ones, by the context that is allocated."""


@dataclass(frozen=True)
class Held:
    """How a file holds a rope.

    Attributes:
        kind: ``rope.scaling.type``.
        base: ``rope.freq_base``.
        keys: further keys under ``rope.scaling``, floats.
        tensors: divisors by the names of their tensors, shape (pairs,).
    """

    kind: str
    base: float
    keys: Mapping[str, float]
    tensors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def held(arch: str, rope: Rope) -> Held:
    """How a file of llama.cpp's ``arch`` holds a rope.

    Raises:
        UserError: no file can, it takes no divisors, or not two tables of them, and no keys say this rope.
    """
    _check_expressible(rope)
    if not rope.static and arch not in TWO_TABLES:
        raise UserError(
            f"llama.cpp's {arch!r} takes one table, and this rope has two; those that take two are "
            f"{', '.join(sorted(TWO_TABLES))}."
        )
    if arch in ARCHITECTURES:
        short, long = (table.astype(np.float32) for table in two_tables(rope))
        factor = {"attn_factor": rope.attention_factor}
        if rope.static and ARCHITECTURES[arch] == FREQS:
            return Held("none", rope.base, factor, {FREQS[0]: long})
        kind = "none" if rope.static else "longrope"
        return Held(kind, rope.base, factor, dict(zip(LONG_AND_SHORT, (long, short), strict=True)))
    keys = in_keys(rope)
    if keys is None:
        raise UserError(
            f"llama.cpp ignores divisors of the frequencies in architecture {arch!r}, where only another base, linear "
            f"scaling or YaRN can be expressed; those that take divisors are {', '.join(sorted(ARCHITECTURES))}."
        )
    betas = (keys.keys.get("yarn_beta_fast", _BETAS[0]), keys.keys.get("yarn_beta_slow", _BETAS[1]))
    if betas != _BETAS:
        raise UserError(
            f"llama.cpp passes over YaRN's beta_fast {betas[0]:g} and beta_slow {betas[1]:g} in a file of architecture "
            f"{arch!r} and takes {_BETAS[0]:g} and {_BETAS[1]:g}; flags can say them: `ropewalk export … --print "
            "llama.cpp`."
        )
    return keys


_BETAS = (32.0, 1.0)
"""Ends of YaRN's ramp in turns that llama.cpp takes whatever a file says; seen with Qwen 2 and 3."""


def in_keys(rope: Rope) -> Held | None:
    """A rope in keys alone, which every architecture takes; None where none say it."""
    factor = {"attn_factor": rope.attention_factor}
    params = rope.changes[0].params if len(rope.changes) == 1 else {}
    match [step.method for step in rope.changes]:
        case []:
            return Held("none", rope.base, factor)
        case ["pi"]:
            return Held("linear", rope.base, {"factor": params["factor"], **factor})
        case ["yarn"] if params["truncate"]:
            betas = {f"yarn_{name}": params[name] for name in ("beta_fast", "beta_slow")}
            own = {"attn_factor": own_temperature(rope.attention_factor, params["factor"])}
            return Held("yarn", rope.base, {"factor": params["factor"], **own, **betas})
    base = common_base(rope)
    return None if base is None else Held("none", base, factor)


def own_temperature(attention_factor: float, factor: float) -> float:
    """What YaRN's own temperature, 0.1 ln s + 1, is multiplied by to give an attention factor."""
    return attention_factor / (0.1 * math.log(factor) + 1)


def flags(arch: str, rope: Rope) -> tuple[list[str], list[str]]:
    """Flags of llama.cpp's programs that give a model a rope, and what they leave out.

    Raises:
        UserError: no flags say this rope.
    """
    mapped = rope.position_map
    if mapped is not None and mapped.kind == "self_extend" and np.array_equal(rope.inv_freq, rope.original_inv_freq):
        if mapped.window % mapped.group:
            raise UserError(
                f"window is {mapped.window} and group {mapped.group:g}; expected a multiple of the group: llama.cpp "
                "moves whole groups."
            )
        return [f"--grp-attn-n {mapped.group:g} --grp-attn-w {mapped.window}"], [
            "llama-cli alone has Self-Extend; it moves the positions of the cache by whole windows, so that more than "
            "a window may be near. Its logits were not compared."
        ]
    _check_expressible(rope)
    keys = in_keys(rope) if rope.static else None
    if keys is None:
        held(arch, rope)  # refuses what no file holds either
        raise UserError("no flag of llama.cpp says this rope, but a file can hold it: `ropewalk export … --to gguf`.")
    notes = ["A rope that the file holds already applies too: the flags are for a file without one."]
    match keys.kind:
        case "linear":
            words = ["--rope-scaling linear", f"--rope-scale {keys.keys['factor']:g}"]
        case "yarn":
            words = [
                "--rope-scaling yarn",
                f"--rope-scale {keys.keys['factor']:g}",
                f"--yarn-orig-ctx {rope.original_length}",
                f"--yarn-beta-fast {keys.keys['yarn_beta_fast']:g}",
                f"--yarn-beta-slow {keys.keys['yarn_beta_slow']:g}",
            ]
        case _:
            words = [f"--rope-freq-base {keys.base:.10g}"]
    temperature = keys.keys["attn_factor"]
    if not math.isclose(temperature, 1.0, rel_tol=1e-6):
        # --yarn-attn-factor is overwritten where YaRN is on (llama-context.cpp).
        words.append(f"--override-kv {arch}.rope.scaling.attn_factor=float:{temperature:.8g}")
    return words, notes


def _check_expressible(rope: Rope) -> None:
    if follows_length(rope):
        raise UserError("a rope that follows the length cannot be given to llama.cpp; expected one or two tables.")
    if rope.log_scaling_length is not None:
        raise UserError("log-scaled attention cannot be given to llama.cpp: it has no place for it.")
    if rope.position_map is not None:
        raise UserError(
            f"a map of positions ({rope.position_map.kind}) cannot be given to llama.cpp, but for self_extend without "
            "another rope: by flags, `ropewalk export … --print llama.cpp`."
        )
    if rope.layers != "global":
        raise UserError(f"the rope is for {rope.layers} layers; llama.cpp takes one for global layers.")

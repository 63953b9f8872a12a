"""Which engine honours what of an exported rope, as data; docs/engines.md is made from it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Engine:
    """One engine and one way to give it a rope.

    Attributes:
        name: with the version that this row is about.
        export: the export that it reads.
        frequencies: where it takes the frequency of each pair from.
        temperature: where it takes the attention factor from.
        length: where it takes its context length from.
        limits: what it cannot do.
        checked: how this row was checked.
    """

    name: str
    export: str
    frequencies: str
    temperature: str
    length: str
    limits: str
    checked: str


ENGINES = (
    Engine(
        name="transformers 5.23",
        export="--to hf",
        frequencies="rope_parameters.short_factor and .long_factor, equal here",
        temperature="rope_parameters.attention_factor",
        length="max_position_embeddings",
        limits="warns of two keys that it does not know, short_mscale and long_mscale, and keeps them",
        checked="logits in a process without Ropewalk, at every export (`verify-export`) and by the tests",
    ),
    Engine(
        name="transformers 4.57",
        export="--to hf",
        frequencies="rope_scaling.short_factor and .long_factor, with rope_theta beside rope_scaling",
        temperature="rope_scaling.attention_factor",
        length="max_position_embeddings",
        limits="Phi-3 demands exactly three keys in rope_scaling there and refuses the checkpoint",
        checked="logits of ten families, once, in an environment of its own",
    ),
    Engine(
        name="vLLM 0.33",
        export="--to hf, or the model itself with the printed --hf-overrides",
        frequencies="rope_parameters.long_factor",
        temperature="rope_parameters.short_mscale and .long_mscale; attention_factor is ignored",
        length="max_position_embeddings, or the training length where that stands at the top of config.json (Phi-3)",
        limits="interleaved layouts (Cohere, GLM) are refused for this type of rope",
        checked="its rotary class on a CPU, by a test that is skipped where vLLM is missing; no whole model was run",
    ),
    Engine(
        name="SGLang 0.5.23",
        export="--to hf",
        frequencies="rope_parameters.long_factor and .short_factor by batch, equal here",
        temperature="rope_parameters.short_mscale and .long_mscale; attention_factor is ignored",
        length="max_position_embeddings",
        limits="as vLLM, whose class it shares",
        checked="read, not run",
    ),
    Engine(
        name="llama.cpp (llama-cpp-python 0.3.36)",
        export="--to gguf",
        frequencies="tensor rope_freqs.weight; rope_factors_long and rope_factors_short for Phi-3",
        temperature="key rope.scaling.attn_factor",
        length="key context_length",
        limits="only some architectures take divisors: Llama does; Qwen, Gemma, OLMo, GPT-NeoX, StableLM, Phi-2 and "
        "others do not, and are refused",
        checked="logits (`verify-export`) where llama-cpp-python is installed, and tests that are skipped without",
    ),
    Engine(
        name="transformers 5.23 reading GGUF",
        export="none",
        frequencies="the base alone: rope_freqs.weight is passed over",
        temperature="none",
        length="key context_length",
        limits="runs a GGUF export with the original rope, without a warning; use --to hf for transformers",
        checked="logits, by a test",
    ),
    Engine(
        name="any that takes the divisors alone",
        export="--to hf --fold-temperature",
        frequencies="as above",
        temperature="in the weights of the queries, so 1",
        length="as above",
        limits="not for fused or interleaved queries; weights of 16 bits are rounded once more",
        checked="logits in transformers, by the tests",
    ),
)

_TITLES = {
    "export": "export",
    "frequencies": "frequencies from",
    "temperature": "attention factor from",
    "length": "context length from",
    "limits": "limits",
    "checked": "checked by",
}


def engines_text() -> str:
    """The table for a terminal, one block an engine."""
    blocks = []
    for engine in ENGINES:
        lines = [engine.name]
        for key, title in _TITLES.items():
            lines += textwrap.wrap(
                getattr(engine, key), 110, initial_indent=f"  {title:<22} ", subsequent_indent=" " * 25
            )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def engines_page() -> str:
    """The page docs/engines.md."""
    head = (
        "# Which engine honours what\n\n"
        "Of a rope that `ropewalk export` writes. Made from `src/ropewalk/export/engines.py`; `ropewalk export "
        "--engines` prints the same.\n"
    )
    assert set(_TITLES) | {"name"} == {field.name for field in fields(Engine)}
    blocks = []
    for engine in ENGINES:
        rows = "\n".join(f"| {title} | {getattr(engine, key)} |" for key, title in _TITLES.items())
        blocks.append(f"## {engine.name}\n\n| | |\n| --- | --- |\n{rows}\n")
    return "\n".join([head, *blocks])

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
        export="--to hf, or the model itself with what --print transformers shows",
        frequencies="rope_parameters: rope_type yarn, linear, dynamic, llama3, default with another base, or longrope, "
        "which holds one divisor a pair for any other rope, and two tables",
        temperature="rope_parameters.attention_factor, of yarn and longrope",
        length="max_position_embeddings; a dynamic rope starts there",
        limits="Phi-3 and Phi-3.5-MoE take longrope alone; where types of layers have ropes of their own, yarn's "
        "truncate is passed over; warns of short_mscale and long_mscale in longrope, which others need, and keeps them",
        checked="logits in a process without Ropewalk, at every export (`verify-export`), by the tests, and for every "
        "causal family on a tiny model (docs/families.md)",
    ),
    Engine(
        name="transformers 4.57",
        export="--to hf",
        frequencies="rope_scaling, the same forms, with rope_theta beside it",
        temperature="rope_scaling.attention_factor",
        length="max_position_embeddings",
        limits="Phi-3 demands exactly three keys in rope_scaling there and refuses the checkpoint; families that are "
        "newer than it are written for version 5 alone",
        checked="logits of ten families with longrope, once, in an environment of its own",
    ),
    Engine(
        name="vLLM 0.33",
        export="--to hf, or the model itself with what --print vllm shows",
        frequencies="rope_parameters, the same forms",
        temperature="yarn: attention_factor; longrope: short_mscale and long_mscale, and attention_factor is ignored",
        length="--max-model-len, or max_position_embeddings; the training length where that stands at the top of "
        "config.json (Phi-3)",
        limits="longrope is refused for interleaved layouts (Cohere, GLM), and of two tables the long one is taken "
        "wherever more than the original length is served; a dynamic rope is fixed at the longest context",
        checked="its rotary classes on a CPU, for every form that is printed, by a test that is skipped where vLLM is "
        "missing; no whole model was run",
    ),
    Engine(
        name="SGLang 0.5.23",
        export="--to hf, or the model itself with what --print sglang shows",
        frequencies="rope_parameters, the same forms; of two tables the long one for a batch with a long text in it",
        temperature="yarn: attn_factor, which multiplies 0.1 ln s + 1, and attention_factor is ignored; longrope: "
        "short_mscale and long_mscale",
        length="--context-length, or max_position_embeddings",
        limits="a dynamic rope is fixed at the factor times max_position_embeddings; overrides on the command line "
        "replace the whole of a nested text_config",
        checked="its rotary classes on a CPU, for every form that is printed, by a test that is skipped where SGLang "
        "is missing; no whole model was run",
    ),
    Engine(
        name="llama.cpp (llama-cpp-python 0.3.36)",
        export="--to gguf, or the flags that --print llama.cpp shows",
        frequencies="keys: another base, linear, yarn, for every architecture; divisors: tensor rope_freqs.weight, or "
        "rope_factors_long and rope_factors_short for Phi-3 and for two tables",
        temperature="key rope.scaling.attn_factor, which multiplies yarn's own 0.1 ln s + 1",
        length="key context_length, or -c",
        limits="only some architectures take divisors: Llama does; Qwen, Gemma, OLMo, GPT-NeoX, StableLM, Phi-2 and "
        "others do not; of two tables one is chosen by the context that is allocated, rounded up to 256 tokens",
        checked="logits (`verify-export`) where llama-cpp-python is installed, and tests that are skipped without: "
        "keys on Qwen 2 and 3, divisors and two tables on Llama and Phi-3",
    ),
    Engine(
        name="transformers 5.23 reading GGUF",
        export="none",
        frequencies="the base alone: keys of scaling and tensors of divisors are passed over",
        temperature="none",
        length="key context_length",
        limits="runs a GGUF export with the original rope, without a warning; Ropewalk reads the file's rope itself "
        "and gives it to transformers; for others use --to hf",
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

"""What to type, or to put into a configuration, so that an engine gives a model a rope, without weights or copies.

Only configurations and keys are read here, and torch is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import UserError
from ropewalk.export import llama_cpp
from ropewalk.export.target import target_length
from ropewalk.models.configurations import load_config
from ropewalk.models.gguf import architecture, open_gguf
from ropewalk.models.rope_reading import text_config, text_key
from ropewalk.models.rope_writing import written_configuration
from ropewalk.models.sources import ModelSource, gguf_path
from ropewalk.rope import Rope


@dataclass(frozen=True)
class Printed:
    """What an engine is told.

    Attributes:
        text: what to type or to put somewhere.
        notes: what the engine drops or does otherwise, one sentence each.
    """

    text: str
    notes: tuple[str, ...] = ()


def printed(source: ModelSource, rope: Rope, engine: str, *, length: int | None = None) -> Printed:
    """What to type so that an engine gives a model a rope.

    Args:
        source: the model; its configuration is enough.
        rope: made for this model.
        engine: one of :data:`ENGINES`.
        length: the context length in tokens to serve; see :func:`target_length`.

    Raises:
        UserError: the engine is unknown or cannot take the rope, or the rope was made for another model.
    """
    if engine not in ENGINES:
        raise UserError(f"--print {engine!r}: expected one of {', '.join(ENGINES)}.")
    served = target_length(rope, length)
    if engine == "llama.cpp":
        return _llama_cpp(source, rope, served)
    if source.kind == "gguf":
        raise UserError(f"--print {engine}: a GGUF file has no configuration to change; expected --print llama.cpp.")
    config = load_config(source)
    written = written_configuration(config, rope, served)
    return ENGINES[engine](source.name, config, rope, written, served)


def _transformers(name: str, config: Any, rope: Rope, written: dict[str, Any], length: int) -> Printed:
    place = f"config.{key}" if (key := text_key(config)) else "config"
    lines = [
        "In config.json:",
        json.dumps(_in_place(config, written), indent=2),
        "",
        "or in Python:",
        "from transformers import AutoConfig, AutoModelForCausalLM",
        f"config = AutoConfig.from_pretrained({name!r})",
        *(f"{place}.{attribute} = {value!r}" for attribute, value in written.items()),
        f"model = AutoModelForCausalLM.from_pretrained({name!r}, config=config)",
    ]
    return Printed("\n".join(lines), tuple(_common_notes(rope, written)))


def _vllm(name: str, config: Any, rope: Rope, written: dict[str, Any], length: int) -> Printed:
    notes, kinds = _common_notes(rope, written), _kinds(written)
    if "dynamic" in kinds:
        notes = ["vLLM fixes a dynamic rope at the longest context that it serves, so that short texts pay for it too."]
        written = written | {"max_position_embeddings": length}
        for parameters in _all_parameters(written):
            parameters["max_trained_positions"] = rope.original_length
    if "longrope" in kinds:
        notes.append(
            "vLLM takes divisors for models that rotate halves, not consecutive pairs (Cohere, GLM, GPT-J), and reads "
            "short_mscale and long_mscale in the place of attention_factor."
        )
        if not rope.static:
            notes.append(f"vLLM takes the long table wherever it serves more than {rope.original_length:,} tokens.")
    override = json.dumps(_in_place(config, written))
    return Printed(f"vllm serve {name} --max-model-len {length} --hf-overrides '{override}'", tuple(notes))


def _sglang(name: str, config: Any, rope: Rope, written: dict[str, Any], length: int) -> Printed:
    notes, kinds = _common_notes(rope, written), _kinds(written)
    if "yarn" in kinds:
        for parameters in _all_parameters(written):
            if "attention_factor" in parameters and parameters["rope_type"] == "yarn":
                temperature = llama_cpp.own_temperature(parameters["attention_factor"], parameters["factor"])
                parameters["attn_factor"] = temperature
        notes.append("SGLang passes over attention_factor: attn_factor multiplies what it makes of the factor.")
    if "dynamic" in kinds:
        notes.append(
            "SGLang fixes a dynamic rope at the factor times max_position_embeddings: short texts pay for it too."
        )
    if "longrope" in kinds and not rope.static:
        notes.append("SGLang chooses the table by batch: one long text gives short ones beside it the long table too.")
    if text_key(config):
        notes.append("SGLang replaces the whole of a nested configuration by what is given: edit config.json instead.")
    override = json.dumps(_in_place(config, written))
    command = f"python -m sglang.launch_server --model-path {name} --context-length {length}"
    return Printed(f"{command} --json-model-override-args '{override}'", tuple(notes))


def _llama_cpp(source: ModelSource, rope: Rope, length: int) -> Printed:
    if source.kind == "gguf":
        file = gguf_path(source.name)
        arch, name = architecture(open_gguf(file)), str(file)
    else:
        arch, name = text_config(load_config(source)).model_type, "MODEL.gguf"
    flags, notes = llama_cpp.flags(arch, rope)
    program = "llama-server" if rope.position_map is None else "llama-cli"
    return Printed(" ".join([f"{program} -m", name, "-c", str(length), *flags]), tuple(notes))


def _common_notes(rope: Rope, written: dict[str, Any]) -> list[str]:
    notes = []
    if "dynamic" in _kinds(written):
        notes.append(f"max_position_embeddings stays {rope.original_length}: a dynamic rope starts where it ends.")
    if "allow_global_per_layer_attribute_access" in written:
        notes.append("The heads of this model differ by layer; the last key lets transformers check divisors at all.")
    return notes


def _in_place(config: Any, written: dict[str, Any]) -> dict[str, Any]:
    """What is written for a text model, where the configuration has it."""
    key = text_key(config)
    return written if key is None else {key: written}


def _kinds(written: dict[str, Any]) -> set[str]:
    """The types of ropes in what is written."""
    return {parameters["rope_type"] for parameters in _all_parameters(written)}


def _all_parameters(written: dict[str, Any]) -> list[dict[str, Any]]:
    """The rope parameters in what is written, one a type of layers."""
    parameters = written["rope_parameters"]
    return [parameters] if "rope_type" in parameters else [each for each in parameters.values() if each]


ENGINES: dict[str, Callable[..., Printed]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "sglang": _sglang,
    "llama.cpp": _llama_cpp,
}
"""Engines that can be told, by the names that a person gives."""

"""Export to GGUF, for llama.cpp: a rope grafted onto any GGUF file, and checkpoints of a few families converted to one.

Where an architecture takes divisors, a rope is one tensor and one key. Where it takes none (Qwen, Gemma, most mixtures
of experts), a rope that keys can say is written in keys: another base, linear scaling, YaRN. The weights stay as they
are, quantised or not.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ropewalk.errors import UserError
from ropewalk.export.llama_cpp import ARCHITECTURES, Held, held
from ropewalk.export.target import Exported, check_apart, target_length
from ropewalk.files import whole_file
from ropewalk.models.gguf import FREQS, LONG_AND_SHORT, architecture, open_gguf, package, read_rope, read_table, value
from ropewalk.models.rope_reading import head_dim
from ropewalk.models.rope_writing import UNROTATED_FACTOR, check_fits
from ropewalk.models.sources import ModelSource, gguf_path
from ropewalk.rope import Rope

CONVERTED = ("llama", "qwen2", "qwen3", "phi3")
"""Families whose checkpoints are converted here; the weights of all others need llama.cpp's own script."""


def export(source: ModelSource, rope: Rope, file: Path, *, length: int | None = None) -> Exported:
    """Write a GGUF file that llama.cpp runs with a rope, whole or not at all.

    A GGUF model is copied, quantised tensors as they are; a checkpoint is converted to float32.

    Args:
        source: the model.
        rope: a static rope without log-scaled attention, made for this model.
        file: where to write; ends in ``.gguf``.
        length: the context length in tokens to announce; see :func:`target_length`.

    Raises:
        UserError: the model cannot be read, or llama.cpp cannot express the rope for it.
    """
    if file.suffix != ".gguf":
        raise UserError(f"{file}: expected a name that ends in .gguf.")
    announced = target_length(rope, length)
    check_apart(source, file)
    package()
    if source.kind == "gguf":
        return graft(gguf_path(source.name), rope, file, announced)
    return convert(source, rope, file, announced)


def graft(source: Path, rope: Rope, target: Path, length: int) -> Exported:
    """Copy a GGUF file with another rope: its divisors, attention factor and context length.

    Every key and tensor is copied as it is but for those of an earlier rope: the tensors of divisors and all that
    stands under ``rope.scaling``, which would apply on top of the new one.

    Raises:
        UserError: the rope was made for another model, or the architecture cannot take it.
    """
    gguf = package()
    reader = open_gguf(source)
    arch = architecture(reader)
    new = held(arch, rope)
    if value(reader, "split.count", 1) > 1:
        raise UserError(f"{source} is one of several parts; expected a whole file (`llama-gguf-split --merge`).")
    _check_fits(reader, rope)
    with whole_file(target) as temporary:
        writer = gguf.GGUFWriter(temporary, arch, endianess=reader.endianess)
        writer.data_alignment = reader.alignment
        _add_rope_keys(writer, arch, new, length, rope.original_length)
        for field in reader.fields.values():
            written_already = field.name in writer.kv_data[0] or field.name.startswith("GGUF.")
            if written_already or not field.types or _of_the_old_rope(field.name, arch):
                continue
            is_array = field.types[0] == gguf.GGUFValueType.ARRAY
            if is_array and len(field.types) == 1:
                continue  # an empty array, which has no type to be written with
            writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1] if is_array else None)
        kept = [tensor for tensor in reader.tensors if tensor.name not in FREQS + LONG_AND_SHORT]
        for name, table in new.tensors.items():
            writer.add_tensor_info(name, table.shape, table.dtype, table.nbytes)
        for tensor in kept:
            writer.add_tensor_info(
                tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes, tensor.tensor_type
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for table in new.tensors.values():
            writer.write_tensor_data(table)
        for tensor in kept:
            writer.write_tensor_data(tensor.data, tensor_endianess=reader.endianess)
        writer.close()
    return Exported(target, length)


def convert(source: ModelSource, rope: Rope, target: Path, length: int) -> Exported:
    """Convert a checkpoint of a family in :data:`CONVERTED` to a GGUF file in float32 with a rope.

    Raises:
        UserError: the checkpoint is of another family or not readable, or the rope was made for another model.
    """
    from ropewalk.models.configurations import load_config
    from ropewalk.models.loading import load_model

    gguf = package()
    config = load_config(source)
    family = config.model_type
    if family not in CONVERTED:
        raise UserError(
            f"model type {family!r} is not converted to GGUF here, only {', '.join(CONVERTED)}; convert it with "
            "llama.cpp's convert_hf_to_gguf.py, and pass that file as --model."
        )
    check_fits(config, rope)
    width, new = head_dim(config), held(family, rope)
    if family == "llama" and rope.rotary_dim != width:
        raise UserError(
            f"the rope rotates {rope.rotary_dim} of {width} dimensions of a head; llama.cpp's 'llama' rotates all."
        )
    model = load_model(source, dtype="float32", device="cpu")
    kind = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == family)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    heads = {}
    if family == "llama":  # rotates consecutive pairs, all others first and second half
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    with whole_file(target) as temporary:
        writer = gguf.GGUFWriter(temporary, family)
        writer.add_type(gguf.GGUFType.MODEL)
        # llama.cpp takes some names for those of other models: a Phi-3 of that name is not loaded.
        writer.add_name("ropewalk export")
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_embedding_length(config.hidden_size)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(width)
        writer.add_value_length(width)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(rope.rotary_dim)
        _add_rope_keys(writer, family, new, length, rope.original_length)
        notes = _add_tokenizer(writer, source, config.vocab_size)
        for name, table in new.tensors.items():
            writer.add_tensor(name, table)
        for name, parameter in model.state_dict().items():
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            new_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if new_name is None:
                raise UserError(f"model {source}: llama.cpp's {family!r} has no place for the weight {name!r}.")
            weight = parameter.numpy()
            count = heads.get(name.split(".")[-2])
            writer.add_tensor(new_name, weight if count is None else _interleave(weight, count))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return Exported(target, length, tuple(notes))


def read_back(file: Path, rope: Rope) -> list[str]:
    """What a GGUF file says otherwise than a rope, one sentence each; empty where it gives llama.cpp the same one."""
    reader = open_gguf(file)
    arch = architecture(reader)
    if arch not in ARCHITECTURES and any(tensor.name in FREQS + LONG_AND_SHORT for tensor in reader.tensors):
        return [f"The architecture {arch!r} ignores divisors."]
    try:
        found = read_rope(reader)
    except UserError as error:
        return [str(error)]
    faults = []
    if found.inv_freq.shape != rope.inv_freq.shape:
        return [f"The file rotates {found.rotary_dim} dimensions of a head; the rope {rope.rotary_dim}."]
    if (found.static, found.original_length) != (rope.static, rope.original_length) and not rope.static:
        faults.append(f"The file switches its table at {found.original_length}; expected {rope.original_length}.")
    # Keys and divisors are float32, and a pair that stands still has a divisor so large that it does.
    for length in (rope.original_length, rope.original_length + 1):
        wrong = ~np.isclose(found.at(length).inv_freq, rope.at(length).inv_freq, rtol=1e-6, atol=2 / UNROTATED_FACTOR)
        if wrong.any():
            faults.append(f"At {length} tokens the file turns pair {np.flatnonzero(wrong)[0]} otherwise than the rope.")
            break
    if not math.isclose(found.attention_factor, rope.attention_factor, rel_tol=1e-6):
        faults.append(f"The attention factor is {found.attention_factor:g}; expected {rope.attention_factor:g}.")
    return faults


def all_float32(file: Path) -> bool:
    """Whether every tensor of a GGUF file is float32."""
    kinds = package().GGMLQuantizationType
    return all(tensor.tensor_type == kinds.F32 for tensor in open_gguf(file).tensors)


def _check_fits(reader: Any, rope: Rope) -> None:
    own = read_table(reader, length=rope.original_length)
    if rope.rotary_dim != own.rotary_dim:
        raise UserError(
            f"the rope rotates {rope.rotary_dim} dimensions of a head; this model rotates {own.rotary_dim}."
        )
    if not math.isclose(rope.base, own.base, rel_tol=1e-6):
        raise UserError(f"the rope was made from base {rope.base:g}; this model has base {own.base:g}.")


def _of_the_old_rope(key: str, arch: str) -> bool:
    # Granite takes ``finetuned`` for the switch between rope and no rope at all.
    kept = f"{arch}.rope.scaling.finetuned"
    return key in (f"{arch}.rope.scale_linear", f"{arch}.rope.freq_base") or (
        key.startswith(f"{arch}.rope.scaling.") and key != kept
    )


def _add_rope_keys(writer: Any, arch: str, new: Held, length: int, original: int) -> None:
    writer.add_context_length(length)
    writer.add_rope_freq_base(new.base)
    writer.add_rope_scaling_type(package().RopeScalingType(new.kind))
    for key, number in new.keys.items():
        writer.add_float32(f"{arch}.rope.scaling.{key}", number)
    # YaRN's ramp is placed by this length; Mistral 3 tunes its temperature from it on.
    writer.add_rope_scaling_orig_ctx_len(original)


def _interleave(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorder the rows of each head, (first half, second half), into the consecutive pairs that 'llama' rotates."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def _add_tokenizer(writer: Any, source: ModelSource, vocab_size: int) -> list[str]:
    """Write a byte-level BPE tokenizer, or none, which the returned sentences say."""
    from ropewalk.models.tokenizers import load_tokenizer

    try:
        tokenizer = load_tokenizer(source)
        described = json.loads(tokenizer.backend_tokenizer.to_str())
        pre = _pre_tokenizer(described)
    except UserError:
        pre = None
    if pre is None or len(tokenizer) > vocab_size:
        writer.add_tokenizer_model("no_vocab")
        return [
            "The file holds no tokenizer: the model has none, or none of the byte-level BPE kinds that are known here; "
            "llama.cpp runs it on token ids alone."
        ]
    kinds = package().TokenType
    tokens, types = [], []
    for index in range(vocab_size):
        token = tokenizer.convert_ids_to_tokens(index)
        added = tokenizer.added_tokens_decoder.get(index)
        tokens.append(f"[PAD{index}]" if token is None else token)
        if token is None:
            types.append(kinds.UNUSED)
        else:
            types.append(kinds.NORMAL if added is None else kinds.CONTROL if added.special else kinds.USER_DEFINED)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # llama.cpp refuses a BPE vocabulary without merges; no text is ever cut into these two symbols.
    writer.add_token_merges(merges or ["<none> <none>"])
    for index, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if index is not None:
            add(index)
    first = tokenizer("a")["input_ids"][0]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id)
    writer.add_add_space_prefix(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
    return []


_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def _pre_tokenizer(described: dict[str, Any]) -> str | None:
    """llama.cpp's name for how a tokenizer cuts text before its merges; None for one that it cannot do."""
    model, before = described["model"], described["pre_tokenizer"] or {}
    if described["normalizer"] is not None or model.get("type") != "BPE":
        return None
    match [_cut(part) for part in before.get("pretokenizers", [before])]:
        case ["words"]:
            return "gpt-2"
        case ["bytes"] if not model["merges"]:
            return "gpt-2"  # without merges every byte is a token, however text is cut
        case ["digits", "words"]:
            return "smollm"
        case ["llama3", "bytes"] if model.get("ignore_merges"):
            return "llama-bpe"
    return None


def _cut(part: dict[str, Any]) -> str | None:
    match part:
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return "words" if part.get("use_regex", True) else "bytes"
        case {"type": "Digits", "individual_digits": True}:
            return "digits"
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"} if pattern == _LLAMA3_SPLIT:
            return "llama3"
    return None

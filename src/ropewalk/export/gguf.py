"""Export to GGUF, for llama.cpp: a rope grafted onto any GGUF file, and Llama checkpoints converted to one.

llama.cpp turns pair i by position * base^(-2i/d) / f_i, with the divisors f_i from a tensor of float32, and multiplies
cos and sin by ``{arch}.rope.scaling.attn_factor`` whatever the scaling type (ggml_rope_ext; llama-context.cpp). So a
rope is one tensor and one key, and the weights stay as they are, quantised or not.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ropewalk.errors import UserError
from ropewalk.export.target import Exported, check_apart, check_expressible, target_length
from ropewalk.files import whole_file
from ropewalk.models import binding
from ropewalk.models.sources import ModelSource, gguf_path
from ropewalk.rope import Rope

_FREQS = ("rope_freqs.weight",)
_LONG_AND_SHORT = ("rope_factors_long.weight", "rope_factors_short.weight")

ARCHITECTURES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("llama", "deci", "arcee", "apertus", "exaone", "exaone4", "mistral3", "nanbeige"), _FREQS),
    **dict.fromkeys(("granite", "granitemoe", "minicpm"), _FREQS),
    **dict.fromkeys(("phi3", "phimoe"), _LONG_AND_SHORT),
}
"""The architectures of llama.cpp whose loader takes divisors and whose graph turns every rotated layer by them, with
the tensors that hold them. Read from src/models/*.cpp as of llama-cpp-python 0.3.36. Some others load the tensor and do
not use it (llada, falcon-h1, pangu-embedded), or would use it and cannot load it (cohere2, deepseek, hunyuan-moe)."""

# Model types of transformers whose own architecture in llama.cpp ignores divisors.
_IGNORED = {
    *("qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2", "olmo3", "gpt_neox", "stablelm", "smollm3"),
    *("starcoder2", "phi", "falcon", "cohere", "cohere2", "gpt_oss"),
}


def export(source: ModelSource, rope: Rope, file: Path, *, length: int | None = None) -> Exported:
    """Write a GGUF file that llama.cpp runs with a rope, whole or not at all.

    A GGUF model is copied, quantised tensors as they are; a Llama checkpoint is converted to float32.

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
    check_expressible(rope)
    announced = target_length(rope, length)
    check_apart(source, file)
    package()
    if source.kind == "gguf":
        return graft(gguf_path(source.name), rope, file, announced)
    return convert(source, rope, file, announced)


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
    """A ``gguf.GGUFReader`` of a file.

    Raises:
        UserError: the file is missing or no GGUF file.
    """
    reader = package().GGUFReader
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected a GGUF file.")
    try:
        return reader(file)
    except Exception as error:
        raise UserError(f"{file} is damaged or no GGUF file: {' '.join(str(error).split())[:200]}") from error


def value(reader: Any, key: str, default: Any = None) -> Any:
    """The value of a key, where ``{arch}`` stands for the architecture."""
    field = reader.get_field(key.replace("{arch}", architecture(reader)))
    return default if field is None else field.contents()


def architecture(reader: Any) -> str:
    """The architecture that a file names."""
    field = reader.get_field("general.architecture")
    return "" if field is None else str(field.contents())


def graft(source: Path, rope: Rope, target: Path, length: int) -> Exported:
    """Copy a GGUF file with another rope: its divisors, attention factor and context length.

    Every key and tensor is copied as it is but for those of an earlier rope: the tensors of divisors and all that
    stands under ``rope.scaling``, of which linear and YaRN scaling would apply on top of the divisors.

    Raises:
        UserError: the rope was made for another model, or the architecture ignores divisors.
    """
    gguf = package()
    reader = open_gguf(source)
    arch = architecture(reader)
    _check_architecture(arch)
    if value(reader, "split.count", 1) > 1:
        raise UserError(f"{source} is one of several parts; expected a whole file (`llama-gguf-split --merge`).")
    _check_fits(reader, rope)
    old_length = value(reader, "{arch}.context_length", rope.original_length)
    original = value(reader, "{arch}.rope.scaling.original_context_length", old_length)
    with whole_file(target) as temporary:
        writer = gguf.GGUFWriter(temporary, arch, endianess=reader.endianess)
        writer.data_alignment = reader.alignment
        _add_rope_keys(writer, rope, length, original)
        for field in reader.fields.values():
            written_already = field.name in writer.kv_data[0] or field.name.startswith("GGUF.")
            if written_already or not field.types or _of_the_old_rope(field.name, arch):
                continue
            is_array = field.types[0] == gguf.GGUFValueType.ARRAY
            if is_array and len(field.types) == 1:
                continue  # an empty array, which has no type to be written with
            writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1] if is_array else None)
        kept = [tensor for tensor in reader.tensors if tensor.name not in _FREQS + _LONG_AND_SHORT]
        table = binding.divisors(rope).astype(np.float32)
        for name in ARCHITECTURES[arch]:
            writer.add_tensor_info(name, table.shape, table.dtype, table.nbytes)
        for tensor in kept:
            writer.add_tensor_info(
                tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes, tensor.tensor_type
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _ in ARCHITECTURES[arch]:
            writer.write_tensor_data(table)
        for tensor in kept:
            writer.write_tensor_data(tensor.data, tensor_endianess=reader.endianess)
        writer.close()
    return Exported(target, length)


def convert(source: ModelSource, rope: Rope, target: Path, length: int) -> Exported:
    """Convert a Llama checkpoint to a GGUF file in float32 with a rope.

    Raises:
        UserError: the checkpoint is of another family or not readable, or the rope was made for another model.
    """
    from ropewalk.models.loading import load_config, load_model

    gguf = package()
    config = load_config(source)
    _check_family(config.model_type)
    binding.check_fits(config, rope)
    head_dim = binding.head_dim(config)
    if rope.rotary_dim != head_dim:
        raise UserError(
            f"the rope rotates {rope.rotary_dim} of {head_dim} dimensions of a head; llama.cpp's 'llama' rotates all."
        )
    model = load_model(source, dtype="float32", device="cpu")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    with whole_file(target) as temporary:
        writer = gguf.GGUFWriter(temporary, "llama")
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_name(Path(source.name).name)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_embedding_length(config.hidden_size)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(rope.rotary_dim)
        writer.add_rope_freq_base(rope.base)
        _add_rope_keys(writer, rope, length, rope.original_length)
        notes = _add_tokenizer(writer, source, config.vocab_size)
        writer.add_tensor(_FREQS[0], binding.divisors(rope).astype(np.float32))
        for name, parameter in model.state_dict().items():
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            new_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if new_name is None:
                raise UserError(f"model {source}: llama.cpp's 'llama' has no place for the weight {name!r}.")
            weight = parameter.numpy()
            count = heads.get(name.split(".")[-2])
            writer.add_tensor(new_name, weight if count is None else _interleave(weight, count))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return Exported(target, length, tuple(notes))


def read_back(file: Path, rope: Rope) -> list[str]:
    """What a GGUF file says otherwise than a rope, one sentence each; empty where tensor and keys agree with it."""
    reader = open_gguf(file)
    arch = architecture(reader)
    if arch not in ARCHITECTURES:
        return [f"The architecture {arch!r} ignores divisors."]
    tensors = {tensor.name: np.asarray(tensor.data) for tensor in reader.tensors}
    wanted = binding.divisors(rope)
    faults = [
        f"The tensor {name!r} does not hold the divisors of the rope."
        for name in ARCHITECTURES[arch]
        if name not in tensors
        or tensors[name].shape != wanted.shape
        or not np.allclose(tensors[name], wanted, rtol=1e-6, atol=0)
    ]
    factor = value(reader, "{arch}.rope.scaling.attn_factor", 1.0)
    if not math.isclose(factor, rope.attention_factor, rel_tol=1e-6):
        faults.append(f"The attention factor is {factor:g}; expected {rope.attention_factor:g}.")
    base = value(reader, "{arch}.rope.freq_base", 10_000.0)
    if not math.isclose(base, rope.base, rel_tol=1e-6):
        faults.append(f"The base is {base:g}; expected {rope.base:g}.")
    scaling = value(reader, "{arch}.rope.scaling.type", "linear")
    if scaling != "none":
        faults.append(f"The scaling type is {scaling!r}; expected 'none'.")
    return faults


def all_float32(file: Path) -> bool:
    """Whether every tensor of a GGUF file is float32."""
    kinds = package().GGMLQuantizationType
    return all(tensor.tensor_type == kinds.F32 for tensor in open_gguf(file).tensors)


def _check_architecture(arch: str) -> None:
    if arch not in ARCHITECTURES:
        raise UserError(
            f"llama.cpp ignores divisors of the frequencies in architecture {arch!r}, where only another base, linear "
            f"scaling or YaRN can be expressed; those that take divisors are {', '.join(sorted(ARCHITECTURES))}."
        )


def _check_family(family: str) -> None:
    if family in _IGNORED:
        _check_architecture(family)
    if family != "llama":
        raise UserError(
            f"model type {family!r} is not converted to GGUF here, only 'llama'; convert it with llama.cpp's "
            "convert_hf_to_gguf.py, and pass that file as --model."
        )


def _check_fits(reader: Any, rope: Rope) -> None:
    heads = value(reader, "{arch}.attention.head_count", 1)
    heads = max(heads) if isinstance(heads, list) else heads
    head_dim = value(reader, "{arch}.attention.key_length", value(reader, "{arch}.embedding_length", 0) // heads)
    rotated = value(reader, "{arch}.rope.dimension_count", head_dim)
    base = value(reader, "{arch}.rope.freq_base", 10_000.0)
    if rope.rotary_dim != rotated:
        raise UserError(f"the rope rotates {rope.rotary_dim} dimensions of a head; this model rotates {rotated}.")
    if not math.isclose(rope.base, base, rel_tol=1e-6):
        raise UserError(f"the rope was made from base {rope.base:g}; this model has base {base:g}.")


def _of_the_old_rope(key: str, arch: str) -> bool:
    # Granite takes ``finetuned`` for the switch between rope and no rope at all.
    kept = f"{arch}.rope.scaling.finetuned"
    return key == f"{arch}.rope.scale_linear" or (key.startswith(f"{arch}.rope.scaling.") and key != kept)


def _add_rope_keys(writer: Any, rope: Rope, length: int, original: int) -> None:
    writer.add_context_length(length)
    writer.add_rope_scaling_type(package().RopeScalingType.NONE)
    writer.add_rope_scaling_attn_factors(rope.attention_factor)
    # Mistral 3 tunes its temperature from this length on, and would take the new context length without it.
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

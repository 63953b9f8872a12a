"""Export to a Hugging Face checkpoint: the weights as they are, and a configuration that holds the rope.

transformers reads the rope from ``rope_parameters`` (version 5) or from ``rope_scaling`` and ``rope_theta`` (version
4). Both are written, in the field's own name for the rope where it has one (:mod:`ropewalk.models.rope_writing`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ropewalk.export.folding import check_foldable, fold
from ropewalk.export.target import Exported, check_apart, target_length
from ropewalk.files import read_json, whole_folder, write_json
from ropewalk.models.configurations import load_config
from ropewalk.models.loading import fetch, load_model
from ropewalk.models.rope_reading import is_nested, site, text_config, text_key
from ropewalk.models.rope_writing import written_configuration
from ropewalk.models.sources import ModelSource
from ropewalk.rope import Rope

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_ORIGINAL = "original_max_position_embeddings"


def export(
    source: ModelSource, rope: Rope, folder: Path, *, length: int | None = None, fold_temperature: bool = False
) -> Exported:
    """Write a checkpoint that plain ``from_pretrained`` loads with a rope, whole or not at all.

    Args:
        source: the model; its weights are linked where the disk allows it, unless they change.
        rope: a static rope without log-scaled attention, made for this model.
        folder: where to write.
        length: the context length in tokens to announce; see :func:`target_length`.
        fold_temperature: move the attention factor into the weights.

    Raises:
        UserError: the model cannot be read, or the rope cannot be expressed for it.
    """
    announced = target_length(rope, length)
    check_apart(source, folder)
    config = load_config(source)
    # Before anything is copied: this refuses what a configuration cannot hold.
    written_configuration(config, rope, announced)
    if fold_temperature:
        check_foldable(config)
    with whole_folder(folder) as temporary:
        fetch(source, temporary)
        notes: list[str] = []
        if fold_temperature:
            rope = _fold_weights(temporary, rope, notes)
        _write_config(temporary, rope, announced, notes)
        _raise_tokenizer_length(temporary, announced)
    # A GGUF file has no configuration to override, and folded weights are not those of the original.
    applicable = source.kind != "gguf" and not fold_temperature
    return Exported(folder, announced, tuple(notes), applicable)


def _fold_weights(folder: Path, rope: Rope, notes: list[str]) -> Rope:
    source = ModelSource("folder", str(folder))
    dtype = str(load_config(source).dtype or "float32").removeprefix("torch.")
    model = load_model(source, dtype=dtype, device="cpu")
    rope = fold(model, rope)
    # The files may be links to those of the model, which must not be written through.
    for pattern in ("*.safetensors", "*.bin", "*.index.json"):
        for path in folder.glob(pattern):
            path.unlink()
    model.save_pretrained(folder)
    if dtype != "float32":
        notes.append(f"The folded weights are {dtype}, so they were rounded once more; the logits move by as much.")
    return rope


def _write_config(folder: Path, rope: Rope, length: int, notes: list[str]) -> None:
    """Edit ``config.json``."""
    path = folder / "config.json"
    config = load_config(ModelSource("folder", str(folder)))
    written = written_configuration(config, rope, length)
    text, key = text_config(config), text_key(config)
    raw = read_json(path, "a model configuration")
    inner = raw if key is None else raw.setdefault(key, {})
    inner.pop(_ORIGINAL, None)
    inner |= written | _version4(config)
    if hasattr(type(text), _ORIGINAL):
        notes.append(
            f"Model type {text.model_type!r} keeps its training length at the top of its configuration, where vLLM "
            f"takes its default context from: start vLLM with --max-model-len {length}; transformers 4 may refuse it."
        )
    write_json(path, raw)


def _version4(config: PreTrainedConfig) -> dict[str, Any]:
    """The same rope as transformers 4 reads it."""
    text = text_config(config)
    if is_nested(text) and text.model_type not in ("gemma3_text", "olmo3"):
        return {}  # families that version 4 does not know
    flat = dict(site(config).parameters)
    keys: dict[str, Any] = {"rope_scaling": None, "rope_theta": flat["rope_theta"]}
    if flat["rope_type"] != "default":
        keys["rope_scaling"] = flat
    if "partial_rotary_factor" in flat:
        keys["partial_rotary_factor"] = flat["partial_rotary_factor"]
    if text.model_type == "gpt_neox":
        keys |= {"rotary_emb_base": flat["rope_theta"], "rotary_pct": flat["partial_rotary_factor"]}
    if text.model_type == "gemma3_text":
        keys["rope_local_base_freq"] = text.rope_parameters["sliding_attention"]["rope_theta"]
    return keys


def _raise_tokenizer_length(folder: Path, length: int) -> None:
    """A tokenizer that still names the old length warns about every longer text."""
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return
    value = read_json(path, "the configuration of a tokenizer")
    old = value.get("model_max_length")
    if old is not None and old < length:
        write_json(path, value | {"model_max_length": length})

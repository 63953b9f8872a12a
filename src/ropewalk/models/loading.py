"""Load causal language models, or put them into a folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import nullcontext
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM, PreTrainedModel

from ropewalk.devices import has_gpu
from ropewalk.errors import PassingError, UserError
from ropewalk.files import read_json, whole_folder
from ropewalk.models import gguf
from ropewalk.models.configurations import load_config
from ropewalk.models.sources import CHECKPOINT_FILES, ModelSource, failure, gguf_path
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.options import DTYPE

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    source: ModelSource, *, dtype: str = DTYPE, device: str | None = None, attention: str | None = None
) -> PreTrainedModel:
    """The model in evaluation mode, every weight accounted for.

    Args:
        source: where it is.
        dtype: ``auto`` is bfloat16 on a GPU and float32 on a CPU, where bfloat16 is many times slower.
        device: ``cuda``, ``cpu``, …; by default a GPU where there is one.
        attention: implementation of attention in transformers; its own choice where None.

    Raises:
        UserError: the model cannot be found or read, or the checkpoint lacks weights.
    """
    device = device or ("cuda" if has_gpu() else "cpu")
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r}: expected auto or one of {', '.join(DTYPES)}.")
    location = source.location
    if source.kind == "gguf":
        from transformers import GgufConfig

        if gguf.read_rope(gguf.open_gguf(gguf_path(source.name))).steps:
            location["config"] = load_config(source)  # transformers reads the base alone
        # Otherwise the model remembers its packed form and refuses to be saved.
        location["quantization_config"] = GgufConfig(dequantize=True)
    try:
        with gguf.parsed_once() if source.kind == "gguf" else nullcontext():
            # The stubs do not know that loading info makes it a pair.
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                **location,
                dtype=DTYPES[dtype],
                attn_implementation=attention,
                output_loading_info=True,
                trust_remote_code=False,
            )
    except Exception as error:
        raise failure(source, error) from error
    model, info = loaded
    lacking = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if lacking:
        raise UserError(
            f"model {source} is damaged: {len(lacking)} of its weights are missing or misshapen, {lacking[0]} first."
        )
    return model.to(device).eval()


def load_empty(source: ModelSource, *, attention: str | None = None) -> PreTrainedModel:
    """The model in float32 on the CPU with weights that were never written, and so take no memory.

    For processes that get theirs from another one: eight that each load seven billion weights would take 216 GB.

    Args:
        source: where its configuration is.
        attention: implementation of attention in transformers; its own choice where None.

    Raises:
        UserError: the configuration cannot be found or read.
    """
    config = load_config(source)
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation=attention
        )
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = torch.nn.Parameter(torch.empty(weight.shape))
    model.tie_weights()
    return model.eval()


def fetch(source: ModelSource, folder: str | Path) -> None:
    """Put a model and its tokenizer into ``folder`` in Hugging Face format, whole or not at all.

    Weights of a folder and of the hub's cache are linked where the disk allows it, else copied. A GGUF file is unpacked
    to float32. ``source.json`` in the folder says where the model came from.

    Raises:
        UserError: the model cannot be found or read.
    """
    if source.kind == "gguf":
        model, tokenizer = load_model(source, dtype="float32", device="cpu"), load_tokenizer(source)
        with whole_folder(folder) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            _write_origin(temporary, source, source.revision)
        return
    origin, revision = Path(source.location["pretrained_model_name_or_path"]), source.revision
    if source.kind == "hub":
        try:
            origin = _downloaded(source)
        except Exception as error:
            raise failure(source, error) from error
        revision = origin.name
    _check_shards(source, origin)
    with whole_folder(folder) as temporary:
        known = {path.name: path for pattern in CHECKPOINT_FILES for path in origin.glob(pattern)}
        for path in (known[name] for name in one_set(known)):
            # Weights are large and never edited in place; the rest is small and might be.
            (_link if path.suffix in (".safetensors", ".bin") else shutil.copy2)(path, temporary / path.name)
        (temporary / "source.json").unlink(missing_ok=True)
        _write_origin(temporary, source, revision)


def _check_shards(source: ModelSource, folder: Path) -> None:
    """Refuse a checkpoint that lacks some of its weights, as a download that was cut short leaves it in the cache."""
    for index in folder.glob("*.index.json"):
        shards = set(read_json(index, "an index of weights").get("weight_map", {}).values())
        missing = sorted(name for name in shards if not (folder / name).is_file())
        # Of several formats one is enough.
        if missing and missing[0] in one_set(shards | {path.name for path in folder.iterdir()}):
            raise PassingError(f"model {source}: {missing[0]} is missing, and {len(missing) - 1} more of its weights.")


def _downloaded(source: ModelSource) -> Path:
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

    try:
        names = HfApi().list_repo_files(source.name, revision=source.revision)
    except Exception:
        # Without the network the cache serves, with whatever it holds.
        kept = try_to_load_from_cache(source.name, "config.json", revision=source.revision)
        if isinstance(kept, str):
            return Path(kept).parent
        raise
    wanted = one_set(name for name in names if any(fnmatch(name, each) for each in CHECKPOINT_FILES))
    return Path(snapshot_download(source.name, revision=source.revision, allow_patterns=wanted))


def one_set(names: Iterable[str]) -> list[str]:
    """The files of a checkpoint with its weights once, where they lie there in several formats.

    Safetensors by the names that transformers loads come first, then PyTorch's own; weights by other names, as
    ``consolidated.safetensors``, are taken only where there are none of those.
    """
    known = sorted(name for name in names if "/" not in name)
    kinds = ("model*.safetensors", "pytorch_model*.bin", "*.safetensors", "*.bin")
    for kind in kinds:
        chosen = {name for name in known if fnmatch(name, kind)}
        if chosen:
            break
    index = {"model*.safetensors": "model.safetensors.index.json", "pytorch_model*.bin": "pytorch_model.bin.index.json"}
    others = set(index.values()) - {index.get(kind)}
    weights = {name for name in known if Path(name).suffix in (".safetensors", ".bin")}
    return [name for name in known if name in chosen or (name not in weights and name not in others)]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def _write_origin(folder: Path, source: ModelSource, revision: str | None) -> None:
    origin = {"kind": source.kind, "name": source.name, "revision": revision}
    (folder / "source.json").write_text(json.dumps(origin, indent=2) + "\n")

"""Configurations of models, loaded without their weights. Nothing here needs torch."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from ropewalk.errors import UserError
from ropewalk.files import read_json
from ropewalk.models import gguf, rope_reading
from ropewalk.models.rope_writing import write_rope
from ropewalk.models.sources import ModelSource, failure, gguf_path
from ropewalk.rope import Rope
from ropewalk.rope.rope import GLOBAL

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def without_torch() -> None:
    """Keep transformers from importing torch for the rest of this process, unless it is there already.

    A configuration needs none, and importing it takes some ten times as long as all the rest.
    """
    if "torch" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment]
        # It would say that it found no torch.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def load_config(source: ModelSource) -> PreTrainedConfig:
    """The model's configuration, without its weights; that of a GGUF file carries its rope.

    Raises:
        UserError: it cannot be found or read, or needs code of its own, which is never run.
    """
    from transformers import AutoConfig

    location = source.location
    with warnings.catch_warnings():
        # Old places of keys are read, so that nobody needs to hear of them.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            # Without the word a folder with code of its own is asked about.
            with gguf.parsed_once() if source.kind == "gguf" else nullcontext():
                config = AutoConfig.from_pretrained(**location, trust_remote_code=False)
        except Exception as error:
            config = _by_architecture(source)
            if config is None:
                raise failure(source, error) from error
    if source.kind == "gguf":
        # transformers reads the base alone.
        rope = gguf.read_rope(gguf.open_gguf(gguf_path(source.name)))
        if rope.steps:
            write_rope(config, rope, max(config.max_position_embeddings, rope.original_length))
    return config


def _by_architecture(source: ModelSource) -> PreTrainedConfig | None:
    """The configuration of a family by another name, whose class transformers knows; None where it is not.

    Kimi K2 calls itself so and is DeepSeek V3: nothing of its own code is needed to read it.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if source.kind != "folder":
        return None
    with suppress(Exception):
        raw = read_json(source.configuration_file, "a model configuration")
        known = {cls: family for family, cls in reversed(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items())}
        family = known.get((raw.get("architectures") or [None])[0])
        if family is not None and raw.get("model_type") not in CONFIG_MAPPING:
            own = {key: value for key, value in raw.items() if key not in ("auto_map", "model_type")}
            return CONFIG_MAPPING[family].from_dict(own)
    return None


def own_rope(source: ModelSource, *, layers: str = GLOBAL, length: int | None = None) -> tuple[Rope, list[str]]:
    """The rope of a model, and what a person should know about it, one sentence each.

    Args:
        source: the model; of a GGUF file the keys alone are read.
        layers: ``global``, ``local`` or ``all``, as :func:`rope_reading.read_rope` has them.
        length: training length in tokens, where the model does not say it or is wrong.

    Raises:
        UserError: see :func:`rope_reading.read_rope`.
    """
    if source.kind == "gguf":
        if layers != GLOBAL:
            raise UserError(f"model {source}: the rope of a GGUF file is read for global layers, not {layers} ones.")
        reader = gguf.open_gguf(gguf_path(source.name))
        said = [] if length else [rope_reading.length_note(*gguf.training_length(reader))]
        return gguf.read_rope(reader, length=length), said
    config = load_config(source)
    rope = rope_reading.read_rope(config, layers=layers, length=length)
    return rope, rope_reading.notes(config, layers=layers, length=length)

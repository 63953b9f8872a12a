"""Train a model and write it as a checkpoint folder that says how it was made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PreTrainedModel

from ropewalk.devices import has_gpu
from ropewalk.files import only_one, whole_folder, write_json
from ropewalk.metrics import MetricsFile
from ropewalk.options import plain
from ropewalk.rope import Rope
from ropewalk.scores import Scores, bare_rows
from ropewalk.training.batches import Batches
from ropewalk.training.loop import TrainingResult, train
from ropewalk.training.options import FarOptions, Layout, TrainingOptions


def train_to_folder(
    model: PreTrainedModel,
    tokenizer: Any,
    batches: Batches,
    options: TrainingOptions,
    *,
    identity: Mapping[str, Any],
    state: Path,
    folder: Path,
    metrics: Path,
    name: str,
    finish: Callable[[PreTrainedModel], PreTrainedModel] = lambda model: model,
    layout: Layout,
    columns: Mapping[str, Any],
    far: FarOptions | None = None,
    tables: tuple[Rope, Rope] | None = None,
) -> TrainingResult:
    """Train ``model`` in place and write a checkpoint folder in Hugging Face format, whole or not at all.

    Args:
        model: a causal language model.
        tokenizer: saved beside it.
        batches: see :func:`ropewalk.training.loop.train`, also for ``options``, ``identity`` and ``name``.
        state: folder of the checkpoints to resume from; it outlives a failed job and is removed at the end.
        folder: the folder to write; ``training.json`` in it holds options and identity, ``metrics.jsonl`` how it went,
            ``scores.json`` what it came to.
        metrics: JSON lines to write while training, one every ten steps.
        finish: makes of the trained model what is saved.
        layout: see :func:`ropewalk.training.loop.train`, also for ``far`` and ``tables``.
        columns: what the row is called in tables; no part of what it is.
    """
    # Without saying so, two processes without a GPU do not find each other.
    main = PartialState(cpu=not has_gpu()).is_main_process
    with only_one(state) if main else nullcontext(), MetricsFile(metrics) as sink:
        result = train(
            model,
            batches,
            options,
            state=state,
            identity=identity,
            sink=sink,
            name=name,
            layout=layout,
            far=far,
            tables=tables,
        )
    if not main:
        return result
    with whole_folder(folder) as temporary:
        finish(model).save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        shutil.copy(metrics, temporary / "metrics.jsonl")
        write_json(temporary / "training.json", {"options": plain(options), **identity, "columns": dict(columns)})
        Scores({"stage": "training", **columns}, bare_rows(asdict(result))).write(temporary / "scores.json")
    shutil.rmtree(state)
    return result

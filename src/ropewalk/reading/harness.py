"""RULER, LongBench and every other task of EleutherAI's lm-evaluation-harness, on a model bound to a rope.

The harness gets the loaded model, so there is no second implementation of either. Its tasks come from the hub.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ropewalk.errors import UserError
from ropewalk.files import whole_folder, write_json
from ropewalk.models import binding
from ropewalk.models.loading import load_model
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.options import DTYPE
from ropewalk.rope import Rope
from ropewalk.scores import Scores, number_rows


def run_harness(
    source: ModelSource,
    rope: Rope | None,
    tasks: Sequence[str],
    *,
    length: int,
    lengths: Sequence[int] = (),
    limit: int | None = None,
    include: Path | None = None,
    chat: bool = False,
    dtype: str = DTYPE,
    batch_size: int = 1,
    folder: Path,
) -> dict[str, dict[str, Any]]:
    """Run tasks and write ``scores.json`` and ``settings.json``, both or none.

    Args:
        source: the model.
        rope: bound to it, fixed at ``length`` where it changes with the length; the model's own where None.
        tasks: names of the harness.
        length: tokens that the model is to read at most; the harness cuts what is longer.
        lengths: of the prompts, for tasks that ask for them, as RULER does.
        limit: documents of each task.
        include: folder with tasks of one's own, as YAML.
        chat: put prompts into the tokenizer's chat template.
        dtype: of the weights.
        batch_size: prompts in a forward pass.
        folder: where to write.

    Returns:
        The harness's numbers by task.

    Raises:
        UserError: the package ``lm-eval`` is not installed, or it cannot run a task.
    """
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError("The lm-evaluation-harness needs the package lm-eval; run: uv sync --extra lm-eval.") from None
    model = load_model(source, dtype=dtype)
    if rope is not None:
        binding.patch(model, rope.at(length))
    tokenizer = load_tokenizer(source)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, max_length=length, batch_size=batch_size)
    try:
        with tempfile.TemporaryDirectory() as place:
            # Tasks that make their prompts to a length load the tokenizer anew, from a folder that they are told of.
            # The harness passes this on only where it makes the manager of tasks itself.
            tokenizer.save_pretrained(place)
            metadata = {"tokenizer": place, **({"max_seq_lengths": list(lengths)} if lengths else {})}
            found = lm_eval.simple_evaluate(
                model=lm,
                tasks=list(tasks),
                limit=limit,
                apply_chat_template=chat,
                task_manager=TaskManager(include_path=str(include) if include else None, metadata=metadata),
                log_samples=False,
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"tasks {', '.join(tasks)}: the lm-evaluation-harness failed: {reason}.") from error
    scores: dict[str, dict[str, Any]] = json.loads(json.dumps(found["results"], default=str))
    rows = [
        # A comma stands between a metric and the filter of what was answered.
        number_rows(metric.replace(",", " "), value, task=task)
        for task, numbers in scores.items()
        for metric, value in numbers.items()
        if isinstance(value, int | float)
    ]
    with whole_folder(folder) as out:
        Scores({"stage": "harness"}, tuple(chain.from_iterable(rows))).write(out / "scores.json")
        write_json(
            out / "settings.json",
            {
                "model": str(source),
                "rope": rope.to_json() if rope else None,
                "tasks": list(tasks),
                "length": length,
                "lengths": list(lengths),
                "limit": limit,
                "chat": chat,
                "lm_eval": lm_eval.__version__,
            },
        )
    return scores

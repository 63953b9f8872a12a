"""What the tunings of a study will cost, against what its jobs ask a cluster for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from transformers import PreTrainedConfig

from ropewalk.models.configurations import load_config
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import byte_tokenizer
from ropewalk.study.rows import ModelRow, Study
from ropewalk.training.budget import Budget, budget
from ropewalk.training.options import TuningOptions


@dataclass(frozen=True)
class Cost:
    """Tunings that cost the same.

    Attributes:
        models: ids of them.
        gpus: that one has.
        cost: of one.
        asked: hours that its job asks for, at first.
    """

    models: tuple[str, ...]
    gpus: int
    cost: Budget
    asked: float

    def faults(self, gpu_memory: float) -> list[str]:
        """What keeps it from running, for GPUs of so many GiB."""
        found = []
        if not self.cost.fits(gpu_memory):
            found.append(f"takes {self.cost.gib:.0f} GiB of {gpu_memory:g} on each GPU")
        if self.cost.hours > self.asked:
            found.append(
                f"takes {self.cost.hours:.1f} h of the {self.asked:.1f} h that resources.tune.runtime asks for"
            )
        return found


def study_costs(
    study: Study,
    *,
    utilisation: float,
    peak_flops: float,
    config_of: Callable[[ModelRow], PreTrainedConfig] | None = None,
) -> list[Cost]:
    """The tunings of a study, those that cost the same together.

    Args:
        study: its rows.
        utilisation, peak_flops: see :func:`ropewalk.training.budget.budget`.
        config_of: the configuration of a model that is tuned; read from where the model is where None.

    Raises:
        UserError: a configuration cannot be had, or a batch cannot be cut.
    """
    wanted, groups = study.config.resources.tune, dict[str, list[ModelRow]]()
    for row in study.models.values():
        if isinstance(row.options, TuningOptions):
            options = {**asdict(row.options), "seed": 0, "learning_rate": 0}
            groups.setdefault(json.dumps([_first(study, row).id, options, asdict(row.layout)]), []).append(row)
    gpus = max(1, wanted.gpu) * wanted.nodes
    costs = []
    for rows in groups.values():
        assert isinstance(rows[0].options, TuningOptions)
        config = (config_of or _config)(_first(study, rows[0]))
        cost = budget(
            config, rows[0].options, gpus=gpus, layout=rows[0].layout, utilisation=utilisation, peak_flops=peak_flops
        )
        costs.append(Cost(tuple(row.id for row in rows), gpus, cost, wanted.runtime / 60))
    return costs


def _first(study: Study, row: ModelRow) -> ModelRow:
    """The model that a tuned one goes back to."""
    while row.base is not None:
        row = study.models[row.base]
    return row


def _config(row: ModelRow) -> PreTrainedConfig:
    if row.shape is not None:
        return fresh_llama(row.shape, len(byte_tokenizer()), seed=0).config
    assert row.source is not None
    return load_config(ModelSource.parse(row.source, row.revision))


def costs_text(costs: list[Cost], gpu_memory: float) -> str:
    """Lines for a terminal."""
    if not costs:
        return "this study tunes no model"
    lines = ["tunings  GPUs  GiB each  hours each  asked  hours of GPUs together"]
    for one in costs:
        together = len(one.models) * one.cost.hours * one.gpus
        lines.append(
            f"{len(one.models):7}  {one.gpus:4}  {one.cost.gib:8.1f}  {one.cost.hours:10.2f}  {one.asked:5.1f}  "
            f"{together:22.1f}  {one.models[0]}{' …' if len(one.models) > 1 else ''}"
        )
        lines += [f"         {fault}" for fault in one.faults(gpu_memory)]
    return "\n".join(lines)

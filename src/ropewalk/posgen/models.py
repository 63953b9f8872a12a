"""The models of one task: trained in one stack, written into a folder, and read again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ropewalk.errors import UserError
from ropewalk.files import only_one, read_json, whole_folder, write_json
from ropewalk.metrics import MetricsFile
from ropewalk.posgen.data import DataOptions, make_data
from ropewalk.posgen.model import DecoderShape, StackedDecoder
from ropewalk.posgen.scoring import Reading, predict
from ropewalk.posgen.tasks import Task
from ropewalk.posgen.training import Member, TrainingOptions, Validation, train
from ropewalk.rope import Rope
from ropewalk.rope.rope import as_integer


@dataclass(frozen=True)
class Models:
    """The trained models of one task.

    Attributes:
        decoder: their weights, on the fastest device at hand.
        members: who they are, in the order of the stack.
        task: what they were trained on.
        data: its options.
        ropes: those of training, by name.
        info: ``training.json`` as it was written.
    """

    decoder: StackedDecoder
    members: list[Member]
    task: Task
    data: DataOptions
    ropes: dict[str, Rope]
    info: dict[str, Any]


def train_models(
    task: Task,
    data_options: DataOptions,
    shape: DecoderShape,
    options: TrainingOptions,
    ropes: Mapping[str, Rope],
    swapped: Sequence[Reading],
    seeds: Sequence[int],
    *,
    precision: str,
    state: Path,
    metrics: Path,
    folder: Path,
) -> None:
    """Train one model for each rope and seed, all in one stack, and write them into a folder.

    Writes ``models.safetensors``, ``training.json`` (everything that made them), ``metrics.jsonl`` (losses and
    accuracies by step, named rope/seed/quantity) and ``scores.json``.

    Args:
        task: the rule of the sequences.
        data_options: which sequences.
        shape: sizes of each model.
        options: how to train.
        ropes: those to train with, by name.
        swapped: further readings for the validation curves.
        seeds: of weights and batches. Models of one seed start alike and see the same batches, whatever their rope.
        precision: of matrix products in float32 on a GPU, "highest" or "high" (TF32).
        state: folder of the checkpoints to resume from; it outlives a failed job and is removed at the end.
        metrics: JSON lines to write while training.
        folder: where to write, whole or not at all.

    Raises:
        UserError: a rope has another dimension than the heads, or the sequences cannot be made.
    """
    readings = [*(Reading(name, rope, name) for name, rope in ropes.items()), *swapped]
    check_readings(readings, ropes, shape)
    for seed in seeds:
        as_integer("seed", seed, at_least=0)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds are {', '.join(map(str, seeds))}; expected different ones.")
    torch.set_float32_matmul_precision(precision)
    data = make_data(task, data_options)
    members = [Member(name, seed) for seed in seeds for name in ropes]
    decoder = StackedDecoder(shape, [member.seed for member in members]).to(fastest_device())

    def validate(models: StackedDecoder) -> Validation:
        values: dict[str, float] = {}
        own: dict[int, float] = {}
        for reading, chosen in models_of(readings, members):
            found = predict(models, chosen, [reading.rope] * len(chosen), data.validation, task.start)
            for i, index in enumerate(chosen):
                inside, outside = _split(found.accuracy[i], task, data_options)
                prefix = f"{reading.name}/{members[index].seed}"
                values |= {
                    f"{prefix}/validation_loss": float(found.loss[i].mean()),
                    f"{prefix}/id_accuracy": inside,
                    f"{prefix}/ood_accuracy": outside,
                }
                if reading.name == reading.weights:
                    own[index] = inside
        return Validation(values, [own[index] for index in range(len(members))])

    identity = {
        "data": data.info,
        "shape": asdict(shape),
        "ropes": {name: rope.to_json() for name, rope in ropes.items()},
        "seeds": list(seeds),
        "precision": precision,
    }
    # Part of the identity, since a resumed training must go on with the same validation curves.
    curves = {reading.name: [reading.weights, reading.rope.to_json()] for reading in swapped}
    with only_one(state), MetricsFile(metrics) as sink:
        result = train(
            decoder,
            members,
            ropes,
            data.train,
            options,
            given=task.start,
            state=state,
            identity={**identity, "swapped": curves},
            validate=validate,
            sink=sink,
            name=f"{task.kind}, {len(members)} models",
        )
    with whole_folder(folder) as out:
        weights = {name: value.contiguous().cpu() for name, value in decoder.state_dict().items()}
        save_file(weights, out / "models.safetensors")
        shutil.copy(metrics, out / "metrics.jsonl")
        made = {"device": decoder.norm.device.type, "torch": torch.__version__}
        write_json(out / "training.json", {**identity, "options": asdict(options), "swapped": curves, **made})
        write_json(out / "scores.json", {key: value for key, value in asdict(result).items() if key != "losses"})
    shutil.rmtree(state)


def load_models(folder: Path) -> Models:
    """Read what :func:`train_models` wrote.

    Raises:
        UserError: the folder is missing or damaged.
    """
    info = read_json(folder / "training.json", "a PosGen training")
    shape = DecoderShape(**info["shape"])
    ropes = {name: Rope.from_json(rope) for name, rope in info["ropes"].items()}
    members = [Member(name, seed) for seed in info["seeds"] for name in ropes]
    decoder = StackedDecoder(shape, [0] * len(members))
    try:
        decoder.load_state_dict(load_file(folder / "models.safetensors"))
    except Exception as error:
        raise UserError(f"{folder / 'models.safetensors'} is damaged or missing: {error}.") from None
    sizes = {key: value for key, value in info["data"].items() if key in DataOptions.__dataclass_fields__}
    task, data = Task(**info["data"]["task"]), DataOptions(**sizes)
    return Models(decoder.to(fastest_device()), members, task, data, ropes, info)


def check_readings(readings: Sequence[Reading], trained: Mapping[str, Rope], shape: DecoderShape) -> None:
    """See whether names differ, ropes turn all dimensions of a head, and the weights of every reading exist.

    Raises:
        UserError: they do not.
    """
    names = [reading.name for reading in readings]
    for name, rope, weights in ((one.name, one.rope, one.weights) for one in readings):
        if names.count(name) > 1:
            raise UserError(f"rope name {name!r} stands for {names.count(name)} ropes.")
        if weights not in trained:
            raise UserError(
                f"rope {name!r} is to be read with the weights of {weights!r}; models were trained with "
                f"{', '.join(trained)}."
            )
        if rope.rotary_dim != shape.head_dim:
            raise UserError(
                f"rope {name!r} turns {rope.rotary_dim} dimensions; expected {shape.head_dim}, the head_dim."
            )


def models_of(readings: Sequence[Reading], members: Sequence[Member]) -> list[tuple[Reading, list[int]]]:
    """Each reading with the places of its models in the stack."""
    return [(one, [i for i, member in enumerate(members) if member.rope == one.weights]) for one in readings]


def fastest_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _split(accuracy: np.ndarray, task: Task, data: DataOptions) -> tuple[float, float]:
    """Mean accuracy at the places within the training length, and at those beyond."""
    inside = data.train_length - task.start
    return float(accuracy[:inside].mean()), float(accuracy[inside:].mean())

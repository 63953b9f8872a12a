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

from ropewalk.devices import has_gpu
from ropewalk.errors import UserError
from ropewalk.files import only_one, read_json, whole_folder, write_json
from ropewalk.metrics import MetricsFile
from ropewalk.options import plain
from ropewalk.posgen.data import make_data
from ropewalk.posgen.model import StackedDecoder
from ropewalk.posgen.options import PosGenLayout, PosGenOptions
from ropewalk.posgen.scoring import Reading, predict
from ropewalk.posgen.training import Member, Validation, train
from ropewalk.rope import Rope
from ropewalk.scores import Scores, bare_rows


@dataclass(frozen=True)
class Models:
    """The trained models of one task.

    Attributes:
        decoder: their weights, on the fastest device at hand.
        members: who they are, in the order of the stack.
        kind: of the task that they were trained on.
        options: of their training.
        ropes: those of training, by name.
        info: ``training.json`` as it was written.
    """

    decoder: StackedDecoder
    members: list[Member]
    kind: str
    options: PosGenOptions
    ropes: dict[str, Rope]
    info: dict[str, Any]


def train_models(
    kind: str,
    options: PosGenOptions,
    ropes: Mapping[str, Rope],
    swapped: Sequence[Reading],
    *,
    layout: PosGenLayout,
    state: Path,
    metrics: Path,
    folder: Path,
) -> None:
    """Train one model for each rope and seed, all in one stack, and write them into a folder.

    Writes ``models.safetensors``, ``training.json`` (everything that made them), ``metrics.jsonl`` (losses and
    accuracies by step, named rope/seed/quantity) and ``scores.json``.

    Args:
        kind: of the task, recursive, chain-of-thought or semi-recursive.
        options: sequences, sizes, seeds and training.
        ropes: those to train with, by name.
        swapped: further readings for the validation curves.
        layout: how often it is saved.
        state: folder of the checkpoints to resume from; it outlives a failed job and is removed at the end.
        metrics: JSON lines to write while training.
        folder: where to write, whole or not at all.

    Raises:
        UserError: there is no such kind, or see :func:`check_readings` and :func:`ropewalk.posgen.training.train`.
    """
    readings = [*(Reading(name, rope, name) for name, rope in ropes.items()), *swapped]
    check_readings(readings, ropes, options)
    torch.set_float32_matmul_precision(options.precision)
    data = make_data(kind, options)
    members = [Member(name, seed) for seed in options.seeds for name in ropes]
    decoder = StackedDecoder(options, [member.seed for member in members]).to(fastest_device())

    def validate(models: StackedDecoder) -> Validation:
        values: dict[str, float] = {}
        own: dict[int, float] = {}
        for reading, chosen in models_of(readings, members):
            found = predict(models, chosen, [reading.rope] * len(chosen), data.validation, options.given)
            for i, index in enumerate(chosen):
                inside, outside = _split(found.accuracy[i], options)
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
        "kind": kind,
        "data": data.info,
        "ropes": {name: rope.to_json() for name, rope in ropes.items()},
        # A resumed training must go on with the same validation curves.
        "swapped": {reading.name: [reading.weights, reading.rope.to_json()] for reading in swapped},
    }
    with only_one(state), MetricsFile(metrics) as sink:
        result = train(
            decoder,
            members,
            ropes,
            data.train,
            options,
            layout=layout,
            state=state,
            identity=identity,
            validate=validate,
            sink=sink,
            name=f"{kind}, {len(members)} models",
        )
    with whole_folder(folder) as out:
        weights = {name: value.contiguous().cpu() for name, value in decoder.state_dict().items()}
        save_file(weights, out / "models.safetensors")
        shutil.copy(metrics, out / "metrics.jsonl")
        made = {"device": decoder.norm.device.type, "torch": torch.__version__}
        write_json(out / "training.json", {**identity, "options": plain(options), **made})
        numbers = {key: value for key, value in asdict(result).items() if key != "losses"}
        Scores({"stage": "posgen"}, bare_rows(numbers)).write(out / "scores.json")
    shutil.rmtree(state)


def load_models(folder: Path) -> Models:
    """Read what :func:`train_models` wrote.

    Raises:
        UserError: the folder is missing or damaged.
    """
    info = read_json(folder / "training.json", "a PosGen training")
    options = PosGenOptions(**{**info["options"], "seeds": tuple(info["options"]["seeds"])})
    ropes = {name: Rope.from_json(rope) for name, rope in info["ropes"].items()}
    members = [Member(name, seed) for seed in options.seeds for name in ropes]
    decoder = StackedDecoder(options, [0] * len(members))
    try:
        decoder.load_state_dict(load_file(folder / "models.safetensors"))
    except Exception as error:
        raise UserError(f"{folder / 'models.safetensors'} is damaged or missing: {error}.") from None
    return Models(decoder.to(fastest_device()), members, info["kind"], options, ropes, info)


def check_readings(readings: Sequence[Reading], trained: Mapping[str, Rope], options: PosGenOptions) -> None:
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
        if rope.rotary_dim != options.head_dim:
            raise UserError(
                f"rope {name!r} turns {rope.rotary_dim} dimensions; expected {options.head_dim}, the head_dim."
            )


def models_of(readings: Sequence[Reading], members: Sequence[Member]) -> list[tuple[Reading, list[int]]]:
    """Each reading with the places of its models in the stack."""
    return [(one, [i for i, member in enumerate(members) if member.rope == one.weights]) for one in readings]


def fastest_device() -> torch.device:
    return torch.device("cuda" if has_gpu() else "cpu")


def _split(accuracy: np.ndarray, options: PosGenOptions) -> tuple[float, float]:
    """Mean accuracy at the places within the training length, and at those beyond."""
    inside = options.train_length - options.given
    return float(accuracy[:inside].mean()), float(accuracy[inside:].mean())

"""Train the models of one task, and score them: what the two commands of the stage do."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from ropewalk.errors import UserError
from ropewalk.files import only_one, read_json, whole_folder, write_json
from ropewalk.metrics import MetricsFile, read_metrics, write_metrics
from ropewalk.posgen.data import DataOptions, make_data
from ropewalk.posgen.model import DecoderShape, StackedDecoder
from ropewalk.posgen.scoring import Predictions, Reading, generate, predict
from ropewalk.posgen.tasks import Task
from ropewalk.posgen.training import Member, TrainingOptions, Validation, train
from ropewalk.progress import Progress
from ropewalk.rope import Rope


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
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds are {', '.join(map(str, seeds))}; expected different ones.")
    torch.set_float32_matmul_precision(precision)
    data = make_data(task, data_options)
    members = [Member(name, seed) for seed in seeds for name in ropes]
    decoder = StackedDecoder(shape, [member.seed for member in members]).to(fastest_device())

    def validate(models: StackedDecoder) -> Validation:
        values: dict[str, float] = {}
        own: dict[int, float] = {}
        for reading, chosen in _chosen(readings, members):
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


def score_models(
    trained: Path, readings: Sequence[Reading], brief: Sequence[Reading], *, generated_sequences: int, folder: Path
) -> None:
    """Score trained models on the test sequences, and write the results into a folder.

    Writes ``accuracy.parquet`` (one row a reading, seed and place), ``scores.json``, ``scoring.json`` (what was scored)
    with the ``validation.jsonl`` of its training, and one folder in ``runs/`` for each full reading and seed, which
    becomes a run of its own in MLflow.

    Args:
        trained: folder of :func:`train_models`.
        readings: ropes and the weights that each is read with.
        brief: further ones, which are not asked to continue sequences and get no run.
        generated_sequences: test sequences that models continue on their own, the first ones, from the training
            length on.
        folder: where to write, whole or not at all.

    Raises:
        UserError: a rope does not fit, or its weights were not trained.
    """
    models = load_models(trained)
    every = [*readings, *brief]
    check_readings(every, models.ropes, models.decoder.shape)
    torch.set_float32_matmul_precision(models.info["precision"])
    data = make_data(models.task, models.data)
    if data.info != models.info["data"]:
        raise UserError(f"{trained} was trained on other sequences than its options make now; train it again.")
    rows = []
    with Progress(f"{models.task.kind}, {len(every)} ropes", len(every), unit="rope") as progress:
        for reading, chosen in _chosen(every, models.members):
            ropes = [reading.rope] * len(chosen)
            told = predict(models.decoder, chosen, ropes, data.test, models.task.start)
            wrote = None
            if reading in readings:
                wrote = generate(
                    models.decoder, chosen, ropes, data.test[:generated_sequences], models.data.train_length
                )
            seeds = [models.members[index].seed for index in chosen]
            rows.append(_rows(reading, seeds, told, wrote, models.task.start))
            progress.advance(note=reading.name)
    table = pd.concat(rows, ignore_index=True)
    scores = summary(table, models.data.train_length)
    curves = list(read_metrics(trained / "metrics.jsonl"))
    about = {
        "data": data.info,
        "training": models.info,
        "ropes": {one.name: {"weights": one.weights, "rope": one.rope.to_json()} for one in every},
        "brief": [one.name for one in brief],
        "generated_sequences": generated_sequences,
    }
    with whole_folder(folder) as out:
        table.to_parquet(out / "accuracy.parquet", index=False)
        shutil.copy(trained / "metrics.jsonl", out / "validation.jsonl")
        write_json(out / "scoring.json", about)
        write_json(out / "scores.json", scores)
        for reading in readings:
            for seed, values in scores[reading.name].items():
                _write_run(out / "runs" / f"{reading.name}-{seed}", reading, seed, values, models, curves)


def summary(table: pd.DataFrame, train_length: int) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracies by reading and seed: within the training length, beyond it, and of what was generated beyond it.

    Args:
        table: rows of ``accuracy.parquet``.
        train_length: tokens.
    """
    outside = table[table["position"] >= train_length]
    quantities = {
        "id_accuracy": table[table["position"] < train_length]["accuracy"],
        "ood_accuracy": outside["accuracy"],
        "generated_ood_accuracy": outside["generated_accuracy"].dropna(),
    }
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for quantity, values in quantities.items():
        where = table.loc[values.index]
        means = values.groupby([where["rope"], where["seed"]], sort=False).mean().reset_index(name="mean")
        for rope, seed, mean in means.itertuples(index=False):
            scores.setdefault(rope, {}).setdefault(str(seed), {})[quantity] = float(mean)
    return scores


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


def fastest_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _chosen(readings: Sequence[Reading], members: Sequence[Member]) -> list[tuple[Reading, list[int]]]:
    """Each reading with the places of its models in the stack."""
    return [(one, [i for i, member in enumerate(members) if member.rope == one.weights]) for one in readings]


def _split(accuracy: np.ndarray, task: Task, data: DataOptions) -> tuple[float, float]:
    """Mean accuracy at the places within the training length, and at those beyond."""
    inside = data.train_length - task.start
    return float(accuracy[:inside].mean()), float(accuracy[inside:].mean())


def _rows(
    reading: Reading, seeds: Sequence[int], told: Predictions, wrote: Predictions | None, first: int
) -> pd.DataFrame:
    models, places = told.accuracy.shape
    written = np.full((models, places), np.nan)
    if wrote is not None:
        written[:, -wrote.accuracy.shape[1] :] = wrote.accuracy
    return pd.DataFrame(
        {
            "rope": reading.name,
            "weights": reading.weights,
            "seed": np.repeat(np.asarray(seeds), places),
            "position": np.tile(np.arange(first, first + places), models),
            "accuracy": told.accuracy.ravel(),
            "loss": told.loss.ravel(),
            "generated_accuracy": written.ravel(),
        }
    )


def _write_run(
    folder: Path,
    reading: Reading,
    seed: str,
    values: Mapping[str, float],
    models: Models,
    curves: Sequence[Mapping[str, Any]],
) -> None:
    """What MLflow shows of one reading and seed: parameters, curves, scores."""
    folder.mkdir(parents=True)
    params = {
        "task": models.task.kind,
        "rope": reading.name,
        "weights": reading.weights,
        "seed": int(seed),
        "made_by": " + ".join(step.method for step in reading.rope.steps) or "default",
    }
    write_json(folder / "params.json", params)
    write_json(folder / "scores.json", values)
    own, trained = f"{reading.name}/{seed}/", f"{reading.weights}/{seed}/training_loss"
    points = {}
    for line in curves:
        found = {key.removeprefix(own): value for key, value in line.items() if key.startswith(own)}
        if found:
            points[line["step"]] = {**found, "training_loss": line[trained]}
    write_metrics(folder / "metrics.jsonl", points)

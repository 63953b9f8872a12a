"""Scores of trained models on the test sequences, with any ropes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ropewalk.errors import UserError
from ropewalk.files import whole_folder, write_json
from ropewalk.metrics import read_metrics, write_metrics
from ropewalk.options import plain
from ropewalk.posgen.data import make_data
from ropewalk.posgen.models import Models, check_readings, load_models, models_of
from ropewalk.posgen.options import ScoringOptions
from ropewalk.posgen.scoring import Predictions, Reading, generate, predict
from ropewalk.progress import Progress
from ropewalk.scores import Score, Scores


def score_models(
    trained: Path, readings: Sequence[Reading], brief: Sequence[Reading], options: ScoringOptions, *, folder: Path
) -> None:
    """Score trained models on the test sequences, and write the results into a folder.

    Writes ``accuracy.parquet`` (one row a reading, seed and place), ``scores.json``, ``scoring.json`` (what was scored)
    with the ``validation.jsonl`` of its training, and one folder in ``runs/`` for each full reading and seed, which
    becomes a run of its own in MLflow.

    Args:
        trained: folder of :func:`train_models`.
        readings: ropes and the weights that each is read with.
        brief: further ones, which are not asked to continue sequences and get no run.
        options: what the models are asked to do.
        folder: where to write, whole or not at all.

    Raises:
        UserError: a rope does not fit, its weights were not trained, or there are fewer sequences than wanted.
    """
    models = load_models(trained)
    every = [*readings, *brief]
    check_readings(every, models.ropes, models.options)
    options.check_with(models.options)
    torch.set_float32_matmul_precision(models.options.precision)
    data = make_data(models.kind, models.options)
    if data.info != models.info["data"]:
        raise UserError(f"{trained} was trained on other sequences than its options make now; train it again.")
    rows = []
    with Progress(f"{models.kind}, {len(every)} ropes", len(every), unit="rope") as progress:
        for reading, chosen in models_of(every, models.members):
            ropes = [reading.rope] * len(chosen)
            forced = predict(models.decoder, chosen, ropes, data.test, models.options.given)
            generated = None
            if reading in readings:
                asked = data.test[: options.generated_sequences]
                generated = generate(models.decoder, chosen, ropes, asked, models.options.train_length)
            seeds = [models.members[index].seed for index in chosen]
            rows.append(_rows(reading, seeds, forced, generated, models.options.given))
            progress.advance(note=reading.name)
    table = pd.concat(rows, ignore_index=True)
    scores = summary(table, models.options.train_length)
    curves = list(read_metrics(trained / "metrics.jsonl"))
    about = {
        "training": models.info,
        "ropes": {one.name: {"weights": one.weights, "rope": one.rope.to_json()} for one in every},
        "brief": [one.name for one in brief],
        "options": plain(options),
    }
    with whole_folder(folder) as out:
        table.to_parquet(out / "accuracy.parquet", index=False)
        shutil.copy(trained / "metrics.jsonl", out / "validation.jsonl")
        write_json(out / "scoring.json", about)
        scores.write(out / "scores.json")
        for reading in readings:
            for seed in dict.fromkeys(row.seed for row in scores.select(rope=reading.name)):
                own = [replace(row, rope=None, seed=None) for row in scores.select(rope=reading.name, seed=seed)]
                folder_of_run = out / "runs" / f"{reading.name}-{seed}"
                _write_run(folder_of_run, reading, seed, Scores(scores.setting, tuple(own)), models, curves)


def summary(table: pd.DataFrame, train_length: int) -> Scores:
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
    rows = []
    for quantity, values in quantities.items():
        where = table.loc[values.index]
        means = values.groupby([where["rope"], where["seed"]], sort=False).mean().reset_index(name="mean")
        for rope, seed, mean in means.itertuples(index=False):
            rows.append(Score(quantity=quantity, value=float(mean), rope=rope, seed=int(seed)))
    return Scores({"stage": "posgen"}, tuple(rows))


def _rows(
    reading: Reading, seeds: Sequence[int], forced: Predictions, generated: Predictions | None, first: int
) -> pd.DataFrame:
    models, places = forced.accuracy.shape
    written = np.full((models, places), np.nan)
    if generated is not None:
        written[:, -generated.accuracy.shape[1] :] = generated.accuracy
    return pd.DataFrame(
        {
            "rope": reading.name,
            "weights": reading.weights,
            "seed": np.repeat(np.asarray(seeds), places),
            "position": np.tile(np.arange(first, first + places), models),
            "accuracy": forced.accuracy.ravel(),
            "loss": forced.loss.ravel(),
            "generated_accuracy": written.ravel(),
        }
    )


def _write_run(
    folder: Path,
    reading: Reading,
    seed: int | None,
    scores: Scores,
    models: Models,
    curves: Sequence[Mapping[str, Any]],
) -> None:
    """What MLflow shows of one reading and seed: parameters, curves, scores."""
    folder.mkdir(parents=True)
    params = {
        "task": models.kind,
        "rope": reading.name,
        "weights": reading.weights,
        "seed": seed,
        "made_by": " + ".join(step.method for step in reading.rope.steps) or "default",
        "options": models.info["options"],
    }
    write_json(folder / "params.json", params)
    scores.write(folder / "scores.json")
    own, trained = f"{reading.name}/{seed}/", f"{reading.weights}/{seed}/training_loss"
    points = {}
    for line in curves:
        found = {key.removeprefix(own): value for key, value in line.items() if key.startswith(own)}
        if found:
            points[line["step"]] = {**found, "training_loss": line[trained]}
    write_metrics(folder / "metrics.jsonl", points)

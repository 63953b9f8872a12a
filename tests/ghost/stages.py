"""A step of every stage on a tiny model: what is run on the CPU and on a pretended GPU, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from ropewalk.corpora import Corpus
from ropewalk.metrics import read_metrics
from ropewalk.models.loading import load_model
from ropewalk.models.shape import ModelShape
from ropewalk.models.sources import ModelSource
from ropewalk.posgen.models import train_models
from ropewalk.posgen.options import PosGenLayout, PosGenOptions, ScoringOptions
from ropewalk.posgen.results import score_models
from ropewalk.posgen.scoring import Reading
from ropewalk.reading import nll
from ropewalk.reading.copying import read_copying
from ropewalk.reading.document_nll import read_documents
from ropewalk.reading.leval.predict import read_leval
from ropewalk.reading.longppl import key_tokens
from ropewalk.reading.options import CopyingOptions, LEvalOptions, NeedleOptions, NllOptions, PocketOptions
from ropewalk.reading.parity import window_means
from ropewalk.reading.retrieval import read_needles
from ropewalk.rope import apply, default_rope
from ropewalk.search.options import ProbeOptions, SearchOptions
from ropewalk.search.probe import probe
from ropewalk.search.run import search
from ropewalk.training.options import AdapterOptions, Layout, PretrainingOptions, TuningOptions
from ropewalk.training.pretraining import pretrain
from ropewalk.training.tuning import tune

SHAPE = ModelShape(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=32, length=64)
ROPE = apply(default_rope(16, 10_000.0, 64), "yarn", factor=4.0)
MAPPED = apply(default_rope(16, 10_000.0, 64), "dual_chunk", chunk=40, window=16)
DYNAMIC = apply(default_rope(16, 10_000.0, 64), "dynamic_ntk", factor=4.0)

POSGEN = PosGenOptions(
    modulus=7,
    train_sequences=40,
    validation_sequences=5,
    test_sequences=5,
    train_length=16,
    test_length=32,
    hidden_size=16,
    heads=2,
    head_dim=8,
    intermediate_size=24,
    seeds=(5, 6),
    steps=6,
    batch_size=8,
    dropout=0.0,
    validate_every=3,
)
POSGEN_ROPE = default_rope(8, 100.0, 16)
POSGEN_ROPES = {"rope": POSGEN_ROPE, "resonance": apply(POSGEN_ROPE, "resonance")}
SWAPPED = Reading("yarn", apply(POSGEN_ROPE, "yarn", factor=2.0), "rope")

PRETRAINING = PretrainingOptions(steps=4, learning_rate=1e-2, batch_size=4, copy_fraction=0.25)
TUNING = TuningOptions(steps=4, learning_rate=5e-3, length=128, batch_tokens=512)
SEEN = Layout(checkpoint_every=2)


@dataclass(frozen=True)
class Material:
    """A model and a text, made once."""

    source: ModelSource
    corpus: Corpus


Stage = Callable[[Material, Path], Mapping[str, Any]]
"""Runs something small; returns numbers by name."""


def posgen_training(folder: Path, **changed: Any) -> None:
    """Train models of two ropes and seeds."""
    train_models(
        "chain-of-thought",
        replace(POSGEN, **changed),
        POSGEN_ROPES,
        [SWAPPED],
        layout=PosGenLayout(checkpoint_every=2),
        state=folder / "state",
        metrics=folder / "metrics.jsonl",
        folder=folder / "models",
    )


def posgen(material: Material, folder: Path, **changed: Any) -> dict[str, Any]:
    """Train models, and score them with their own ropes and another."""
    posgen_training(folder, **changed)
    own = [Reading(name, rope, name) for name, rope in POSGEN_ROPES.items()]
    score_models(folder / "models", own, [SWAPPED], ScoringOptions(generated_sequences=3), folder=folder / "scores")
    lines = read_metrics(folder / "metrics.jsonl")
    table = pd.read_parquet(folder / "scores/accuracy.parquet").select_dtypes("number")
    return {"losses": [[v for k, v in line.items() if k.endswith("loss")] for line in lines], "scores": table}


def posgen_otherwise(material: Material, folder: Path) -> dict[str, Any]:
    """The same with what the released code does."""
    return posgen(material, folder, keep="best", schedule="one-cycle", dropout=0.1, train_feed_forward=False)


def pretraining(material: Material, folder: Path, layout: Layout = SEEN, **changed: Any) -> dict[str, Any]:
    """Train a model from nothing."""
    pretrain(
        SHAPE,
        replace(PRETRAINING, **changed),
        [material.corpus],
        layout=layout,
        **_places(folder),
    )
    return _trained(folder)


def tuning(material: Material, folder: Path, layout: Layout = SEEN, **changed: Any) -> dict[str, Any]:
    """Go on training a model with another rope."""
    tune(
        material.source,
        ROPE,
        replace(TUNING, **changed),
        [material.corpus],
        layout=layout,
        **_places(folder),
    )
    return _trained(folder)


def _places(folder: Path) -> dict[str, Any]:
    """Where a training writes, and what its row is called."""
    return {
        "state": folder / "state",
        "folder": folder / "model",
        "metrics": folder / "metrics.jsonl",
        "columns": {},
    }


def _trained(folder: Path) -> dict[str, Any]:
    """How a training went, and all weights in the end."""
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    weights = np.concatenate([parameter.detach().numpy().ravel() for parameter in model.parameters()])
    return {"losses": [line["loss"] for line in read_metrics(folder / "metrics.jsonl")], "weights": weights}


def packed(material: Material, folder: Path) -> dict[str, Any]:
    return tuning(material, folder, packed=True, accumulation=2)


def adapters(material: Material, folder: Path) -> dict[str, Any]:
    return tuning(material, folder, lora=AdapterOptions(rank=4, alpha=8.0))


def checkpointed(material: Material, folder: Path) -> dict[str, Any]:
    return tuning(material, folder, replace(SEEN, activation_checkpointing=True), accumulation=2)


def documents(material: Material, folder: Path, *, rope: Any = ROPE, **changed: Any) -> dict[str, Any]:
    """The NLL of some documents, whole and in windows, and their key tokens."""
    given = {"read_to": 256, "documents": 2, "window": 64, "chunk": 96, "dtype": "float32"}
    options = NllOptions(**given | changed)
    read_documents(
        material.source,
        rope,
        {"text": material.corpus},
        options,
        columns={},
        state=folder / "state",
        folder=folder / "out",
    )
    rows = pd.read_parquet(folder / "out/nll.parquet")
    keys = key_tokens(rows, alpha=0.05, beta=-6.0)
    return {"nll": rows["nll"], "window": rows["window_nll"], "keys": keys["position"]}


def documents_in_pieces(material: Material, folder: Path) -> dict[str, Any]:
    """The same where memory is too short for all layers at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nll, "one_pass_fits", lambda *_: False)
        return documents(material, folder)


def documents_with_a_map(material: Material, folder: Path) -> dict[str, Any]:
    return documents(material, folder, rope=MAPPED)


def windows_of_parity(material: Material, folder: Path) -> dict[str, Any]:
    model = load_model(material.source, dtype="float32")
    return {"means": window_means(model, np.arange(100) % 50, max_length=64, bos=None, stride=32)}


def needles(material: Material, folder: Path, **changed: Any) -> dict[str, Any]:
    """Facts hidden in texts; the last length is read in pieces."""
    given = {"tasks": ("digits",), "lengths": (64, 128), "depths": (0.0, 0.5), "samples": 2, "by": "nll", "chunk": 100}
    options = NeedleOptions(**given | {"dtype": "float32"} | changed)
    read_needles(
        material.source,
        ROPE,
        {"text": material.corpus},
        options,
        columns={},
        state=folder / "state",
        folder=folder / "out",
    )
    answers = pd.read_json(folder / "out/answers.jsonl", lines=True)
    return {name: answers[name] for name in ("score", "nll", "control_nll", "said") if name in answers}


def needles_in_words(material: Material, folder: Path) -> dict[str, Any]:
    return needles(material, folder, by="generation", tasks=("multi-query",), lengths=(288,), depths=(0.0, 0.02))


def copying(material: Material, folder: Path) -> dict[str, Any]:
    options = CopyingOptions(gaps=(4, 40), samples=3, dtype="float32")
    read_copying(material.source, ROPE, options, columns={}, folder=folder / "out")
    return {"accuracy": pd.read_csv(folder / "out/copying.csv")["accuracy"]}


def leval(material: Material, folder: Path, *, rope: Any = ROPE) -> dict[str, Any]:
    pocket = PocketOptions(documents=1, questions=3, words=60)
    options = LEvalOptions(
        data="pocket", pocket=pocket, tasks=("quality", "sci_fi"), context=300, max_new_tokens=6, dtype="float32"
    )
    read_leval(material.source, rope, options, columns={}, state=folder / "state", folder=folder / "out")
    return {task: (folder / f"out/{task}.jsonl").read_text() for task in options.tasks}


def leval_with_a_rope_that_changes(material: Material, folder: Path) -> dict[str, Any]:
    return leval(material, folder, rope=DYNAMIC)


def searching(material: Material, folder: Path, *, devices: tuple[str, ...] = (), **changed: Any) -> dict[str, Any]:
    """Search a rope; strings to copy are asked for whatever the model can."""
    given = {"factor": 4.0, "sampler": "sobol", "budget": 6, "documents": 3, "candidates": 2, "retrieval": "copy"}
    options = SearchOptions(**given | {"short_cost": 1.0, "dtype": "float32"} | changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ropewalk.search.objective.ABLE", 0.0)
        search(
            material.source,
            {"text": material.corpus},
            options,
            columns={"search": "s"},
            journal=folder / "journal",
            folder=folder / "out",
            metrics=folder / "metrics.jsonl",
            devices=devices,
        )
    return {"objective": pd.read_parquet(folder / "out/trials.parquet")["objective"]}


def probed(material: Material, folder: Path) -> dict[str, Any]:
    """Read a rope by what a search makes small."""
    options = ProbeOptions(factors=[4.0], documents=2, retrieval="copy", dtype="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ropewalk.search.objective.ABLE", 0.0)
        probe(material.source, ROPE, {"text": material.corpus}, options, columns={}, folder=folder / "out")
    table = pd.read_parquet(folder / "out/measured.parquet")
    return {name: table[name] for name in ("short", "tail", "answer", "accuracy")}


STAGES: dict[str, Stage] = {
    "posgen": posgen,
    "posgen-otherwise": posgen_otherwise,
    "pretraining": pretraining,
    "tuning": tuning,
    "packed": packed,
    "adapters": adapters,
    "checkpointed": checkpointed,
    "nll": documents,
    "nll-in-pieces": documents_in_pieces,
    "nll-mapped": documents_with_a_map,
    "parity": windows_of_parity,
    "needles": needles,
    "needles-in-words": needles_in_words,
    "copying": copying,
    "leval": leval,
    "leval-dynamic": leval_with_a_rope_that_changes,
    "search": searching,
    "probe": probed,
}

"""Search on one split, choose on another, and write what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from ropewalk.corpora.store import Corpus
from ropewalk.files import whole_folder, write_json
from ropewalk.metrics import MetricsFile
from ropewalk.models.binding import read_rope
from ropewalk.models.loading import load_config, load_model
from ropewalk.models.sources import ModelSource, weights_hash
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.search.objective import Ability, Objective, ObjectiveOptions, Reader, ability, make_probes
from ropewalk.search.space import make_space
from ropewalk.search.study import Search, SearchOptions

VERSION = 1
"""Of the objective: trials of another one are no part of a study."""


def search(
    source: ModelSource,
    corpora: Mapping[str, Corpus],
    *,
    space: str,
    factor: float,
    options: SearchOptions,
    aim: ObjectiveOptions,
    journal: Path,
    folder: Path | None,
    metrics: Path | None = None,
    devices: Sequence[str] = (),
    dtype: str = "auto",
) -> None:
    """Search a rope, and write ``rope.json``, ``best.json``, ``trials.parquet`` and ``scores.json``, all or none.

    Called again after an interruption, it goes on where it was; with a larger budget, it goes on from there.

    Args:
        source: the model.
        corpora: by name, tokenised by the model's tokenizer.
        space: name of the space.
        factor: target length over training length; above 1.
        options: how to search.
        aim: what to optimise.
        journal: keeps the trials; lies outside ``folder``.
        folder: what to write. None makes this one of several workers on one journal, which writes nothing: a last call
            with a folder finds the budget used, chooses and writes.
        metrics: JSON lines, one a trial.
        devices: one trial is measured on each at a time; by default all GPUs, or the CPU.
        dtype: of the weights.

    Raises:
        UserError: model, text and space do not fit, the journal cannot be used, or no rope is allowed.
    """
    tokenizer = load_tokenizer(source)
    for corpus in corpora.values():
        corpus.check_tokenizer(tokenizer, source)
    table = read_rope(load_config(source))
    searched = make_space(space, table, factor)
    length = round(factor * table.original_length)
    identity = {
        "version": VERSION,
        "model": str(source),
        "weights": weights_hash(source),
        "corpora": {name: corpus.info["provenance"] for name, corpus in sorted(corpora.items())},
        "aim": asdict(aim),
    }
    study = Search(searched, options, length=length, identity=identity, journal=journal, worker=folder is None)
    with study.opened():
        models = [load_model(source, dtype=dtype, device=device) for device in devices or default_devices()]
        able, objective = _objective(models, study, corpora, tokenizer, aim, "search")
        print(f"objective: {able.reason}; short texts may cost {objective.short_cost:.4f} nats a token", flush=True)
        if metrics is None:
            study.run(objective)
        else:
            with MetricsFile(metrics) as written:
                written.resume(len(study.history))
                study.run(objective, report=written)
        if folder is None:
            return
        trials = study.trials()
        candidates = study.candidates(trials)
        _, judge = _objective(models, study, corpora, tokenizer, aim, "selection", able)
        judged = []
        for number in candidates:
            found = judge.readers[0].read(study.rope(trials, number))
            judged.append({"number": number, "objective": judge.value(found), "excess": judge.excess(found)})
        chosen = min(judged, key=lambda one: float(one["objective"]))
        rope, row = study.rope(trials, int(chosen["number"])), trials.iloc[int(chosen["number"])]
        best = {
            "study": study.name,
            **study.identity,
            "train_length": table.original_length,
            "documents": [f"{probe.corpus}/{probe.document}" for probe in objective.probes],
            "answers": asdict(able),
            "short_cost": objective.short_cost,
            "trials": len(trials),
            "chosen": int(chosen["number"]),
            "origin": row["origin"],
            "values": {p.name: float(row[p.name]) for p in searched.parameters},
            "objective": float(row["objective"]),
            "excess": float(row["excess"]),
            "candidates": judged,
            "importances": study.importances(),
        }
        with whole_folder(folder) as out:
            rope.save(out / "rope.json")
            write_json(out / "best.json", best)
            trials.to_parquet(out / "trials.parquet", index=False)
            write_json(out / "scores.json", _scores(trials, best, chosen))


def _objective(
    models: Sequence[PreTrainedModel],
    study: Search,
    corpora: Mapping[str, Corpus],
    tokenizer: Any,
    aim: ObjectiveOptions,
    split: str,
    able: Ability | None = None,
) -> tuple[Ability, Objective]:
    """The objective on one split; what it compares with is measured once and kept in the journal."""
    table = study.space.table
    known = study.study.user_attrs.get(split)
    if able is None:
        able = Ability(**known["ability"]) if known else ability(models[0], tokenizer, table, corpora, aim, split)
    probes = make_probes(
        corpora,
        tokenizer,
        split=split,
        documents=aim.documents,
        train_length=table.original_length,
        length=study.length,
        retrieval=able.retrieval,
        seed=aim.seed,
    )
    readers = [Reader(model, probes, table.original_length) for model in models]
    objective = Objective(readers, table, study.space.factor, aim.short_cost, known)
    if known is None:
        study.study.set_user_attr(split, {"ability": asdict(able), **objective.to_json()})
    return able, objective


def default_devices() -> list[str]:
    """Every GPU, or the CPU."""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]


def _scores(trials: pd.DataFrame, best: Mapping[str, Any], chosen: Mapping[str, float]) -> dict[str, float]:
    """The numbers of a search in the tracking UI."""
    return {
        "objective": best["objective"],
        "objective_on_selection": chosen["objective"],
        "short_cost": best["excess"] + best["short_cost"],
        "trials": float(len(trials)),
        "allowed_trials": float(trials["allowed"].sum()),
        "documents_read": float(trials["documents"].sum()),
        "seconds_measuring": float(trials["seconds_measuring"].sum()),
        "seconds_proposing": float(trials["seconds_proposing"].sum()),
    }

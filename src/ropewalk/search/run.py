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
from ropewalk.devices import has_gpu
from ropewalk.files import whole_folder, write_json
from ropewalk.metrics import MetricsFile
from ropewalk.models.configurations import load_config
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import read_rope, text_config
from ropewalk.models.sources import ModelSource, weights_hash
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.scores import Scores, bare_rows
from ropewalk.search.objective import Ability, Objective, Reader, ability, make_probes
from ropewalk.search.options import SearchOptions
from ropewalk.search.spaces import make_space
from ropewalk.search.study import SearchLoop

VERSION = 2
"""Of the objective: trials of another one are no part of a search."""


def search(
    source: ModelSource,
    corpora: Mapping[str, Corpus],
    options: SearchOptions,
    *,
    columns: Mapping[str, Any],
    journal: Path,
    folder: Path | None,
    metrics: Path | None = None,
    devices: Sequence[str] = (),
) -> None:
    """Search a rope, and write ``rope.json``, ``best.json``, ``trials.parquet`` and ``scores.json``, all or none.

    Called again after an interruption, it goes on where it was; with a larger budget, it goes on from there.

    Args:
        source: the model.
        corpora: by name, tokenised by the model's tokenizer.
        options: what to optimise, where, and how to search.
        columns: what names the search in the tables of a study, among them ``search``, its id.
        journal: keeps the trials; lies outside ``folder``.
        folder: what to write. None makes this one of several workers on one journal, which writes nothing: a last call
            with a folder finds the budget used, chooses and writes.
        metrics: JSON lines, one a trial.
        devices: one trial is measured on each at a time; by default all GPUs, or the CPU.

    Raises:
        UserError: model, text and space do not fit, the journal cannot be used, or no rope is allowed.
    """
    tokenizer = load_tokenizer(source)
    for corpus in corpora.values():
        corpus.check_tokenizer(tokenizer, source)
    table = read_rope(load_config(source), layers=options.layers, length=options.length)
    space = make_space(options.space, table, options.factor)
    length = round(options.factor * table.original_length)
    identity = {
        "version": VERSION,
        "model": str(source),
        "weights": weights_hash(source),
        "corpora": {name: corpus.info["provenance"] for name, corpus in sorted(corpora.items())},
    }
    loop = SearchLoop(space, options, length=length, identity=identity, journal=journal, worker=folder is None)
    with loop.opened():
        models = [load_model(source, dtype=options.dtype, device=device) for device in devices or default_devices()]
        able, objective = _objective(models, loop, corpora, tokenizer, "search")
        print(f"objective: {able.reason}; short texts may cost {objective.short_cost:.4f} nats a token", flush=True)
        if metrics is None:
            loop.run(objective)
        else:
            with MetricsFile(metrics) as written:
                written.resume(len(loop.history))
                loop.run(objective, report=written)
        if folder is None:
            return
        trials = loop.trials()
        candidates = loop.candidates(trials)
        _, judge = _objective(models, loop, corpora, tokenizer, "selection", able)
        judged = []
        for number in candidates:
            found = judge.readers[0].read(loop.rope(trials, number))
            judged.append({"number": number, "objective": judge.value(found), "excess": judge.excess(found)})
        chosen = min(judged, key=lambda one: float(one["objective"]))
        rope, row = loop.rope(trials, int(chosen["number"])), trials.iloc[int(chosen["number"])]
        values = {p.name: float(row[p.name]) for p in space.parameters}
        bounds = space.on_bounds(values)
        if bounds:
            where = ", ".join(f"{name} at {bound:.4g}" for name, bound in bounds.items())
            print(f"the chosen rope lies on a bound of the space: {where}; a better one may lie beyond", flush=True)
        best = {
            "columns": dict(columns),
            "study": loop.name,
            **loop.identity,
            "train_length": table.original_length,
            "parameters": models[0].num_parameters(),
            "vocabulary": text_config(models[0].config).vocab_size,
            "documents": [f"{probe.corpus}/{probe.document}" for probe in objective.probes],
            "answers": asdict(able),
            "short_cost": objective.short_cost,
            "original": objective.original.tolist(),
            "trials": len(trials),
            "chosen": int(chosen["number"]),
            "origin": row["origin"],
            "values": values,
            "on_bounds": bounds,
            "objective": float(row["objective"]),
            "excess": float(row["excess"]),
            "candidates": judged,
            "importances": loop.importances(),
        }
        with whole_folder(folder) as out:
            rope.save(out / "rope.json")
            write_json(out / "best.json", best)
            trials.to_parquet(out / "trials.parquet", index=False)
            _scores(trials, best, chosen).write(out / "scores.json")


def _objective(
    models: Sequence[PreTrainedModel],
    loop: SearchLoop,
    corpora: Mapping[str, Corpus],
    tokenizer: Any,
    split: str,
    able: Ability | None = None,
) -> tuple[Ability, Objective]:
    """The objective on one split; what it compares with is measured once and kept in the journal."""
    table, options = loop.space.table, loop.options
    asked: dict[str, Any] = {"documents": options.documents, "seed": options.answer_seed}
    known = loop.study.user_attrs.get(split)
    if able is None and known:
        able = Ability(**known["ability"])
    elif able is None:
        able = ability(models[0], tokenizer, table, corpora, split=split, retrieval=options.retrieval, **asked)
    probes = make_probes(
        corpora,
        tokenizer,
        split=split,
        train_length=table.original_length,
        length=loop.length,
        retrieval=able.retrieval,
        **asked,
    )
    readers = [Reader(model, probes, table.original_length) for model in models]
    objective = Objective(readers, table, loop.space.factor, options.short_cost, known)
    if known is None:
        loop.study.set_user_attr(split, {"ability": asdict(able), **objective.to_json()})
    return able, objective


def default_devices() -> list[str]:
    """Every GPU, or the CPU."""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] if has_gpu(all_free=True) else ["cpu"]


def _scores(trials: pd.DataFrame, best: Mapping[str, Any], chosen: Mapping[str, float]) -> Scores:
    """The numbers of a search in the tracking UI."""
    numbers = {
        "objective": best["objective"],
        "objective_on_selection": chosen["objective"],
        "short_cost": best["excess"] + best["short_cost"],
        "trials": float(len(trials)),
        "allowed_trials": float(trials["allowed"].sum()),
        "documents_read": float(trials["documents"].sum()),
        "seconds_measuring": float(trials["seconds_measuring"].sum()),
        "seconds_proposing": float(trials["seconds_proposing"].sum()),
    }
    return Scores({"stage": "search", **best["columns"]}, bare_rows(numbers))

"""One rope on one model, read by what searches make small, at several lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ropewalk import options as house
from ropewalk.corpora.store import Corpus
from ropewalk.files import whole_folder, write_json
from ropewalk.models.configurations import load_config
from ropewalk.models.loading import load_model
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.rope_writing import check_fits
from ropewalk.models.sources import ModelSource, weights_hash
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.progress import Progress
from ropewalk.rope import Rope
from ropewalk.scores import Scores, number_rows
from ropewalk.search.objective import Reader, ability, make_probes
from ropewalk.search.options import ProbeOptions


def probe(
    source: ModelSource,
    rope: Rope,
    corpora: Mapping[str, Corpus],
    options: ProbeOptions,
    *,
    columns: Mapping[str, Any],
    folder: Path,
) -> None:
    """Measure a rope on documents that no search saw, at each factor times the training length.

    Writes ``measured.parquet`` (a row a factor and document: ``at`` (length over training length), ``corpus``,
    ``document``, and in nats a token ``short``, ``tail`` and ``answer``, and ``accuracy``), ``reading.json`` (what made
    it) and ``scores.json``. Answers are asked for if the model with its own rope can give them at its training length,
    on the same documents: a corpus may have too few of the split search.

    Args:
        source: the model.
        rope: bound to it; at each length, where it changes with the length.
        corpora: by name, tokenised by the model's tokenizer.
        options: what is read.
        columns: ``reading``, ``model``, ``rope``, ``method`` (of a rope made by hand; SAMPLER/SPACE of one that was
            found; ``none`` of that of pre-training), ``factor``, ``search`` (None of ropes made by hand) and ``seed``.
        folder: what to write, whole or not at all.

    Raises:
        UserError: the rope is of another model, or there are too few documents.
    """
    config, tokenizer = load_config(source), load_tokenizer(source)
    check_fits(config, rope)
    for corpus in corpora.values():
        corpus.check_tokenizer(tokenizer, source)
    own, model = read_rope(config, length=options.length), load_model(source, dtype=options.dtype)
    asked: dict[str, Any] = {"documents": options.documents, "seed": options.seed}
    able = ability(model, tokenizer, own, corpora, split=options.split, retrieval=options.retrieval, **asked)
    tables = []
    with Progress("probe", len(options.factors), unit="length") as progress:
        for factor in sorted(options.factors):
            length = round(factor * own.original_length)
            probes = make_probes(
                corpora,
                tokenizer,
                split=options.split,
                train_length=own.original_length,
                length=length,
                retrieval=able.retrieval,
                **asked,
            )
            results = Reader(model, probes, own.original_length).read(rope.at(length))
            place = {"corpus": [p.corpus for p in probes], "document": [p.document for p in probes]}
            tables.append(pd.DataFrame({"at": factor, **place, **asdict(results)}))
            progress.advance(note=f"{factor:g}x")
    rows = pd.concat(tables, ignore_index=True)
    header = {
        "columns": dict(columns),
        "model": str(source),
        "weights": weights_hash(source),
        "parameters": model.num_parameters(),
        "rope": rope.to_json(),
        "options": house.plain(options),
        "train_length": own.original_length,
        "answers": asdict(able),
    }
    means = rows.drop(columns=["corpus", "document"]).groupby("at").mean()
    scores = tuple(
        score
        for at, numbers in means.to_dict("index").items()
        for quantity, value in numbers.items()
        for score in number_rows(str(quantity), value, at=float(str(at)))
    )
    with whole_folder(folder) as out:
        rows.to_parquet(out / "measured.parquet", index=False)
        write_json(out / "reading.json", header)
        Scores({"stage": "probe", **columns}, scores).write(out / "scores.json")

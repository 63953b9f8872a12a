"""Found ropes against hand-made ones, on documents that no search saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ropewalk.corpora.store import Corpus
from ropewalk.errors import UserError
from ropewalk.files import whole_folder, write_json
from ropewalk.models.binding import read_rope
from ropewalk.models.loading import load_model
from ropewalk.models.sources import ModelSource
from ropewalk.models.tokenizers import load_tokenizer
from ropewalk.progress import Progress
from ropewalk.rope import Rope
from ropewalk.search.objective import Ability, Reader, make_probes
from ropewalk.search.results import ORIGINAL, Contestant, hand_made, read_search


def contestants(table: Rope, found: Sequence[Contestant]) -> list[Contestant]:
    """The original rope, the hand-made ropes for each factor that was searched for, and the found ones.

    Raises:
        UserError: two found ropes have one name, or one is of another table.
    """
    names = [one.name for one in found]
    for one in found:
        if names.count(one.name) > 1:
            raise UserError(f"{names.count(one.name)} searches are called {one.name}; expected different ones.")
        if (one.rope.rotary_dim, one.rope.base) != (table.rotary_dim, table.base):
            raise UserError(f"{one.name} was found for another model: base {one.rope.base:g}, here {table.base:g}.")
    made = [
        Contestant(f"{name}-{factor:g}x", rope, factor, name)
        for factor in sorted({one.factor for one in found if one.factor is not None})
        for name, rope in hand_made(table, factor).items()
    ]
    return [Contestant(ORIGINAL, table, None, ORIGINAL), *made, *found]


def compare(
    source: ModelSource,
    corpora: Mapping[str, Corpus],
    searches: Sequence[Path],
    *,
    documents: int,
    folder: Path,
    split: str = "test",
    seed: int = 0,
    dtype: str = "auto",
) -> None:
    """Measure found and hand-made ropes at 2, 4, … times the training length, up to the largest factor.

    Writes ``measured.parquet`` (a row a rope, factor and document: ``rope``, ``at`` (length over training length),
    ``corpus``, ``document``, and in nats a token ``short``, ``tail`` and ``answer``, and ``accuracy``),
    ``contestants.json`` and the ropes as ``ropes/NAME.json``.

    Args:
        source: the model of the searches.
        corpora: by name, tokenised by the model's tokenizer.
        searches: folders of :func:`ropewalk.search.run.search`.
        documents: of each corpus.
        folder: what to write.
        split: of the documents.
        seed: of facts and strings.
        dtype: of the weights.

    Raises:
        UserError: the searches do not belong together or to this model, or there are too few documents.
    """
    read = [read_search(path) for path in searches]
    answers = {tuple(sorted(best["answers"].items())): best["answers"] for _, best in read}
    if len({best["weights"] for _, best in read}) > 1 or len(answers) > 1:
        raise UserError("these searches are of different models or answers; expected one model and one kind.")
    able = Ability(**next(iter(answers.values())))
    tokenizer, model = load_tokenizer(source), load_model(source, dtype=dtype)
    for corpus in corpora.values():
        corpus.check_tokenizer(tokenizer, source)
    table = read_rope(model.config)
    ropes = contestants(table, [contestant for contestant, _ in read])
    searched = sorted({best["factor"] for _, best in read})
    doublings = [2.0**k for k in range(1, 40) if 2.0**k <= max(searched)]
    rows = []
    lengths = {factor: round(factor * table.original_length) for factor in sorted({*doublings, *searched})}
    with Progress("comparison", len(lengths) * len(ropes), unit="rope") as progress:
        for factor, length in lengths.items():
            probes = make_probes(
                corpora,
                tokenizer,
                split=split,
                documents=documents,
                train_length=table.original_length,
                length=length,
                retrieval=able.retrieval,
                seed=seed,
            )
            reader = Reader(model, probes, table.original_length)
            for one in ropes:
                measured = reader.read(one.rope.at(length))
                place = {"corpus": [p.corpus for p in probes], "document": [p.document for p in probes]}
                rows.append(pd.DataFrame({"rope": one.name, "at": factor, **place, **asdict(measured)}))
                progress.advance(note=f"{factor:g}x · {one.name}")
    with whole_folder(folder) as out:
        (out / "ropes").mkdir()
        for one in ropes:
            one.rope.save(out / "ropes" / f"{one.name}.json")
        pd.concat(rows, ignore_index=True).to_parquet(out / "measured.parquet", index=False)
        write_json(
            out / "contestants.json",
            {
                "train_length": table.original_length,
                "factors": searched,
                "split": split,
                "answers": asdict(able),
                "ropes": [{"name": o.name, "factor": o.factor, "method": o.method, "seed": o.seed} for o in ropes],
            },
        )

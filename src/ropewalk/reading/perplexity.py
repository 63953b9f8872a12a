"""What is read from ``nll.parquet``: perplexity at any length, NLL by position, intervals, paired differences.

Every interval is a bootstrap over documents: the document is what would be drawn anew if the experiment were repeated.
Two ropes are compared on the same documents, resampled together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, TypeVar

import pandas as pd

from ropewalk.errors import UserError
from ropewalk.intervals import CONFIDENCE, bootstrap, crossed
from ropewalk.scores import Scores, table_rows

Values = TypeVar("Values", pd.Series, pd.DataFrame)

ALL = "all"
"""The name under which the documents of all corpora are read together."""


def rows_at(rows: pd.DataFrame, length: int) -> pd.DataFrame:
    """The rows that say how a text of ``length`` tokens is predicted.

    Raises:
        UserError: no pass covers that length.
    """
    passes = sorted(rows["pass_length"].unique())
    longer = [p for p in passes if p >= length]
    if not longer:
        raise UserError(f"length {length}: the longest measured pass has {max(passes, default=0)} tokens.")
    return rows[(rows["pass_length"] == longer[0]) & (rows["position"] < length)]


def context_gain(rows: pd.DataFrame, length: int) -> float:
    """What its context is worth to a model within ``length`` tokens, in nats a token.

    The mean NLL of the first eighth of texts of that length less that of their second half, over documents.

    Raises:
        UserError: no pass covers that length.
    """
    known = rows_at(rows, length)
    early, late = known["position"] < length // 8, known["position"] >= length // 2
    return float(known.loc[early, "nll"].mean() - known.loc[late, "nll"].mean())


def lengths_read(rows: pd.DataFrame, lengths: Sequence[int], *, static: bool | None = None) -> list[int]:
    """Those of some lengths of which the rows say how a text of that length is predicted.

    A pass with a static rope tells of every length up to its own. A rope that changes with the length has another table
    at each, of which only a pass of that very length tells. A length beyond all passes is kept, for :func:`rows_at` to
    refuse.

    Args:
        rows: of ``nll.parquet``.
        lengths: in tokens.
        static: whether the rope is; where None, it is not if there are several passes.
    """
    passes = {int(length) for length in rows["pass_length"].unique()}
    every = len(passes) == 1 if static is None else static
    return [length for length in lengths if every or length in passes or length > max(passes, default=0)]


def lengths_by_rope(
    ropes: Mapping[str, pd.DataFrame], lengths: Sequence[int], dynamic: Collection[str] = ()
) -> dict[str, list[int]]:
    """The lengths at which each rope was read; ``dynamic`` names ropes that change with the length.

    Raises:
        UserError: none was read at any.
    """
    found = {name: lengths_read(r, lengths, static=False if name in dynamic else None) for name, r in ropes.items()}
    if not any(found.values()):
        raise UserError(
            f"no rope was read at {', '.join(map(str, lengths))} tokens; one that changes with the length is read only "
            "where the option dynamic_lengths of its reading says."
        )
    return found


def document_nll(rows: pd.DataFrame, length: int, *, tail: int | None = None) -> pd.Series:
    """Mean NLL (nats a token) of each document's first ``length`` tokens, or of the last ``tail`` of these.

    Returns:
        Indexed by corpus and document.
    """
    chosen = rows_at(rows, length)
    if tail is not None:
        chosen = chosen[chosen["position"] >= length - tail]
    means = chosen.groupby(["corpus", "document"], observed=True)["nll"].mean()
    return means.astype("float64").sort_index()


def _by_corpus(values: Values) -> dict[str, Values]:
    """The documents of each corpus, and of all together where there are several."""
    corpora = values.index.get_level_values("corpus")
    groups = {str(name): values[corpora == name] for name in sorted(corpora.unique())}
    return {**groups, ALL: values} if len(groups) > 1 else groups


def perplexity_table(
    ropes: dict[str, pd.DataFrame],
    lengths: Sequence[int],
    *,
    reference: str | None = None,
    dynamic: Collection[str] = (),
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> pd.DataFrame:
    """Perplexity by rope, corpus and length, and the paired difference from a reference rope.

    Args:
        ropes: rows of ``nll.parquet`` by name; all on the same documents.
        lengths: in tokens.
        reference: the rope that others are compared with.
        dynamic: names of ropes that change with the length; those of several passes are known to.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        One row each, with ``nll``, ``nll_low``, ``nll_high`` (nats a token), ``perplexity`` and its bounds (their
        exponentials), ``documents``, and for all but the reference ``difference``, ``difference_low``,
        ``difference_high`` (nats a token; negative is better than the reference) and ``better``: yes, no, or open
        where the interval holds zero or the documents are fewer than six. A rope that changes with the length has no
        row at a length at which it was not read, and nothing is compared with it there.

    Raises:
        UserError: the reference is unknown, a rope was measured on other documents than the reference, or no rope was
            read at any length.
    """
    check_reference(reference, ropes)
    known = lengths_by_rope(ropes, lengths, dynamic)
    table: list[dict[str, Any]] = []
    for length in lengths:
        means = {name: document_nll(rows, length) for name, rows in ropes.items() if length in known[name]}
        table += compare_means(means, length, "perplexity", reference=reference, confidence=confidence, seed=seed)
    return pd.DataFrame(table)


def check_reference(reference: str | None, ropes: Collection[str]) -> None:
    """Raise ``UserError`` where the rope that others are to be compared with was not measured."""
    if reference is not None and reference not in ropes:
        raise UserError(f"reference rope {reference!r} was not measured; measured: {', '.join(ropes)}.")


def compare_means(
    means: Mapping[str, pd.Series],
    length: int,
    name_of_exp: str,
    *,
    reference: str | None,
    confidence: float,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """The rows of a table at one length, by rope and corpus, from the mean NLL of each document.

    Args:
        means: nats a token by rope, each indexed by corpus and document.
        length: in tokens.
        name_of_exp: the column for the exponential of the mean over documents.
        reference: the rope that others are compared with, where it has a mean.
        confidence: of the intervals.
        seed: of the bootstrap.

    Raises:
        UserError: a rope was measured on other documents than the reference.
    """
    if reference not in means:
        reference = None
    others = _by_corpus(means[reference]) if reference is not None else {}
    for name, values in means.items():
        if reference is not None and not values.index.equals(means[reference].index):
            raise UserError(f"rope {name!r} was measured on other documents than {reference!r}.")
        for corpus, group in _by_corpus(values).items():
            mean = bootstrap(group.to_numpy(), confidence=confidence, seed=seed)
            row = {
                "rope": name,
                "corpus": corpus,
                "length": length,
                "documents": mean.count,
                **mean.columns("nll"),
                **mean.exponential().columns(name_of_exp),
            }
            if reference is not None and name != reference:
                paired = bootstrap((group - others[corpus]).to_numpy(), confidence=confidence, seed=seed)
                row |= {**paired.columns("difference"), "better": paired.better()}
            yield row


def perplexity_over_models(
    ropes: Mapping[str, Mapping[str, pd.DataFrame]],
    lengths: Sequence[int],
    *,
    reference: str,
    dynamic: Collection[str] = (),
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """The same with several models that differ in their pre-training: intervals are over documents and models.

    Args:
        ropes: rows of ``nll.parquet`` by rope and model; all on the same documents.
        lengths: in tokens.
        reference: the rope that others are compared with, in each model.
        dynamic: names of ropes that change with the length.
        confidence: of the intervals.

    Returns:
        As :func:`perplexity_table`, with ``models``, how many there are.

    Raises:
        UserError: the models were read on different documents.
    """
    table: list[dict[str, Any]] = []
    for length in lengths:
        means: dict[str, pd.DataFrame] = {}
        for name, models in ropes.items():
            static = False if name in dynamic else None
            if all(lengths_read(rows, [length], static=static) for rows in models.values()):
                means[name] = pd.DataFrame({model: document_nll(rows, length) for model, rows in models.items()})
        for name, values in means.items():
            if values.isna().any(axis=None):
                raise UserError(
                    f"rope {name!r} was read on other documents with some of {', '.join(map(str, values))}."
                )
            less = values - means[reference] if name != reference and reference in means else None
            differences = {} if less is None else _by_corpus(less)
            for corpus, group in _by_corpus(values).items():
                mean = crossed(group.to_numpy().T, confidence=confidence)
                row = {
                    "rope": name,
                    "corpus": corpus,
                    "length": length,
                    "documents": mean.count,
                    "models": values.shape[1],
                    **mean.columns("nll"),
                    **mean.exponential().columns("perplexity"),
                }
                if corpus in differences:
                    paired = crossed(differences[corpus].to_numpy().T, confidence=confidence)
                    row |= {**paired.columns("difference"), "better": paired.better()}
                table.append(row)
    return pd.DataFrame(table)


def position_bins(lengths: Sequence[int], *, static: bool, per_octave: int = 4, first: int = 16) -> list[int]:
    """Edges of position bins from 1 to the longest length.

    They grow with the position, ``per_octave`` of them a doubling, from ``first`` on. A rope that changes with the
    length was measured at ``lengths`` only; finer bins would read several of its tables as one curve, so these are
    its edges.
    """
    longest = max(lengths)
    if not static:
        return sorted({1, *lengths})
    steps = math.floor(math.log2(max(1.0, longest / first)) * per_octave)
    return sorted({1, longest, *(min(longest, round(first * 2 ** (k / per_octave))) for k in range(steps + 1))})


def curve_edges(rows: pd.DataFrame, lengths: Sequence[int], *, static: bool) -> list[int]:
    """Edges of position bins for the rows of one rope, of the lengths at which it was read, or else of its passes."""
    read = lengths_read(rows, lengths, static=static) or sorted(int(length) for length in rows["pass_length"].unique())
    return position_bins(read, static=static)


def position_curve(
    rows: pd.DataFrame, edges: Sequence[int], *, confidence: float = CONFIDENCE, seed: int = 0
) -> pd.DataFrame:
    """Mean NLL by position bin, over the documents of all corpora.

    For a rope that changes with the length, a bin is read from the shortest pass that covers it: what a person who
    extends a text token by token would see.

    Returns:
        ``start``, ``stop`` (tokens, the stop excluded), ``nll``, ``low``, ``high`` (nats a token).
    """
    curve = []
    for start, stop in pairwise(edges):
        means = document_nll(rows, int(stop), tail=int(stop - start))
        mean = bootstrap(means.to_numpy(), confidence=confidence, seed=seed)
        curve.append({"start": int(start), "stop": int(stop), "nll": mean.mean, "low": mean.low, "high": mean.high})
    return pd.DataFrame(curve)


def score_summary(
    rows: pd.DataFrame, lengths: Sequence[int], columns: Mapping[str, Any], *, confidence: float = CONFIDENCE
) -> Scores:
    """Perplexity of one rope by corpus and length: the numbers of its run in the tracking UI.

    Args:
        rows: of ``nll.parquet``.
        lengths: in tokens.
        columns: what the reading is called in tables.
        confidence: of the intervals.
    """
    table = perplexity_table({"this": rows}, lengths, confidence=confidence).to_dict("records")
    found = [
        table_rows(
            row,
            "perplexity",
            over="documents",
            confidence=confidence,
            corpus=row["corpus"],
            length=row["length"],
            n_documents=row["documents"],
        )
        for row in table
    ]
    return Scores({"stage": "nll", **columns}, tuple(chain.from_iterable(found)))


def position_metrics(
    rows: pd.DataFrame, lengths: Sequence[int], *, static: bool, confidence: float = CONFIDENCE
) -> dict[int, dict[str, float]]:
    """The NLL curve of one rope, by the position at which each bin ends."""
    curve = position_curve(rows, position_bins(lengths, static=static), confidence=confidence)
    suffixes = {"nll": "", "low": "_low", "high": "_high"}
    return {
        row["stop"]: {f"nll_by_position{suffix}": row[name] for name, suffix in suffixes.items()}
        for row in curve.to_dict("records")
        if math.isfinite(row["low"])
    }

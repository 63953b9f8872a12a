"""Tables for people, on a terminal and on pages."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ropewalk.reading.perplexity import ALL
from ropewalk.report.html import render
from ropewalk.rope import Rope, diagnostics

MISSING = "—"
"""The cell of a rope at a length at which it was not read."""


def rope_text(rope: Rope, length: int) -> str:
    """A rope as text: how it was made, its headline numbers at ``length`` tokens, and one line a pair."""
    steps = " → ".join(f"{s.method}({', '.join(f'{k}={v}' for k, v in s.params.items())})" for s in rope.steps)
    head = [
        f"rotary dimension {rope.rotary_dim} · base {rope.base:g} · trained at {rope.original_length} tokens",
        f"made by {steps or 'default()'}",
        f"attention factor {rope.attention_factor:.6g}"
        + ("" if rope.static else " · changes with the length; shown as it is at the training length"),
    ]
    if rope.log_scaling_length is not None:
        head.append(f"log-scaled attention from {rope.log_scaling_length} tokens on")
    if rope.position_map is not None:
        own = rope.position_map
        head.append(
            f"map of positions: {own.kind}, window {own.window}, group {own.group:g}; within {length} tokens the "
            f"largest relative position is {own.reach(length):,.0f}"
        )
    head += [f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in diagnostics.summary(rope, length).items()]
    columns = f"{'pair':>5} {'inv_freq':>14} {'period':>14} {'original':>14} {'factor':>10} {'turns':>10}"
    old = 2 * math.pi / rope.original_inv_freq
    lines = [
        f"{i:>5} {rope.inv_freq[i]:>14.7g} {rope.wavelengths[i]:>14.7g} {old[i]:>14.7g} {rope.factors[i]:>10.4g} "
        f"{rope.turns[i]:>10.4g}"
        for i in range(rope.rotary_dim // 2)
    ]
    note = "period: tokens a turn · factor: original over new inverse frequency · turns: within the training length"
    return "\n".join([*head, "", columns, *lines, "", note])


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def perplexity_text(table: pd.DataFrame, value: str = "perplexity") -> str:
    """Perplexity, or another column, by rope and length, one block a corpus, as text."""
    blocks = []
    for corpus in _corpora(table):
        part = table[table["corpus"] == corpus]
        wide = part.pivot(index="rope", columns="length", values=value).loc[part["rope"].unique()]
        counts = sorted({int(part["documents"].min()), int(part["documents"].max())})
        cells = wide.to_string(float_format="%.2f", na_rep=MISSING)
        blocks.append(f"{corpus} ({' to '.join(map(str, counts))} documents)\n{cells}")
    return "\n\n".join(blocks)


def perplexity_html(table: pd.DataFrame, reference: str, confidence: float) -> str:
    """Perplexity by rope and length as an HTML page; colour says where a paired interval excludes zero."""
    models = int(table["models"].max()) if "models" in table else 1
    about: dict[str, Any] = {"reference": reference, "confidence": confidence, "models": models}
    heading = "Perplexity by length in tokens"
    return render("perplexity", "Perplexity", heading=heading, corpora=by_corpus(table, "rope"), **about)


def by_corpus(table: pd.DataFrame, *names: str) -> dict[str, dict[str, Any]]:
    """A table by length in tokens, for templates: by the title of the corpus, of each all corpora first."""
    found = {}
    for corpus in _corpora(table):
        title = "All corpora" if corpus == ALL else corpus.capitalize()
        found[title] = by_length(table[table["corpus"] == corpus], *names)
        found[title]["documents"] = table["documents"][table["corpus"] == corpus].iloc[0]
    return found


def by_length(table: pd.DataFrame, *names: str) -> dict[str, Any]:
    """The ``lengths`` of a table in tokens, and its ``rows`` of :func:`grouped`, one a length or None where none is."""
    lengths = sorted(table["length"].unique())
    rows = []
    for *key, found in grouped(table, *names):
        known = {row["length"]: row for row in found}
        rows.append((*key, [known.get(length) for length in lengths]))
    return {"lengths": lengths, "rows": rows}


def grouped(table: pd.DataFrame, *names: str) -> list[tuple[Any, ...]]:
    """The rows of a table that are alike in some columns together: what they are alike in, and then they."""
    return [(*key, rows.to_dict("records")) for key, rows in table.groupby(list(names), sort=False)]


def _corpora(table: pd.DataFrame) -> list[str]:
    names = list(table["corpus"].unique())
    return sorted(names, key=lambda name: (name != ALL, name))

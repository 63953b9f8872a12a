"""Tables for people: on a terminal, and as one self-contained HTML page."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ropewalk.reading.perplexity import ALL
from ropewalk.rope import Rope, diagnostics

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:84em;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0 2em;font-variant-numeric:tabular-nums}
th,td{padding:.3em .6em;text-align:right;vertical-align:top;line-height:1.3;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
thead th{border-bottom:2px solid #888}
.better{background:#e2f3e5}
.worse{background:#fbe6e3}
small{color:#555;white-space:nowrap}
.note{color:#555;font-size:85%}
.wide{overflow-x:auto}
"""


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
        blocks.append(f"{corpus} ({' to '.join(map(str, counts))} documents)\n{wide.to_string(float_format='%.2f')}")
    return "\n\n".join(blocks)


def perplexity_html(table: pd.DataFrame, reference: str, confidence: float) -> str:
    """Perplexity by rope and length as an HTML page; colour says where a paired interval excludes zero."""
    parts = []
    for corpus in _corpora(table):
        part = table[table["corpus"] == corpus]
        lengths = sorted(part["length"].unique())
        head = "".join(f"<th>{length:,}</th>" for length in lengths)
        rows = []
        for rope in part["rope"].unique():
            cells = "".join(_cell(part[(part["rope"] == rope) & (part["length"] == n)].iloc[0]) for n in lengths)
            mark = " (reference)" if rope == reference else ""
            rows.append(f"<tr><td>{html.escape(rope)}{mark}</td>{cells}</tr>")
        title = "All corpora" if corpus == ALL else corpus.capitalize()
        parts.append(
            f"<h2>{html.escape(title)} <small>{part['documents'].iloc[0]} documents</small></h2><div class=wide>"
            f"<table><thead><tr><th>rope</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        )
    share = f"{100 * confidence:g} %"
    words = (
        f"<p>Exponential of the mean NLL over the first tokens of each document, with its {share} bootstrap interval "
        f"over documents. Below it the paired difference from <b>{html.escape(reference)}</b> in nats a token, on the "
        "same documents; green is better and red is worse with an interval that excludes zero, no colour is "
        "undecided.</p>"
    )
    return page("Perplexity", "Perplexity by length in tokens", words + "".join(parts))


def page(title: str, heading: str, body: str) -> str:
    """A self-contained HTML page."""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><h1>{heading}</h1>{body}"
    )


def numbers(row: Mapping[Any, Any], exclude: Sequence[str] = ()) -> dict[str, float]:
    """The finite numbers of a table's row, as JSON would hold them."""
    return {
        str(name): float(value)
        for name, value in row.items()
        if name not in exclude and isinstance(value, int | float | np.number) and math.isfinite(value)
    }


def bounds_text(row: Mapping[Any, Any] | pd.Series, name: str, form: str) -> str:
    """The interval of a column as ``[low, high]``, in a format of Python's; nothing where there is none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if math.isnan(low) else f"[{low:{form}}, {high:{form}}]"


def verdict_class(row: Mapping[Any, Any] | pd.Series, verdict: str = "better") -> str:
    """The attribute that colours a cell by the verdict in a column; nothing where there is none or it is open."""
    return {"yes": " class=better", "no": " class=worse"}.get(str(row.get(verdict)), "")


def _cell(row: pd.Series) -> str:
    paired = ""
    if isinstance(row.get("better"), str):
        paired = (
            f"<br><small>{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]</small>"
        )
    low, high = (perplexity_number(row[f"perplexity_{end}"]) for end in ("low", "high"))
    value = perplexity_number(row["perplexity"])
    return f"<td{verdict_class(row)}>{value}<br><small>[{low}, {high}]</small>{paired}</td>"


def perplexity_number(value: float) -> str:
    """A perplexity with as many digits as mean something to a reader."""
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _corpora(table: pd.DataFrame) -> list[str]:
    names = list(table["corpus"].unique())
    return sorted(names, key=lambda name: (name != ALL, name))

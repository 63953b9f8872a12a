"""A zoo as a table for a terminal, and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ropewalk.zoo.entry import Entry


def table(entries: Sequence[Entry]) -> str:
    """A line an entry."""
    lines = [f"{'id':<12}  {'name':<28} {'tokens':>9}  {'made by':<22} model"]
    for entry in entries:
        made = entry.rope.recipe
        lines.append(f"{entry.id}  {entry.name:<28} {entry.length:>9,}  {made:<22} {entry.model}")
    return "\n".join(lines)


def page(entries: Sequence[Entry]) -> str:
    """A page in Markdown."""
    lines = [
        "# Rope zoo",
        "",
        "Ropes that were published with models, and ropes that were found with Ropewalk. Each is a file named by the "
        "hash of its",
        "numbers. `ropewalk zoo show NAME -o rope.json` takes one out, `ropewalk export` makes a model with it, and "
        "`ropewalk zoo add`",
        "puts one in. Published ones are taken as numbers, with their source; nothing was measured of them here where "
        "nothing is said.",
        "",
        "| name | model | tokens | pairs, base, trained at | attention factor | gain at that length, nats | loss on "
        "short texts, nats a token | source |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in entries:
        rope, measured = entry.rope, entry.measured
        gain, cost = ("", "") if measured is None else (_interval(measured["gain"]), _interval(measured["cost"]))
        about = f"{rope.pairs}, {rope.base:g}, {rope.original_length:,}"
        cells = [f"{entry.name} `{entry.id}`", entry.model, f"{entry.length:,}", about]
        cells += [f"{rope.at(entry.length).attention_factor:.4f}", gain, cost, entry.source]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(_measured(entry) for entry in entries if entry.measured is not None)]
    return "\n".join(lines).rstrip() + "\n"


def _interval(value: Mapping[str, Any]) -> str:
    return f"{value['mean']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]"


def _measured(entry: Entry) -> str:
    assert entry.measured is not None
    found, proof = entry.measured, entry.proof
    proved = f" Proved: {proof['said']}." if proof and proof["passed"] else ""
    return (
        f"- **{entry.name}**: {len(found['documents'])} documents of {', '.join(found['corpora'])}, paired with the "
        f"model's own rope; intervals of {100 * found['confidence']:g} % over {found['comparisons']} comparisons."
        f"{proved}"
    )

"""Perplexity, LongPPL and hidden facts of the same ropes side by side: do they rank ropes alike?

Low perplexity is not use of the context. LongPPL (arXiv 2410.23771) is perplexity over the tokens that only a long
context tells. Which these are, one reading with a window says; it is of the same model with one of the ropes, which the
measure may favour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from scipy import stats

from ropewalk.errors import UserError
from ropewalk.files import whole_folder
from ropewalk.reading.longppl import key_tokens, longppl_table
from ropewalk.reading.nll_file import read_nll
from ropewalk.reading.perplexity import ALL, perplexity_table
from ropewalk.report.html import render
from ropewalk.report.needle import compare as compare_answers
from ropewalk.report.needle import read_answers
from ropewalk.report.options import MeasuresReportOptions
from ropewalk.report.rows import header, named
from ropewalk.report.style import ACCENT, GREY, INK, save
from ropewalk.rope import Rope
from ropewalk.scores import ReportSetting, Score, Scores, number_rows, table_rows

MEASURES = {"perplexity": "perplexity", "longppl": "LongPPL", "facts": "facts found"}
"""Columns and what they are called. Of the first two less is better."""


def write_report(readings: Sequence[Path], options: MeasuresReportOptions, folder: Path) -> None:
    """Write ``measures.html``, ``measures.csv``, ``measures.png`` and ``scores.json``, whole or not at all.

    Args:
        readings: of kind nll, of which one has a window and tells the key tokens; and of kind needle.
        options: what is reported.
        folder: where to write.

    Raises:
        UserError: a file is missing or damaged, or there is not exactly one reading with a window.
    """
    windows = [path for path in readings if _window(path)]
    if len(windows) != 1:
        raise UserError(f"{len(windows)} readings have a window; expected one, which tells the key tokens.")
    evaluator, _ = read_nll(windows[0] / "nll.parquet")
    plain = named([path for path in readings if (path / "nll.parquet").is_file() and path not in windows])
    hidden = named([path for path in readings if (path / "answers.jsonl").is_file()])
    answers = {name: read_answers(path / "answers.jsonl") for name, path in hidden.items()}
    table, keys = compare(
        {name: read_nll(path / "nll.parquet")[0] for name, path in plain.items()},
        key_tokens(evaluator),
        answers,
        options,
        dynamic=[name for name, path in plain.items() if not Rope.from_json(header(path)["rope"]).static],
    )
    alike = agreement(table)
    with whole_folder(folder) as out:
        table.to_csv(out / "measures.csv", index=False, float_format="%.6g")
        about: dict[str, Any] = {
            "confidence": options.confidence,
            "reference": options.reference,
            "evaluator": header(windows[0])["columns"]["rope"],
            "window": _window(windows[0]),
            "keys": keys,
            "agreement": alike.to_dict("records"),
            "lengths": {n: part.to_dict("records") for n, part in table.groupby("length", sort=True)},
        }
        heading = "Do perplexity, LongPPL and hidden facts rank ropes alike?"
        (out / "measures.html").write_text(render("measures", "Measures", heading=heading, **about))
        _scores(table, alike, options).write(out / "scores.json")
        draw(table[table["length"] == max(options.lengths)], options.reference, out / "measures.png")


def _window(path: Path) -> int | None:
    """Tokens of the window of a reading; None where it has none or is of another kind."""
    found: int | None = header(path)["options"].get("window") if (path / "nll.parquet").is_file() else None
    return found


def compare(
    rows: dict[str, pd.DataFrame],
    keys: pd.DataFrame,
    answers: Mapping[str, pd.DataFrame],
    options: MeasuresReportOptions,
    *,
    dynamic: Sequence[str] = (),
) -> tuple[pd.DataFrame, int]:
    """What each measure says of each rope at each length, over documents of all corpora.

    Args:
        rows: of ``nll.parquet`` by rope.
        keys: key tokens.
        answers: of hidden facts by rope; some ropes may lack them.
        options: of the report.
        dynamic: ropes that change with the length.

    Returns:
        A row for each rope and length: ``perplexity``, ``longppl`` and ``facts`` (share) with ``_low`` and ``_high``,
        the paired differences ``perplexity_difference`` and ``longppl_difference`` in nats a token and
        ``facts_difference``; and the number of key tokens.

    Raises:
        UserError: no key token lies within a length, or ropes were read on different documents or asked other facts.
    """
    lengths, confidence, reference = options.lengths, options.confidence, options.reference
    settings: dict[str, Any] = {"reference": reference, "dynamic": dynamic, "confidence": confidence}
    every = perplexity_table(rows, lengths, **settings)
    few = longppl_table(rows, keys, lengths, **settings)
    facts = _facts(answers, reference, confidence)
    found = []
    for name in rows:
        for length in lengths:
            row: dict[str, Any] = {"rope": name, "length": length}
            for measure, table in (("perplexity", every), ("longppl", few)):
                row |= _over_all(table[(table["rope"] == name) & (table["length"] == length)], measure)
            found.append(row | facts.get((name, length), {}))
    return pd.DataFrame(found), len(keys)


def _over_all(rows: pd.DataFrame, measure: str) -> dict[str, float]:
    """A measure over all corpora, with its difference; of one rope and length, which may not have been read."""
    if rows.empty:
        return {}
    # A single corpus is not summed up.
    [one] = rows[rows["corpus"] == (ALL if ALL in set(rows["corpus"]) else rows["corpus"].iloc[0])].to_dict("records")
    ends = ("", "_low", "_high")
    numbers = {measure + end: one[measure + end] for end in ends}
    return numbers | {f"{measure}_difference{end}": one.get(f"difference{end}", np.nan) for end in ends}


def _facts(answers: Mapping[str, pd.DataFrame], reference: str, confidence: float) -> dict[tuple[str, int], Any]:
    """The share of hidden facts that was found, over samples, by rope and length; all tasks count as one."""
    if not answers:
        return {}
    first = sorted(answers, key=lambda name: name != reference)
    table = compare_answers({name: answers[name].assign(task="facts") for name in first}, confidence)
    names = {"score": "facts", "low": "facts_low", "high": "facts_high"}
    if first[0] == reference:
        names |= {f"difference{end}": f"facts_difference{end}" for end in ("", "_low", "_high")}
    shown = table.rename(columns=names).reindex(columns=["subject", "length", *names.values()])
    return {(row.pop("subject"), row.pop("length")): row for row in shown.to_dict("records")}


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """How alike two measures rank ropes: Spearman's correlation by length, over the ropes that both were measured of.

    Returns:
        ``first``, ``second``, ``length``, ``ropes`` and ``correlation``, 1 where both rank alike; a row where there are
        at least three ropes that differ.
    """
    found = []
    for length, part in table.groupby("length"):
        for first, second in combinations([name for name in MEASURES if name in part], 2):
            both = part[[first, second]].dropna()
            if len(both) < 3 or both.nunique().min() < 2:
                continue
            sign = -1 if second == "facts" else 1
            value = sign * float(stats.spearmanr(both[first], both[second]).statistic)
            names = {"first": MEASURES[first], "second": MEASURES[second]}
            found.append({**names, "length": int(str(length)), "ropes": len(both), "correlation": value})
    return pd.DataFrame(found, columns=["first", "second", "length", "ropes", "correlation"])


def draw(table: pd.DataFrame, reference: str, path: Path) -> None:
    """The measures beside each other, a line a rope, best perplexity first."""
    table = table.sort_values("perplexity", ascending=False).reset_index(drop=True)
    shown = [name for name in MEASURES if name in table]
    figure = Figure(figsize=(3.1 * len(shown) + 1.2, 0.27 * len(table) + 1.3))
    grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, name in zip(grid, shown, strict=True):
        for place, row in table.iterrows():
            ink = ACCENT if row["rope"] == reference else INK
            if np.isnan(row[name]):
                continue
            axes.plot([row[f"{name}_low"], row[f"{name}_high"]], [place, place], color=GREY, lw=3, zorder=1)
            axes.plot(row[name], place, "o", color=ink, ms=5, zorder=2)
        if name != "facts":
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(MEASURES[name] + (" (more is better)" if name == "facts" else ""), loc="left")
        axes.grid(axis="x", color="#eeeeee")
        axes.set_axisbelow(True)
    grid[0].set_yticks(range(len(table)), table["rope"])
    figure.suptitle(f"{table['length'].iloc[0]:,} tokens. Blue: {reference}.", x=0.01, ha="left", fontsize=9.5)
    figure.tight_layout()
    save(figure, path)


def _scores(table: pd.DataFrame, alike: pd.DataFrame, options: MeasuresReportOptions) -> Scores:
    setting = ReportSetting(stage="measures", experiment=options.experiment, confidence=options.confidence)
    rows: list[Score] = []
    for row in table.to_dict("records"):
        names = {"rope": row["rope"], "length": row["length"], "confidence": options.confidence}
        for name in MEASURES:
            over = "samples" if name == "facts" else "documents"
            if name in row and not np.isnan(row[name]):
                rows += table_rows(row, name, over=over, **names)
                if not np.isnan(row.get(f"{name}_difference", np.nan)):
                    rows += table_rows(row, f"{name}_difference", over=over, against=options.reference, **names)
    for row in alike.to_dict("records"):
        task = f"{row['first']} and {row['second']}"
        rows += number_rows("rank_correlation", row["correlation"], task=task, length=row["length"])
    return Scores.of(setting, rows)

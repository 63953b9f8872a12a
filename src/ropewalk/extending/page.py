"""The answer as one page, with the figure of what short texts pay against what long texts gain."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ropewalk.extending.candidates import NATIVE
from ropewalk.extending.recommendation import FEWEST, WORTH
from ropewalk.files import whole_file
from ropewalk.report.html import render
from ropewalk.report.style import ACCENT, GREY, INK, SECOND, Label, label_points, save


def write_page(answer: Mapping[str, Any], folder: Path) -> None:
    """Write ``page.html`` and ``front.png``."""
    draw_front(answer, folder / "front.png")
    figure = b64encode((folder / "front.png").read_bytes()).decode()
    name = answer["model"].partition(":")[2].rstrip("/").rpartition("/")[2]
    text = render(
        "extend",
        f"{name} at {answer['length']:,} tokens",
        width="46em",
        answer_in_words=sentence(answer),
        figure=figure,
        fewest=FEWEST,
        worth=WORTH,
        **answer,
    )
    with whole_file(folder / "page.html") as temporary:
        temporary.write_text(text)


def sentence(answer: Mapping[str, Any]) -> str:
    """The answer in one sentence."""
    length, native = f"{answer['length']:,}", f"{answer['native_length']:,}"
    bound, documents = answer["short_cost"], len(answer["documents"])
    if answer["answer"] == "use":
        [row] = [row for row in answer["ropes"] if row["rope"] == answer["rope"]]
        more = f" It cannot be said to be better than {' or '.join(answer['ties'])}." if answer["ties"] else ""
        # What a larger bound would buy.
        dear = [each for each in answer["ropes"] if each["verdict"] == "too dear"]
        best = max(dear, key=lambda each: float(each["gain"]["mean"]), default=None)
        if best is not None and best["gain"]["low"] > row["gain"]["high"]:
            more += (
                f" {best['rope']} gains {_bounds(best['gain'])} and loses {_bounds(best['cost'])}, which is more than "
                f"the {bound:g} that --short-cost allows."
            )
        return (
            f"Use {answer['rope']}: texts of {length} tokens gain {_bounds(row['gain'])} nats over the rope that the "
            f"model has, and texts up to {native} tokens lose {_bounds(row['cost'])} nats a token.{more}"
        )
    if answer["answer"] == "leave it":
        return (
            f"Leave it: no rope that was tried gains more than {WORTH:g} nats over the rope that the model has, at "
            f"{length} tokens."
        )
    if answer["answer"] == "too dear":
        return (
            f"Too dear: every rope that helps at {length} tokens costs texts up to {native} tokens more than {bound:g} "
            "nats a token. Fine-tuning with a longer rope, or an engine that takes the longer rope for long texts "
            "alone, may help."
        )
    few = f" At least {FEWEST} are needed." if documents < FEWEST else ""
    return (
        f"Undecided after {documents} document{'s' if documents != 1 else ''}: the intervals leave open whether a rope "
        f"helps at {length} tokens, or what it costs.{few} A larger --budget, or more long texts, goes on from here."
    )


def _bounds(interval: Mapping[str, float]) -> str:
    return f"{interval['low']:.3f} to {interval['high']:.3f}"


def draw_front(answer: Mapping[str, Any], path: Path) -> None:
    """Draw gain against cost with intervals, a point a rope; the model's own is at zero."""
    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.subplots()
    axes.axhline(0, color=GREY, lw=0.8)
    axes.axvline(0, color=GREY, lw=0.8)
    axes.axvspan(answer["short_cost"], 1e3, color=SECOND, alpha=0.08, lw=0)
    axes.plot([0], [0], "o", color=INK, ms=6)
    axes.annotate(NATIVE, (0, 0), xytext=(6, -12), textcoords="offset points", color=INK)
    right, left = [answer["short_cost"] * 1.3], [0.0]
    labels: list[Label] = []
    colours = {"use": ACCENT, "too dear": SECOND}
    for row in answer["ropes"]:
        gain, cost = row["gain"], row["cost"]
        if gain is None or gain["mean"] is None:
            continue
        colour = colours.get(row["verdict"], "#777777")
        ends: dict[str, Any] = {}
        if gain["low"] is not None:
            ends = {
                "xerr": [[cost["mean"] - cost["low"]], [cost["high"] - cost["mean"]]],
                "yerr": [[gain["mean"] - gain["low"]], [gain["high"] - gain["mean"]]],
            }
        axes.errorbar([cost["mean"]], [gain["mean"]], fmt="o", color=colour, ms=6, lw=1.2, **ends)
        labels.append(Label(f"{row['rope']} ({row['verdict']})", cost["mean"], gain["mean"], colour))
        right.append(cost["mean"])
        left.append(cost["mean"])
    span = max(right) - min(left)
    axes.set_xlim(min(left) - 0.1 * span, max(right) + 0.1 * span)
    axes.margins(y=0.12)
    bound = f"more than {answer['short_cost']:g}: too dear"
    axes.annotate(bound, (answer["short_cost"], 1.01), xycoords=("data", "axes fraction"), color=SECOND, fontsize=8)
    label_points(axes, labels)
    axes.set_xlabel(f"what texts up to {answer['native_length']:,} tokens lose (nats a token)")
    axes.set_ylabel(f"what texts of {answer['length']:,} tokens gain (nats)")
    save(figure, path)

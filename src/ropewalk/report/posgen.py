"""PosGen's table, curves and feature gaps, from the files of its scored tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ropewalk.errors import UserError
from ropewalk.files import read_json, whole_folder
from ropewalk.intervals import CONFIDENCE, student
from ropewalk.metrics import read_metrics
from ropewalk.options import ReportOptions
from ropewalk.report import posgen_figures
from ropewalk.report.html import render
from ropewalk.report.tables import grouped
from ropewalk.rope import Rope, default_rope
from ropewalk.rope.diagnostics import feature_gap
from ropewalk.rope.methods import apply
from ropewalk.scores import ReportSetting, Score, Scores, number_rows

TASKS = {"recursive": "Recursive", "chain-of-thought": "Chain of thought", "semi-recursive": "Semi-recursive"}
QUANTITIES = {
    "ood_accuracy": "Beyond the training length",
    "generated_ood_accuracy": "Beyond it, written by the model itself",
    "id_accuracy": "Within the training length",
}
PUBLISHED = {
    "RoPE": (65.29, 69.56, 17.96),
    "Resonance RoPE": (62.64, 75.25, 29.78),
    "YaRN": (95.93, 98.71, 33.70),
    "Resonance YaRN": (98.30, 99.58, 48.46),
}
"""Accuracy in percent beyond the training length: Resonance RoPE, arXiv 2403.00071, table 1, in the order of TASKS."""


@dataclass(frozen=True)
class ScoredTask:
    """One task as ``posgen score`` left it.

    Attributes:
        task: its name.
        about: ``scoring.json``.
        rows: ``accuracy.parquet``.
        scores: ``scores.json``: mean accuracies by rope, seed and quantity.
        curves: one row a step, reading and seed: ``step``, ``rope``, ``seed``, ``loss``.
    """

    task: str
    about: dict[str, Any]
    rows: pd.DataFrame
    scores: Scores
    curves: pd.DataFrame

    @classmethod
    def open(cls, folder: Path) -> ScoredTask:
        """Read a folder of ``posgen score``.

        Raises:
            UserError: it is missing or damaged.
        """
        about = read_json(folder / "scoring.json", "scores of PosGen")
        try:
            rows = pd.read_parquet(folder / "accuracy.parquet")
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / 'accuracy.parquet'} is missing or damaged: {error}.") from None
        scores = Scores.read(folder / "scores.json")
        points = [
            {"step": line["step"], "rope": key.split("/")[0], "seed": int(key.split("/")[1]), "loss": value}
            for line in read_metrics(folder / "validation.jsonl")
            for key, value in line.items()
            if key.endswith("/validation_loss")
        ]
        if not points:
            raise UserError(f"{folder / 'validation.jsonl'} is missing or holds no validation loss.")
        curves = pd.DataFrame(points)
        return cls(about["training"]["kind"], about, rows, scores, curves)

    @property
    def options(self) -> dict[str, Any]:
        """Of the training; see :class:`ropewalk.posgen.options.PosGenOptions`."""
        options: dict[str, Any] = self.about["training"]["options"]
        return options

    @property
    def train_length(self) -> int:
        return int(self.options["train_length"])

    @property
    def test_length(self) -> int:
        return int(self.options["test_length"])

    @property
    def modulus(self) -> int:
        return int(self.options["modulus"])

    @property
    def full(self) -> list[str]:
        return [name for name in self.about["ropes"] if name not in self.about["brief"]]

    def weights(self, name: str) -> str:
        """The rope that the models behind a reading were trained with."""
        return str(self.about["ropes"][name]["weights"])

    def rope(self, name: str) -> Rope:
        return Rope.from_json(self.about["ropes"][name]["rope"])


def write_report(folders: Sequence[Path], options: ReportOptions, folder: Path) -> None:
    """Write tables (CSV, HTML, JSON) and figures (PNG) of scored tasks into a folder, whole or not at all.

    Args:
        folders: of ``posgen score``, one a task.
        options: what is reported.
        folder: where to write.

    Raises:
        UserError: a file is missing or damaged, a task comes twice, or tasks were scored with different ropes.
    """
    confidence, experiment = options.confidence, options.experiment
    found = [ScoredTask.open(path) for path in folders]
    tasks = [task for name in TASKS for task in found if task.task == name]
    if len({task.task for task in tasks}) < len(tasks):
        raise UserError(f"a task comes twice among {', '.join(map(str, folders))}.")
    first = tasks[0]
    for task in tasks:
        if task.about["ropes"] != first.about["ropes"]:
            raise UserError(f"task {task.task!r} was scored with other ropes than {first.task!r}.")
    table = accuracy_table(tasks, confidence=confidence)
    gaps = feature_gaps(first)
    with whole_folder(folder) as out:
        table.to_csv(out / "accuracy.csv", index=False, float_format="%.6g")
        gaps.to_csv(out / "feature_gap.csv", float_format="%.6g", index_label="rope")
        (out / "accuracy.html").write_text(_accuracy_html(tasks, table, confidence))
        (out / "feature_gap.html").write_text(_gap_html(first, gaps))
        _scores(tasks, table, confidence, experiment).write(out / "scores.json")
        swapped = [name for name in first.about["ropes"] if first.weights(name) != name]
        titles = {task.task: TASKS[task.task] for task in tasks}
        ood = table[table["quantity"] == "ood_accuracy"]
        means = {task.task: ood[ood["task"] == task.task] for task in tasks}
        seeds = {task.task: seed_accuracies(task, "ood_accuracy") for task in tasks}
        posgen_figures.draw_ropes(seeds, means, titles, swapped, 1 / first.modulus, out / "accuracy.png")
        by_place = {
            task.task: task.rows[task.rows["rope"].isin(first.full)].pivot_table("accuracy", "position", "rope")
            for task in tasks
        }
        posgen_figures.draw_positions(
            {name: rows[first.full] for name, rows in by_place.items()},
            titles,
            first.train_length,
            1 / first.modulus,
            out / "positions.png",
        )
        curves = {task.task: task.curves for task in tasks}
        drawn = [name for name in first.full if all(name in set(curve["rope"]) for curve in curves.values())]
        posgen_figures.draw_validation(curves, titles, drawn, out / "validation.png")


def seed_accuracies(task: ScoredTask, quantity: str) -> pd.DataFrame:
    """Mean accuracy by seed (rows) and rope (columns, in their order); ropes without this quantity are left out."""
    columns = {
        name: {row.seed: row.value for row in task.scores.select(rope=name, quantity=quantity)}
        for name in task.about["ropes"]
    }
    return pd.DataFrame({name: values for name, values in columns.items() if values})


def counterpart(task: ScoredTask, name: str) -> str | None:
    """The rope that another is compared with, paired over seeds.

    A rope whose last step is Resonance is compared with the same one without that step, read in the same way (trained
    with, or swapped in); every other, and one without such a partner, with the first rope of all.
    """
    names = list(task.about["ropes"])
    rope = task.rope(name)
    if rope.steps and rope.steps[-1].method == "resonance":
        # What the rope was before its last step, made again; a partner may say `default` where it says nothing.
        plain = default_rope(rope.rotary_dim, rope.base, rope.original_length)
        for step in rope.steps[:-1]:
            plain = apply(plain, step.method, **step.params)
        for other in names:
            alike = (task.weights(other) == other) == (task.weights(name) == name)
            if alike and _made_alike(task.rope(other), plain):
                return other
    return None if name == names[0] else names[0]


def _made_alike(one: Rope, other: Rope) -> bool:
    tables = (one.rotary_dim, one.base, one.original_length) == (other.rotary_dim, other.base, other.original_length)
    steps, others = ([step for step in rope.steps if step.method != "default"] for rope in (one, other))
    return tables and steps == others


def accuracy_table(tasks: Sequence[ScoredTask], *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Accuracy by task, rope and quantity: mean and deviation over seeds, and the paired difference with its interval.

    Returns:
        One row each, with ``mean``, ``sd``, ``seeds``, and for all but the first rope ``against``, ``difference``,
        ``low``, ``high`` and ``better``: yes, no, or open where the interval holds zero.
    """
    table = []
    for task in tasks:
        for quantity in QUANTITIES:
            values = seed_accuracies(task, quantity)
            for name in values.columns.astype(str):
                row = {
                    "task": task.task,
                    "rope": name,
                    "weights": task.weights(name),
                    "quantity": quantity,
                    "seeds": len(values),
                    "mean": values[name].mean(),
                    "sd": values[name].std(),
                }
                other = counterpart(task, name)
                if other is not None and other in values:
                    paired = student((values[name] - values[other]).to_numpy(), confidence=confidence)
                    row |= {
                        "against": other,
                        "difference": paired.mean,
                        "low": paired.low,
                        "high": paired.high,
                        "better": paired.better(lower=False),
                    }
                table.append(row)
    return pd.DataFrame(table)


def feature_gaps(task: ScoredTask) -> pd.DataFrame:
    """Feature gap by rope and pair, and its sum over all and over the pre-critical pairs of the rope of training."""
    rows = {}
    for name in task.about["ropes"]:
        trained = task.rope(task.weights(name))
        gap = feature_gap(task.rope(name), task.train_length, task.test_length, trained=trained)
        critical = trained.at(task.train_length).wavelengths <= task.train_length
        sums = {"pre-critical pairs": critical.sum(), "sum over them": gap[critical].sum(), "sum over all": gap.sum()}
        rows[name] = sums | {f"pair {i}": value for i, value in enumerate(gap)}
    return pd.DataFrame(rows).T.astype({"pre-critical pairs": int})


@dataclass(frozen=True, kw_only=True)
class PosGenSetting(ReportSetting):
    """At what scale models learned a rule; see :class:`ropewalk.posgen.options.PosGenOptions`."""

    stage: str = "posgen"
    layers: int
    hidden_size: int
    steps: int
    batch_size: int
    modulus: int
    train_length: int
    test_length: int
    seeds: int
    ropes: tuple[dict[str, Any], ...]
    """each ``rope``, its ``recipe``, and whether it was ``swapped`` into models that were trained with another"""


def _scores(tasks: Sequence[ScoredTask], table: pd.DataFrame, confidence: float, experiment: str) -> Scores:
    """The table, and each seed's value, which has a seed; accuracies are shares, losses nats a token."""
    first = tasks[0]
    setting = PosGenSetting(
        experiment=experiment,
        confidence=confidence,
        **{name: first.options[name] for name in ("layers", "hidden_size", "steps", "batch_size")},
        modulus=first.modulus,
        train_length=first.train_length,
        test_length=first.test_length,
        seeds=int(table["seeds"].max()),
        ropes=tuple(
            {"rope": name, "recipe": first.rope(name).recipe, "swapped": first.weights(name) != name}
            for name in first.about["ropes"]
        ),
    )
    rows: list[Score] = []
    for row in table.to_dict("records"):
        names = {"task": row["task"], "rope": row["rope"], "n_seeds": row["seeds"]}
        rows += number_rows(row["quantity"], row["mean"], **names)
        rows += number_rows(f"{row['quantity']}_sd", row["sd"], **names)
        if isinstance(row.get("against"), str):
            difference = f"{row['quantity']}_difference"
            ends = {"seeds": (row["low"], row["high"])}
            about = {"against": row["against"], "confidence": confidence, **names}
            rows += number_rows(difference, row["difference"], intervals=ends, **about)
    for task in tasks:
        for quantity in QUANTITIES:
            for name, column in seed_accuracies(task, quantity).to_dict().items():
                for seed, value in column.items():
                    rows += number_rows(quantity, value, task=task.task, rope=name, seed=int(seed))
        last = task.curves[task.curves["step"] == task.curves["step"].max()].sort_values("seed")
        for name, losses in last.groupby("rope", sort=False):
            names = {"task": task.task, "rope": name}
            rows += number_rows("validation_loss", losses["loss"].mean(), n_seeds=len(losses), **names)
            for seed, loss in zip(losses["seed"], losses["loss"], strict=True):
                rows += number_rows("validation_loss", loss, seed=int(seed), **names)
    return Scores.of(setting, rows)


def _accuracy_html(tasks: Sequence[ScoredTask], table: pd.DataFrame, confidence: float) -> str:
    first = tasks[0]
    tables: dict[str, list[list[Any]]] = {}
    for quantity, title in QUANTITIES.items():
        # Of a quantity, a rope has a cell for every task or for none.
        found = dict(grouped(table[table["quantity"] == quantity], "rope"))
        tables[title] = [
            [_name(first, name), *map(_cell, found[name])] for name in first.about["ropes"] if name in found
        ]
        if quantity == "ood_accuracy":
            tables[title] += _published(tasks)
    return render(
        "posgen_accuracy",
        "PosGen: accuracy by rope and task",
        first=first,
        data=first.about["training"]["data"],
        options=first.options,
        tasks=[TASKS[task.task] for task in tasks],
        seeds=int(table["seeds"].max()),
        confidence=confidence,
        verdicts=_verdicts(first, table),
        learned=_learned(table),
        tables=tables,
    )


def _verdicts(first: ScoredTask, table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Each rope, what it is compared with, and on which tasks it is better, worse and neither."""
    part = table[(table["quantity"] == "ood_accuracy") & table["rope"].isin(first.full)].dropna(subset="against")
    found = []
    for name, rows in part.groupby("rope", sort=False):
        said = []
        for verdict, word in {"yes": "better", "no": "worse", "open": "undecided"}.items():
            where = [TASKS[task].lower() for task in rows[rows["better"] == verdict]["task"]]
            said += [f"{word} on {', '.join(where)}"] if where else []
        found.append((str(name), str(rows["against"].iloc[0]), "; ".join(said)))
    return found


def _learned(table: pd.DataFrame) -> str:
    inside = table[(table["quantity"] == "id_accuracy") & (table["rope"] == table["weights"])]
    return ", ".join(
        f"{100 * rows['mean'].min():.1f} to {100 * rows['mean'].max():.1f} on {TASKS[str(task)].lower()}"
        for task, rows in inside.groupby("task", sort=False)
    )


def _name(first: ScoredTask, name: str) -> str:
    weights = first.weights(name)
    return name if weights == name else f"{name}\nin models trained with {weights}"


def _cell(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Mean, deviation and paired difference, and the verdict on that."""
    deviation = f" ± {100 * row['sd']:.1f}" if pd.notna(row["sd"]) else ""
    mean, better = f"{100 * row['mean']:.1f}{deviation}", row.get("better")
    if not isinstance(better, str):
        return mean, ""
    difference, low, high = (100 * row[key] for key in ("difference", "low", "high"))
    interval = f" [{low:+.1f}, {high:+.1f}]" if pd.notna(low) else ""
    return f"{mean}\n{difference:+.1f}{interval} vs {row['against']}", better


def _published(tasks: Sequence[ScoredTask]) -> list[list[str]]:
    places = [list(TASKS).index(task.task) for task in tasks]
    return [
        [f"\npublished: {name}", *(f"\n{values[place]:.2f}" for place in places)] for name, values in PUBLISHED.items()
    ]


def _gap_html(task: ScoredTask, gaps: pd.DataFrame) -> str:
    pairs = [column for column in gaps.columns.astype(str) if column.startswith("pair ")]
    return render(
        "posgen_gap",
        "PosGen: feature gap",
        task=task,
        head=["rope", *(column.removeprefix("pair ") for column in gaps.columns.astype(str))],
        rows=[
            [
                str(name),
                str(int(row["pre-critical pairs"])),
                *(f"{row[column]:.3f}" for column in ("sum over them", "sum over all")),
                *((f"{row[pair]:.3f}", "yes" if row[pair] < 5e-7 else "") for pair in pairs),
            ]
            for name, row in gaps.iterrows()
        ],
    )

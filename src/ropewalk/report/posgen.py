"""PosGen's table, curves and feature gaps, from the files of its scored tasks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import spearmanr

from ropewalk.errors import UserError
from ropewalk.files import read_json, whole_folder
from ropewalk.intervals import CONFIDENCE, Interval, student
from ropewalk.metrics import read_metrics
from ropewalk.options import ReportOptions
from ropewalk.posgen.options import PosGenOptions
from ropewalk.report import posgen_figures
from ropewalk.report.html import render
from ropewalk.report.posgen_published import PUBLISHED, TASKS
from ropewalk.report.scorecard.claim import Evidence, above, below
from ropewalk.report.scorecard.verdict import detectable, holm, outside
from ropewalk.report.tables import grouped
from ropewalk.rope import Rope, default_rope
from ropewalk.rope.diagnostics import feature_gap
from ropewalk.rope.methods import apply
from ropewalk.rope.theory import critical_pairs
from ropewalk.scores import ReportSetting, Score, Scores, number_rows

QUANTITIES = {
    "ood_accuracy": "Beyond the training length",
    "ood_less_id": "Beyond it less within it",
    "generated_ood_accuracy": "Beyond it, written by the model itself",
    "id_accuracy": "Within the training length",
}
COMPETENCE = "tokens predicted right within the training length, with the rope of training"
NEEDED = 0.95
"""Share of them from which on a model counts: one that has not learned a rule says nothing about its longer texts."""


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
    def options(self) -> PosGenOptions:
        """Of the training."""
        options = self.about["training"]["options"]
        return PosGenOptions(**{**options, "seeds": tuple(options["seeds"])})

    @property
    def full(self) -> list[str]:
        return [name for name in self.about["ropes"] if name not in self.about["brief"]]

    def weights(self, name: str) -> str:
        """The rope that the models behind a reading were trained with."""
        return str(self.about["ropes"][name]["weights"])

    def rope(self, name: str) -> Rope:
        return Rope.from_json(self.about["ropes"][name]["rope"])

    def competence(self, name: str) -> dict[int, float]:
        """What the models behind a reading reached within the training length, with the rope of training, by seed."""
        rows = self.scores.select(rope=self.weights(name), quantity="id_accuracy")
        return {int(row.seed): float(row.value) for row in rows if row.seed is not None and row.value is not None}

    def able(self, name: str) -> list[int]:
        """Seeds of the models behind a reading that have learned the task."""
        return [seed for seed, value in self.competence(name).items() if value >= NEEDED]


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
        (out / "feature_gap.html").write_text(_gap_html(tasks, gaps, confidence))
        _scores(tasks, table, gaps, confidence, experiment).write(out / "scores.json")
        swapped = [name for name in first.about["ropes"] if first.weights(name) != name]
        titles = {task.task: TASKS[task.task] for task in tasks}
        ood = table[table["quantity"] == "ood_accuracy"]
        means = {task.task: ood[ood["task"] == task.task] for task in tasks}
        seeds = {task.task: seed_accuracies(task, "ood_accuracy") for task in tasks}
        counted = {task.task: _counted(task, seeds[task.task]).notna() for task in tasks}
        chance = 1 / first.options.modulus
        posgen_figures.draw_ropes(seeds, counted, means, titles, swapped, chance, out / "accuracy.png")
        by_place = {
            task.task: _of_able(task, task.rows[task.rows["rope"].isin(first.full)]).pivot_table(
                "accuracy", "position", "rope"
            )
            for task in tasks
        }
        posgen_figures.draw_positions(
            {name: rows[first.full] for name, rows in by_place.items()},
            titles,
            first.options.train_length,
            chance,
            out / "positions.png",
        )
        curves = {task.task: _of_able(task, task.curves) for task in tasks}
        drawn = [name for name in first.full if all(name in set(curve["rope"]) for curve in curves.values())]
        posgen_figures.draw_validation(curves, titles, drawn, out / "validation.png")


def seed_accuracies(task: ScoredTask, quantity: str) -> pd.DataFrame:
    """A quantity by seed (rows) and rope (columns, in their order); ropes without this quantity are left out."""
    if quantity == "ood_less_id":
        return seed_accuracies(task, "ood_accuracy") - seed_accuracies(task, "id_accuracy")
    columns = {
        name: {row.seed: row.value for row in task.scores.select(rope=name, quantity=quantity)}
        for name in task.about["ropes"]
    }
    return pd.DataFrame({name: values for name, values in columns.items() if values})


def _counted(task: ScoredTask, values: pd.DataFrame) -> pd.DataFrame:
    """The same by seed and rope, without the models that have not learned the task."""
    return values.apply(lambda column: column.where(column.index.isin(task.able(str(column.name)))))


def _of_able(task: ScoredTask, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the models that count; of a rope of which none does, all."""
    able = {name: task.able(name) or list(task.competence(name)) for name in task.about["ropes"]}
    return rows[[seed in able[rope] for rope, seed in zip(rows["rope"], rows["seed"], strict=True)]]


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

    Models that have not learned a task do not count; where none has, mean and deviation are those of all, and there is
    no difference. Comparisons of one quantity, of all tasks and ropes together, are corrected for their number by Holm.

    Returns:
        One row each, with ``models``, of which ``seeds`` count, ``mean`` and ``sd``, and for all but the first rope
        ``against``, the ``pairs`` of which both count, ``difference``, ``low``, ``high``, the probability ``chance`` of
        so large a one if there were none, the smallest ``visible`` one (seen with 80 % power after the correction) and
        ``better``: yes, no, or open.
    """
    table = pd.DataFrame(
        [row for quantity in QUANTITIES for task in tasks for row in _rows_of(task, quantity, confidence)]
    )
    for _, rows in table.groupby("quantity"):
        known = rows.dropna(subset="chance")
        fall = holm(known["chance"].to_list(), 1 - confidence)
        for (index, row), falls in zip(known.iterrows(), fall, strict=True):
            table.loc[index, "better"] = ("yes" if row["difference"] > 0 else "no") if falls else "open"
            found = Evidence(
                row["difference"], row["low"], row["high"], confidence=confidence, freedom=row["pairs"] - 1
            )
            table.loc[index, "visible"] = detectable(found, len(known))
    return table


def _rows_of(task: ScoredTask, quantity: str, confidence: float) -> Iterator[dict[str, Any]]:
    """Rows of one task and quantity, each comparison by itself."""
    every = seed_accuracies(task, quantity)
    counted = _counted(task, every)
    for name in every.columns.astype(str):
        known = counted[name].dropna()
        values = every[name] if known.empty else known
        row: dict[str, Any] = {"task": task.task, "rope": name, "weights": task.weights(name), "quantity": quantity}
        row |= {"models": len(every), "seeds": len(known), "mean": values.mean(), "sd": values.std()}
        row |= {"against": None, "pairs": 0, "difference": math.nan, "low": math.nan, "high": math.nan}
        row |= {"chance": math.nan, "visible": math.nan, "better": None}
        other = counterpart(task, name)
        if other is not None and other in every:
            pairs = (counted[name] - counted[other]).dropna()
            found = student(pairs.to_numpy(), confidence=confidence)
            row |= {"against": other, "pairs": len(pairs)}
            row |= {"difference": found.mean, "low": found.low, "high": found.high}
            if len(pairs) > 1:
                one = _evidence(row, confidence)
                row["chance"] = min(1.0, 2 * min(outside(one, above(0)), outside(one, below(0))))
        yield row


def _evidence(row: Mapping[Any, Any] | pd.Series, confidence: float) -> Evidence:
    return Evidence(row["difference"], row["low"], row["high"], confidence=confidence, freedom=row["pairs"] - 1)


def feature_gaps(task: ScoredTask) -> pd.DataFrame:
    """Feature gap by rope and pair, and its sum over all and over the pre-critical pairs of the rope of training."""
    rows = {}
    for name in task.about["ropes"]:
        trained = task.rope(task.weights(name))
        gap = feature_gap(task.rope(name), task.options.train_length, task.options.test_length, trained=trained)
        critical = trained.at(task.options.train_length).wavelengths <= task.options.train_length
        sums = {"pre-critical pairs": critical.sum(), "sum over them": gap[critical].sum(), "sum over all": gap.sum()}
        rows[name] = sums | {f"pair {i}": value for i, value in enumerate(gap)}
    return pd.DataFrame(rows).T.astype({"pre-critical pairs": int})


def gap_correlation(task: ScoredTask, gaps: pd.DataFrame, *, confidence: float = CONFIDENCE) -> Interval:
    """Spearman's rank correlation, over readings, of the gap in pre-critical pairs and the accuracy beyond training.

    Of each seed whose models have all learned the task, over the readings that keep it within the training length: a
    rope that breaks a model there fails for another reason than new angles. Mean and interval are over those seeds, so
    that they hold for these ropes, not for any.
    """
    beyond = _counted(task, seed_accuracies(task, "ood_accuracy")).dropna()
    within = seed_accuracies(task, "id_accuracy").loc[beyond.index, beyond.columns].to_numpy()
    gap = gaps.loc[beyond.columns, "sum over them"].to_numpy()
    pairs = [(row[kept >= NEEDED], gap[kept >= NEEDED]) for row, kept in zip(beyond.to_numpy(), within, strict=True)]
    return student([spearmanr(one, other).statistic for one, other in pairs], confidence=confidence)


@dataclass(frozen=True, kw_only=True)
class PosGenSetting(ReportSetting):
    """At what scale models learned a rule; see :class:`ropewalk.posgen.options.PosGenOptions`."""

    stage: str = "posgen"
    parameters: int
    """weights of a model"""
    layers: int
    hidden_size: int
    heads: int
    head_dim: int
    base: float
    precritical_pairs: int
    """pairs that the plain table turns once or more within the training length"""
    train_feed_forward: bool
    steps: int
    batch_size: int
    modulus: int
    train_length: int
    test_length: int
    seeds: int
    competence: str = COMPETENCE
    competence_needed: float = NEEDED
    ropes: tuple[dict[str, Any], ...]
    """each ``rope``, its ``recipe``, and whether it was ``swapped`` into models that were trained with another"""


def _scores(
    tasks: Sequence[ScoredTask], table: pd.DataFrame, gaps: pd.DataFrame, confidence: float, experiment: str
) -> Scores:
    """The table, of the models that count, and each model's values, which have a seed, of all.

    Accuracies are shares, losses nats a token.
    """
    first, options = tasks[0], tasks[0].options
    sizes = ("parameters", "layers", "hidden_size", "heads", "head_dim", "base", "train_feed_forward")
    copied = (*sizes, "steps", "batch_size", "modulus", "train_length", "test_length")
    setting = PosGenSetting(
        experiment=experiment,
        confidence=confidence,
        **{name: getattr(options, name) for name in copied},
        precritical_pairs=critical_pairs(default_rope(options.head_dim, options.base, options.train_length)),
        seeds=len(options.seeds),
        ropes=tuple(
            {"rope": name, "recipe": first.rope(name).recipe, "swapped": first.weights(name) != name}
            for name in first.about["ropes"]
        ),
    )
    rows: list[Score] = []
    for row in table.to_dict("records"):
        names = {"task": row["task"], "rope": row["rope"]}
        # Where none counts, the mean is one of models that have not learned; the number of seeds says so.
        rows += number_rows(row["quantity"], row["mean"], n_seeds=row["seeds"], **names)
        rows += number_rows(f"{row['quantity']}_sd", row["sd"], n_seeds=row["seeds"], **names)
        if pd.notna(row["against"]):
            difference = f"{row['quantity']}_difference"
            ends = {"seeds": (row["low"], row["high"])}
            about = {"against": row["against"], "confidence": confidence, "n_seeds": row["pairs"], **names}
            rows += number_rows(difference, row["difference"], intervals=ends, **about)
    for task in tasks:
        for quantity in QUANTITIES:
            for name, column in seed_accuracies(task, quantity).to_dict().items():
                for seed, value in column.items():
                    rows += number_rows(quantity, value, task=task.task, rope=str(name), seed=int(seed))
        for name in task.about["ropes"]:
            for seed, value in task.competence(name).items():
                rows += number_rows("competence", value, task=task.task, rope=name, seed=seed)
        for point in task.curves.to_dict("records"):
            names = {key: point[key] for key in ("rope", "seed")}
            rows += number_rows("validation_loss", point["loss"], task=task.task, steps=point["step"], **names)
        found = gap_correlation(task, gaps, confidence=confidence)
        ends = {"seeds": (found.low, found.high)}
        about = {"task": task.task, "confidence": confidence, "n_seeds": found.count}
        rows += number_rows("gap_correlation", found.mean, intervals=ends, **about)
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
        confidence=confidence,
        needed=NEEDED,
        verdicts=_verdicts(first, table),
        learned=[_learned(task) for task in tasks],
        comparisons=int(table[table["quantity"] == "ood_accuracy"]["chance"].notna().sum()),
        tables=tables,
    )


def _verdicts(first: ScoredTask, table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Each rope, what it is compared with, and on which tasks it is better, worse and neither."""
    part = table[(table["quantity"] == "ood_accuracy") & table["rope"].isin(first.full)].dropna(subset="against")
    words = {
        "yes": "better",
        "no": "worse",
        "open": "undecided",
        None: "not compared, too few models having learned it,",
    }
    found = []
    for name, rows in part.groupby("rope", sort=False):
        verdicts = [row if isinstance(row, str) else None for row in rows["better"]]
        said = []
        for verdict, word in words.items():
            where = [TASKS[task].lower() for task, own in zip(rows["task"], verdicts, strict=True) if own == verdict]
            said += [f"{word} on {', '.join(where)}"] if where else []
        found.append((str(name), str(rows["against"].iloc[0]), "; ".join(said)))
    return found


def _learned(task: ScoredTask) -> str:
    """How many models of each rope of training have learned a task, and how far those below it came."""
    trained = [name for name in task.about["ropes"] if task.weights(name) == name]
    each = ", ".join(f"{len(task.able(name))} of {len(task.competence(name))} with {name}" for name in trained)
    reached = [value for name in trained for value in task.competence(name).values()]
    return (
        f"{TASKS[task.task].lower()}: {each} (in-range accuracy {100 * min(reached):.1f} to {100 * max(reached):.1f} %)"
    )


def _name(first: ScoredTask, name: str) -> str:
    weights = first.weights(name)
    return name if weights == name else f"{name}\nin models trained with {weights}"


def _cell(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Mean, deviation, how many models count, and the paired difference with its verdict."""
    deviation = f" ± {100 * row['sd']:.1f}" if pd.notna(row["sd"]) else ""
    counted = "" if row["seeds"] == row["models"] else f" ({row['seeds']} of {row['models']})"
    mean = f"{100 * row['mean']:.1f}{deviation}{counted}"
    if pd.isna(row["difference"]):
        return mean, ""
    difference, low, high = (100 * row[key] for key in ("difference", "low", "high"))
    interval = f" [{low:+.1f}, {high:+.1f}]" if pd.notna(low) else ""
    visible = f"; visible from {100 * row['visible']:.1f}" if row["visible"] > 0 else ""
    return f"{mean}\n{difference:+.1f}{interval} vs {row['against']}{visible}", str(row["better"])


def _published(tasks: Sequence[ScoredTask]) -> list[list[str]]:
    places = [list(TASKS).index(task.task) for task in tasks]
    return [
        [f"\npublished: {name}", *(f"\n{values[place]:.2f}" for place in places)] for name, values in PUBLISHED.items()
    ]


def _gap_html(tasks: Sequence[ScoredTask], gaps: pd.DataFrame, confidence: float) -> str:
    pairs = [column for column in gaps.columns.astype(str) if column.startswith("pair ")]
    return render(
        "posgen_gap",
        "PosGen: feature gap",
        options=tasks[0].options,
        confidence=confidence,
        correlations=[
            (TASKS[task.task].lower(), found)
            for task in tasks
            if (found := gap_correlation(task, gaps, confidence=confidence)).count > 1
        ],
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

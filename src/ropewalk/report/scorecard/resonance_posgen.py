"""The claims of Resonance RoPE (arXiv 2403.00071) about PosGen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from ropewalk.posgen.data import make_data
from ropewalk.posgen.options import PosGenOptions
from ropewalk.report.posgen_published import PUBLISHED, PUBLISHED_VARIANCES, TASKS
from ropewalk.report.scorecard.claim import (
    ANY,
    COMPUTED,
    Claim,
    Competence,
    Evidence,
    Experiment,
    above,
    below,
    between,
    equal,
)
from ropewalk.report.scorecard.reading import cases, evidence, named, over_seeds, row_of
from ropewalk.report.scorecard.resonance import RECIPES
from ropewalk.report.scorecard.verdict import FEWEST_SEEDS
from ropewalk.rope import Rope, default_rope
from ropewalk.rope.diagnostics import feature_gap
from ropewalk.rope.pairs import resonance
from ropewalk.rope.ramps import yarn_written
from ropewalk.rope.theory import critical_pairs
from ropewalk.scores import Score

TOY = default_rope(64, 10_000.0, 64)
"""The geometry of PosGen: trained at 64 tokens, tested at 256."""
TEST_LENGTH = 256

PAPER_SIZE = {
    "layers": 2,
    "hidden_size": 512,
    "train_feed_forward": True,
    "modulus": 17,
    "train_length": 64,
    "test_length": 256,
    "steps": 11_850,
    "batch_size": 128,
}
POSGEN_SCALE = "2 layers of width 512, all trained, modulus 17, 64 to 256 tokens, 11,850 steps of 128 sequences"
WAYS = {"trained": "trained with YaRN, as the paper says", "swapped": "YaRN swapped in, as the released code does"}
"""How YaRN comes in; which of the two made table 1 is not known."""


def _precritical_gap(rope: Rope) -> float:
    """Sum of the feature gap over the pairs that turned once in training, as the plain table has them."""
    gap = feature_gap(rope, TOY.original_length, TEST_LENGTH)
    return float(gap[TOY.wavelengths <= TOY.original_length].sum())


def _yarn_gap() -> list[Evidence]:
    yarn = yarn_written(TOY, factor=4, beta=2, mixing="wavelength")
    return [Evidence.exact(_precritical_gap(resonance(yarn)) - _precritical_gap(yarn))]


def _starts_in_training() -> list[Evidence]:
    data = make_data("recursive", PosGenOptions(starts="cycled"))
    return [Evidence.exact(data.info["test_in_train"] / len(data.test), "the released generator")]


@dataclass(frozen=True)
class _Pair:
    """Two readings of a task, or one, at the seeds of which all models have learned it.

    Attributes:
        names: of the readings.
        seeds: that count; all, where fewer than two do.
        counted: how many count of how many, in words.
        competence: the least that was reached at these seeds.
    """

    names: tuple[str, ...]
    seeds: list[int]
    counted: str
    competence: Competence

    @classmethod
    def of(cls, experiment: Experiment, task: str, wanted: Sequence[tuple[str, bool]]) -> _Pair | None:
        """From recipes and whether they were swapped in; None where one of them was not read on this task."""
        found = [named(experiment, RECIPES[name], swapped=swapped)[:1] for name, swapped in wanted]
        names = tuple(name for one in found for name in one)
        each = [_by_seed(experiment, quantity="competence", task=task, rope=name) for name in names]
        if len(names) < len(wanted) or not all(each):
            return None
        reached = {seed: min(one[seed].value or 0.0 for one in each) for seed in each[0]}
        needed = experiment.setting["competence_needed"]
        able = [seed for seed, value in reached.items() if value >= needed]
        seeds = able if len(able) >= FEWEST_SEEDS else list(reached)
        competence = Competence(experiment.setting["competence"], min(reached[seed] for seed in seeds), needed)
        return cls(names, seeds, f"{len(able)} of {len(reached)} seeds count", competence)

    def rows(self, experiment: Experiment, **columns: Any) -> list[dict[int, Score]]:
        """Of each reading the rows of its seeds."""
        found = [_by_seed(experiment, rope=name, **columns) for name in self.names]
        return [{seed: rows[seed] for seed in self.seeds} for rows in found]


def _by_seed(experiment: Experiment, **columns: Any) -> dict[int, Score]:
    return {row.seed: row for row in experiment.scores.select(**columns) if row.seed is not None}


def _gain(task: str, one: str, other: str, way: str = "") -> Callable[[Experiment], list[Evidence]]:
    """Accuracy beyond the training length of a rope less that of another, in points, paired by seed."""

    def measure(experiment: Experiment) -> list[Evidence]:
        wanted = [(name, way == "swapped" and "YaRN" in name) for name in (one, other)]
        pair = _Pair.of(experiment, task, wanted)
        if pair is None:
            return []
        first, second = pair.rows(experiment, quantity="ood_accuracy", task=task)
        where = f"{pair.names[0]} less {pair.names[1]}; {pair.counted}"
        return [over_seeds(experiment, first, second, where, 100.0, pair.competence)]

    return measure


def _loss(task: str, other: str) -> Callable[[Experiment], list[Evidence]]:
    """Validation loss of Resonance RoPE less that of another rope, in nats a token, at every validation."""

    def measure(experiment: Experiment) -> list[Evidence]:
        pair = _Pair.of(experiment, task, [("Resonance RoPE", False), (other, False)])
        if pair is None:
            return []
        losses = {"quantity": "validation_loss", "task": task}
        found = []
        for steps in sorted({row.steps for row in experiment.scores.select(**losses) if row.steps is not None}):
            first, second = pair.rows(experiment, steps=steps, **losses)
            where = f"{pair.names[0]} less {pair.names[1]}, step {steps:,}; {pair.counted}"
            found.append(over_seeds(experiment, first, second, where, 1.0, pair.competence))
        return found

    return measure


def _spread(task: str) -> Callable[[Experiment], list[Evidence]]:
    """How Resonance RoPE's deviation over seeds compares with RoPE's, as the logarithm of their ratio.

    With the interval of Pitman ("A Note on Normal Correlation", Biometrika 31, 1939) for paired values.
    """

    def measure(experiment: Experiment) -> list[Evidence]:
        pair = _Pair.of(experiment, task, [("Resonance RoPE", False), ("RoPE", False)])
        if pair is None:
            return []
        rows = pair.rows(experiment, quantity="ood_accuracy", task=task)
        first, second = (np.array([row.value for row in one.values()], dtype=np.float64) for one in rows)
        if not (first.std() and second.std()):
            return []
        confidence, freedom = experiment.setting["confidence"], len(first) - 2
        value, half = math.log(first.std() / second.std()), math.nan
        if freedom > 0:
            t = stdtrit(freedom, (1 - confidence) / 2)
            shared = np.corrcoef(first, second)[0, 1] ** 2
            half = math.acosh(1 + 2 * (1 - shared) * t**2 / freedom) / 2
        return [
            Evidence(
                value,
                value - half,
                value + half,
                f"{pair.names[0]} over {pair.names[1]}; {pair.counted}",
                confidence=confidence,
                over="seeds",
                freedom=freedom,
                n_seeds=len(first),
                competence=pair.competence,
            )
        ]

    return measure


def _cell(task: str, name: str, way: str) -> Callable[[Experiment], list[Evidence]]:
    """The accuracy of a rope on a task, at the paper's size only."""

    def measure(experiment: Experiment) -> list[Evidence]:
        if any(experiment.setting[key] != value for key, value in PAPER_SIZE.items()):
            return []
        one = _Pair.of(experiment, task, [(name, way == "swapped")])
        if one is None:
            return []
        (values,) = one.rows(experiment, quantity="ood_accuracy", task=task)
        return [over_seeds(experiment, values, None, f"{one.names[0]}; {one.counted}", 100.0, one.competence)]

    return measure


def _gap_correlation(experiment: Experiment) -> list[Evidence]:
    return [
        evidence(experiment, case, TASKS[str(row_of(case).task)].lower())
        for case in cases(experiment, quantity="gap_correlation")
    ]


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


def _claims() -> list[Claim]:
    claims = [
        Claim(
            "resonance/zero-gap",
            "theorem 1",
            "With whole wavelengths, pairs that turned once in training meet no new angle beyond it.",
            "sum of their feature gaps, head dimension 64, 64 to 256 tokens (chord)",
            between(0, 1e-6),
            "computed",
            COMPUTED,
            None,
            lambda: [Evidence.exact(_precritical_gap(resonance(TOY)))],
        ),
        Claim(
            "resonance/gap-without",
            "section 4, figure 1",
            "Plain RoPE does meet new angles in those pairs.",
            "sum of their feature gaps, head dimension 64, 64 to 256 tokens (chord)",
            above(1e-3),
            "computed",
            COMPUTED,
            None,
            lambda: [Evidence.exact(_precritical_gap(TOY))],
        ),
        Claim(
            "resonance/gap-of-yarn",
            "section 4",
            "Rounding after YaRN's scaling narrows the gap in those pairs.",
            "sum of their feature gaps, Resonance YaRN less YaRN, factor 4, ramp from 1 to 2 turns (chord)",
            below(0),
            "computed",
            COMPUTED,
            None,
            _yarn_gap,
        ),
        Claim(
            "resonance/posgen-pairs",
            "appendix C.1",
            "In PosGen's models 17 of 32 pairs turn once within the 64 tokens of training.",
            "pairs, head dimension 64, base 10,000",
            equal(17),
            "computed",
            COMPUTED,
            None,
            lambda: [Evidence.exact(critical_pairs(TOY))],
        ),
        Claim(
            "resonance/splits-differ",
            "section 6.1",
            "No test sequence of PosGen begins like a training sequence; asked of the released generator, since which "
            "code made table 1 is not known.",
            "share of test sequences that do",
            equal(0),
            "computed",
            COMPUTED,
            None,
            _starts_in_training,
        ),
    ]
    points = dict(zip(TASKS, zip(*PUBLISHED.values(), strict=True), strict=True))
    published = {task: dict(zip(PUBLISHED, values, strict=True)) for task, values in points.items()}
    gains = {task: row["Resonance RoPE"] - row["RoPE"] for task, row in published.items()}
    margin = round(gains["chain-of-thought"], 2)
    for task, title in TASKS.items():
        where = f"On {title.lower()},"
        if task == "recursive":
            sentence = f"Resonance RoPE gains or loses less than it gains on chain of thought, {margin} points."
            region, effect = between(-margin, margin), margin - abs(gains[task])
        else:
            sentence = "Resonance RoPE is more accurate than RoPE beyond the training length."
            region, effect = above(0), gains[task]
        claims.append(
            Claim(
                f"resonance/posgen-{task}",
                "table 1",
                f"{where} {sentence}",
                "accuracy beyond the training length, Resonance RoPE less RoPE (points)",
                region,
                "measured",
                ANY,
                "posgen",
                _gain(task, "Resonance RoPE", "RoPE"),
                round(effect, 2),
            )
        )
        for way, words in WAYS.items():
            for one, other in (("YaRN", "RoPE"), ("Resonance YaRN", "YaRN")):
                claims.append(
                    Claim(
                        f"resonance/posgen-{task}-{_slug(one)}-{way}",
                        "table 1",
                        f"{where} {one} is more accurate than {other} beyond the training length; {words}.",
                        f"accuracy beyond the training length, {one} less {other} (points)",
                        above(0),
                        "measured",
                        ANY,
                        "posgen",
                        _gain(task, one, other, way),
                        round(published[task][one] - published[task][other], 2),
                    )
                )
        claims.append(
            Claim(
                f"resonance/posgen-{task}-loss",
                "figure 3",
                f"{where} Resonance RoPE has a lower validation loss than RoPE throughout training.",
                "validation loss at every validation, Resonance RoPE less RoPE (nats a token)",
                below(0),
                "measured",
                ANY,
                "posgen",
                _loss(task, "RoPE"),
            )
        )
        before, after = (PUBLISHED_VARIANCES[name][list(TASKS).index(task)] for name in ("RoPE", "Resonance RoPE"))
        if after < before:
            claims.append(
                Claim(
                    f"resonance/posgen-{task}-steadier",
                    "table 1",
                    f"{where} the accuracy of Resonance RoPE beyond the training length varies less over seeds "
                    "than RoPE's.",
                    "logarithm of the ratio of deviations over seeds, Resonance RoPE over RoPE",
                    below(0),
                    "measured",
                    ANY,
                    "posgen",
                    _spread(task),
                    round(math.log(before / after) / 2, 3),
                )
            )
    claims += [
        Claim(
            "resonance/posgen-semi-recursive-loss-below-yarn",
            "figure 3",
            "On semi-recursive, Resonance RoPE alone has a lower validation loss than YaRN throughout training.",
            "validation loss at every validation, Resonance RoPE less YaRN (nats a token)",
            below(0),
            "measured",
            ANY,
            "posgen",
            _loss("semi-recursive", "YaRN"),
        ),
        Claim(
            "resonance/gap-predicts",
            "sections 3.2 and 4",
            "The smaller a rope's feature gap in pairs that turned once in training, the more accurate models are "
            "beyond it.",
            "rank correlation (Spearman) of that gap and the accuracy beyond the training length, over ropes that keep "
            "what was learned within it",
            below(0),
            "measured",
            ANY,
            "posgen",
            _gap_correlation,
        ),
    ]
    for name, row in PUBLISHED.items():
        for (task, title), value in zip(TASKS.items(), row, strict=True):
            for way, words in WAYS.items() if "YaRN" in name else [("", "")]:
                claims.append(
                    Claim(
                        "-".join(filter(None, ("resonance/table-1", _slug(name), task, way))),
                        "table 1",
                        f"{name} has {value:.2f} % beyond the training length on {title.lower()}"
                        f"{f'; {words}' if words else ''}.",
                        "accuracy (percent), within ten points",
                        between(value - 10, value + 10),
                        "measured",
                        POSGEN_SCALE,
                        "posgen",
                        _cell(task, name, way),
                    )
                )
    return claims


CLAIMS = _claims()

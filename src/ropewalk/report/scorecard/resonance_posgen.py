"""The claims of Resonance RoPE (arXiv 2403.00071) about PosGen."""

from __future__ import annotations

from collections.abc import Callable

from ropewalk.posgen.data import make_data
from ropewalk.posgen.options import PosGenOptions
from ropewalk.report.posgen import PUBLISHED, TASKS
from ropewalk.report.scorecard.claim import ANY, COMPUTED, Claim, Evidence, Experiment, above, below, between, equal
from ropewalk.report.scorecard.reading import named, over_seeds
from ropewalk.report.scorecard.resonance import RECIPES
from ropewalk.rope import Rope, default_rope
from ropewalk.rope import methods as m
from ropewalk.rope.diagnostics import feature_gap
from ropewalk.rope.theory import critical_pairs
from ropewalk.scores import Score

TOY = default_rope(64, 10_000.0, 64)
"""The geometry of PosGen: trained at 64 tokens, tested at 256."""
TEST_LENGTH = 256

POSGEN_SCALE = "2 layers of width 512, modulus 17, 64 to 256 tokens, 11,850 steps"


def _precritical_gap(rope: Rope) -> float:
    """Sum of the feature gap over the pairs that turned once in training, as the plain table has them."""
    gap = feature_gap(rope, TOY.original_length, TEST_LENGTH)
    return float(gap[TOY.wavelengths <= TOY.original_length].sum())


def _yarn_gap() -> list[Evidence]:
    yarn = m.yarn_written(TOY, factor=4, beta=2, mixing="wavelength")
    return [Evidence.exact(_precritical_gap(m.resonance(yarn)) - _precritical_gap(yarn))]


def _starts_in_training() -> list[Evidence]:
    data = make_data("recursive", PosGenOptions(starts="cycled"))
    return [Evidence.exact(data.info["test_in_train"] / len(data.test), "the released generator")]


def _posgen(
    task: str, one: str, other: str, *, swapped: tuple[bool, bool] = (False, False), quantity: str = "ood_accuracy"
) -> Callable[[Experiment], list[Evidence]]:
    """The difference of two ropes on a task, paired by seed; accuracies in points."""

    def measure(experiment: Experiment) -> list[Evidence]:
        unit = 100.0 if quantity.endswith("accuracy") else 1.0
        pair = [_posgen_rope(experiment, name, when) for name, when in zip((one, other), swapped, strict=True)]
        first, second = (_by_seed(experiment, task, name, quantity) for name in pair)
        if not first or not second:
            return []
        return [over_seeds(experiment, first, second, f"{pair[0]} less {pair[1]}", unit)]

    return measure


def _posgen_rope(experiment: Experiment, name: str, swapped: bool) -> str | None:
    return next(iter(named(experiment, RECIPES[name], swapped=swapped)), None)


def _by_seed(experiment: Experiment, task: str, rope: str | None, quantity: str) -> dict[int, Score]:
    """What a rope reached on a task by seed; nothing where there is no such rope, or it was not measured."""
    rows = experiment.scores.select(task=task, rope=rope, quantity=quantity) if rope is not None else ()
    return {row.seed: row for row in rows if row.seed is not None}


def _cell(task: str, name: str) -> Callable[[Experiment], list[Evidence]]:
    """The accuracy of a rope on a task, at the paper's scale only."""

    def measure(experiment: Experiment) -> list[Evidence]:
        wanted = {"hidden_size": 512, "modulus": 17, "train_length": 64, "test_length": 256}
        rope = _posgen_rope(experiment, name, False)
        fits = all(experiment.setting[key] == value for key, value in wanted.items())
        values = _by_seed(experiment, task, rope, "ood_accuracy")
        if not fits or experiment.setting["steps"] < 11_850 or not values:
            return []
        return [over_seeds(experiment, values, None, str(rope), 100.0)]

    return measure


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
            lambda: [Evidence.exact(_precritical_gap(m.resonance(TOY)))],
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
            "No test sequence of PosGen begins like a training sequence.",
            "share of test sequences that do",
            equal(0),
            "computed",
            COMPUTED,
            None,
            _starts_in_training,
        ),
    ]
    for task, title in TASKS.items():
        lower = task == "recursive"
        claims.append(
            Claim(
                f"resonance/posgen-{task}",
                "table 1",
                f"On {title.lower()}, Resonance RoPE is {'less' if lower else 'more'} accurate than RoPE beyond the "
                "training length.",
                "accuracy beyond the training length (points)",
                below(0) if lower else above(0),
                "measured",
                ANY,
                "posgen",
                _posgen(task, "Resonance RoPE", "RoPE"),
            )
        )
        for swapped, words in ((False, "trained with it, as the paper says"), (True, "swapped in, as its code does")):
            for one, other, both in (("YaRN", "RoPE", False), ("Resonance YaRN", "YaRN", True)):
                claims.append(
                    Claim(
                        f"resonance/posgen-{task}-{_slug(one)}-{'swapped' if swapped else 'trained'}",
                        "table 1",
                        f"On {title.lower()}, {one} is more accurate than {other} beyond the training length; {words}.",
                        "accuracy beyond the training length (points)",
                        above(0),
                        "measured",
                        ANY,
                        "posgen",
                        _posgen(task, one, other, swapped=(swapped, swapped and both)),
                    )
                )
        claims.append(
            Claim(
                f"resonance/posgen-{task}-loss",
                "figure 3",
                f"On {title.lower()}, Resonance RoPE ends with a lower validation loss than RoPE.",
                "validation loss at the end (nats)",
                below(0),
                "measured",
                ANY,
                "posgen",
                _posgen(task, "Resonance RoPE", "RoPE", quantity="validation_loss"),
            )
        )
    claims.append(
        Claim(
            "resonance/posgen-semi-recursive-loss-below-yarn",
            "figure 3",
            "On semi-recursive, Resonance RoPE alone ends with a lower validation loss than YaRN.",
            "validation loss at the end (nats)",
            below(0),
            "measured",
            ANY,
            "posgen",
            _posgen("semi-recursive", "Resonance RoPE", "YaRN", quantity="validation_loss"),
        )
    )
    for name, row in PUBLISHED.items():
        for (task, title), value in zip(TASKS.items(), row, strict=True):
            claims.append(
                Claim(
                    f"resonance/table-1-{_slug(name)}-{task}",
                    "table 1",
                    f"{name} has {value:.2f} % beyond the training length on {title.lower()}.",
                    "accuracy (percent), within ten points",
                    between(value - 10, value + 10),
                    "measured",
                    POSGEN_SCALE,
                    "posgen",
                    _cell(task, name),
                )
            )
    return claims


CLAIMS = _claims()

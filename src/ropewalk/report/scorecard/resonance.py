"""The claims of Resonance RoPE (arXiv 2403.00071)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from ropewalk.options import CONFIDENCE
from ropewalk.reading.leval.comparison import AVERAGE
from ropewalk.report.scorecard.claim import (
    ANY,
    COMPUTED,
    PRINT,
    Claim,
    Competence,
    Evidence,
    Experiment,
    above,
    below,
    between,
)
from ropewalk.report.scorecard.reading import cases, evidence, named, number, row_of
from ropewalk.rope import default_rope
from ropewalk.rope.diagnostics import wavelength_lcm
from ropewalk.rope.pairs import resonance
from ropewalk.rope.theory import critical_pairs

LLAMA2 = default_rope(128, 10_000.0, 4096)
RECIPES = {
    "RoPE": ("default",),
    "Resonance RoPE": ("resonance",),
    "YaRN": ("yarn", "yarn_written"),
    "Resonance YaRN": ("yarn+resonance", "yarn_written+resonance"),
}
LEVAL_SCALE = "a model that answers L-Eval's own questions better than chance"

LEVAL_ITEMS = (172, 100, 202, 269, 90, 128)
"""Questions of Coursera, GSM, QuALITY, TOEFL, CodeU and SFiction, from the steps that the scores of table 2 come in."""
LEVAL_PUBLISHED = {
    "7B, 50 steps of 32K": (
        (36.05, 19.00, 33.17, 50.56, 4.44, 56.25),
        (36.48, 22.00, 34.16, 55.76, 0.00, 57.03),
    ),
    "7B, 400 steps of 4K": (
        (35.03, 24.00, 37.62, 57.62, 4.44, 60.94),
        (36.34, 27.00, 40.59, 56.51, 3.33, 61.72),
    ),
    "13B, 100 steps of 16K": (
        (38.08, 39.00, 43.07, 65.43, 0.00, 63.28),
        (38.66, 39.00, 43.56, 65.06, 1.11, 62.50),
    ),
    "13B, 400 steps of 4K": (
        (41.72, 34.00, 41.09, 66.91, 2.22, 48.44),
        (41.86, 35.00, 42.57, 65.80, 5.56, 48.44),
    ),
}
"""Scores of YaRN and of Resonance YaRN in percent: table 2."""


def _integer_distance() -> list[Evidence]:
    waves = resonance(LLAMA2).wavelengths
    return [Evidence.exact(np.abs(waves - np.round(waves)).max())]


UNTUNED_NTK = {"7B": (36.77, 3.00, 26.73, 34.20, 1.11, 50.78), "13B": (40.26, 21.00, 38.12, 65.43, 1.11, 46.88)}
"""Scores of NTK scaling without tuning in percent: table 2."""


def _gain_in_print(before: Sequence[float], after: Sequence[float], where: str) -> Evidence:
    """What an average gained, with the sampling error of answers that are not paired.

    Answers to the same questions would be paired, which no table prints; where both models tend to be right on the same
    ones, the true error is smaller.
    """
    items = np.array(LEVAL_ITEMS)
    # Two more answers of each kind, or a task without a right one would have no error (Agresti and Coull, 1998).
    shares = [(np.array(scores) / 100 * items + 2) / (items + 4) for scores in (before, after)]
    errors = [np.sqrt((p * (1 - p) / (items + 4)).sum()) / len(items) for p in shares]
    gain, half = float(np.mean(after) - np.mean(before)), 100 * float(stdtrit(np.inf, 0.975)) * math.hypot(*errors)
    about: dict[str, Any] = {"confidence": CONFIDENCE, "over": "questions", "freedom": math.inf}
    return Evidence(gain, gain - half, gain + half, where, **about)


def _leval_gain(setting: str) -> Callable[[], list[Evidence]]:
    return lambda: [_gain_in_print(*LEVAL_PUBLISHED[setting], "as of answers that are not paired")]


def _above_untuned_ntk() -> list[Evidence]:
    return [
        _gain_in_print(UNTUNED_NTK[setting.split(",")[0]], yarn, setting)
        for setting, (yarn, _) in LEVAL_PUBLISHED.items()
    ]


def _short_above_long(size: str) -> Callable[[], list[Evidence]]:
    """YaRN and Resonance YaRN, each tuned on short texts less tuned on long ones."""

    def measure() -> list[Evidence]:
        long, short = (scores for setting, scores in LEVAL_PUBLISHED.items() if setting.startswith(f"{size},"))
        return [
            _gain_in_print(before, after, f"{size}, {name}")
            for name, before, after in zip(("YaRN", "Resonance YaRN"), long, short, strict=True)
        ]

    return measure


def _tuned(
    experiment: Experiment,
    quantity: str,
    name: str,
    against: Sequence[str | None] = (None,),
    *,
    shortest: int = 0,
    longest: int | None = None,
) -> list[Evidence]:
    """A number of every tuned model of a recipe at all lengths of some, those for which its rope was made at most."""
    longest = experiment.setting["target_length"] if longest is None else longest
    regimes = dict.fromkeys(row.regime for row in experiment.scores.rows if row.regime is not None)
    return [
        evidence(experiment, case, f"{regime}, {row_of(case).length:,} tokens", _able(experiment, regime))
        for regime in regimes
        for rope in named(experiment, RECIPES[name])
        for other in against
        for case in cases(experiment, quantity=quantity, regime=regime, rope=rope, against=other)
        if shortest <= (row_of(case).length or 0) <= longest
    ]


def _able(experiment: Experiment, regime: str) -> Competence:
    """Whether the models of a regime use their context at all."""
    value = number(experiment, quantity="competence", regime=regime)
    return Competence(experiment.setting["competence"], value, experiment.setting["competence_needed"])


def _against_yarn(experiment: Experiment) -> list[Evidence]:
    reference = experiment.setting["reference"]
    if reference not in named(experiment, RECIPES["YaRN"]):
        return []
    return _tuned(experiment, "difference", "Resonance YaRN", [reference])


def _against_untuned(recipes: Sequence[str], *, beyond: bool = False) -> Callable[[Experiment], list[Evidence]]:
    """Resonance YaRN tuned, less other ropes untuned; where ``beyond``, above the training length alone."""

    def measure(experiment: Experiment) -> list[Evidence]:
        others = named(experiment, recipes)
        shortest = experiment.setting["train_length"] + 1 if beyond else 0
        return _tuned(experiment, "difference_from_untuned", "Resonance YaRN", others, shortest=shortest)

    return measure


def _gain(experiment: Experiment) -> list[Evidence]:
    target = experiment.setting["target_length"]
    return _tuned(experiment, "gain", "YaRN", shortest=target, longest=target)


def _leval_pairs(experiment: Experiment, kind: str) -> list[Evidence]:
    if experiment.setting["pocket"]:
        return []
    tuned = [one for one in experiment.setting["models"] if one["tuned_at"]]
    able = {one["model"]: _above_guessing(experiment, one["model"]) for one in tuned}
    found = []
    for one in tuned:
        for other in tuned:
            if kind == "resonance":
                fits = one["recipe"] == f"{other['recipe']}+resonance" and one["tuned_at"] == other["tuned_at"]
            else:
                fits = one["recipe"] == other["recipe"] and one["tuned_at"] < other["tuned_at"]
            pair = {"model": one["model"], "against": other["model"]}
            for case in (
                cases(experiment, quantity="difference", task=AVERAGE, scoring="parity", **pair) if fits else ()
            ):
                weaker = min(able[one["model"]], able[other["model"]], key=lambda known: known.value)
                found.append(evidence(experiment, case, f"{one['model']} less {other['model']}", weaker))
    return found


def _above_guessing(experiment: Experiment, model: str) -> Competence:
    row = experiment.scores.one(quantity="competence", model=model)
    value = -math.inf if row is None or row.value is None else row.value
    return Competence(experiment.setting["competence"], value, experiment.setting["competence_needed"])


def _claims() -> list[Claim]:
    claims = [
        Claim(
            "resonance/whole-wavelengths",
            "section 4, algorithm 1",
            "Resonance makes every wavelength a whole number of tokens.",
            "largest distance of a wavelength from a whole number, LLaMA-2's table (tokens)",
            between(0, 1e-9),
            "computed",
            COMPUTED,
            None,
            _integer_distance,
        ),
        Claim(
            "resonance/most-pairs",
            "section 4",
            "More than half of LLaMA-2's pairs turn once or more within the training length.",
            "share of pairs, head dimension 128, 4,096 tokens",
            above(0.5),
            "computed",
            COMPUTED,
            None,
            lambda: [Evidence.exact(critical_pairs(LLAMA2) / 64)],
        ),
        Claim(
            "resonance/no-common-period",
            "section 4",
            "All these pairs together repeat only after more than 7e51 tokens.",
            "least common multiple of their wavelengths (1e51 tokens)",
            above(7),
            "computed",
            COMPUTED,
            None,
            lambda: [Evidence.exact(wavelength_lcm(resonance(LLAMA2)) / 10**51)],
        ),
        Claim(
            "resonance/perplexity-below-yarn",
            "figure 4",
            "Tuned alike, Resonance YaRN has a lower perplexity than YaRN at every length.",
            "NLL, Resonance YaRN less YaRN (nats a token)",
            below(0),
            "measured",
            ANY,
            "finetune",
            _against_yarn,
        ),
        Claim(
            "resonance/perplexity-below-dynamic-ntk",
            "figure 4",
            "Tuned, Resonance YaRN has a lower perplexity than untuned dynamic NTK at every length beyond that of "
            "training, up to which dynamic NTK changes nothing.",
            "NLL, Resonance YaRN less dynamic NTK (nats a token)",
            below(0),
            "measured",
            ANY,
            "finetune",
            _against_untuned(["dynamic_ntk"], beyond=True),
        ),
        Claim(
            "resonance/perplexity-below-ntk",
            "figure 4",
            "Tuned, Resonance YaRN has a lower perplexity than untuned NTK scaling at every length.",
            "NLL, Resonance YaRN less NTK (nats a token)",
            below(0),
            "measured",
            ANY,
            "finetune",
            _against_untuned(["ntk"]),
        ),
        Claim(
            "resonance/tuning-gains",
            "section 6.2",
            "Fine-tuning with YaRN lowers the perplexity at the target length.",
            "NLL, tuned less untuned (nats a token)",
            below(0),
            "measured",
            ANY,
            "finetune",
            _gain,
        ),
    ]
    for setting in LEVAL_PUBLISHED:
        claims.append(
            Claim(
                f"resonance/table-2-{setting.split(',')[0].lower()}-{setting.split()[-1].lower()}",
                "table 2",
                f"{setting}: Resonance YaRN has a higher average in L-Eval than YaRN.",
                "gain in the published average against its own sampling error (points)",
                above(0),
                "recomputed from print",
                PRINT,
                None,
                _leval_gain(setting),
            )
        )
    claims += [
        Claim(
            "resonance/table-2-above-ntk",
            "table 2",
            "Tuned with YaRN, a model has a higher average in L-Eval than with untuned NTK scaling.",
            "gain in the published average against its own sampling error (points)",
            above(0),
            "recomputed from print",
            PRINT,
            None,
            _above_untuned_ntk,
        ),
        Claim(
            "resonance/table-2-7b-short-steps",
            "table 2",
            "7B: many steps on short texts give a higher average in L-Eval than few on long ones.",
            "published average, tuned short less tuned long, against its own sampling error (points)",
            above(0),
            "recomputed from print",
            PRINT,
            None,
            _short_above_long("7B"),
        ),
        Claim(
            "resonance/table-2-13b-long-steps",
            "table 2",
            "13B: the other way round, fewer steps on long texts give the higher average.",
            "published average, tuned short less tuned long, against its own sampling error (points)",
            below(0),
            "recomputed from print",
            PRINT,
            None,
            _short_above_long("13B"),
        ),
        Claim(
            "resonance/leval-above-yarn",
            "table 2",
            "Tuned alike, Resonance YaRN has a higher average in L-Eval than YaRN.",
            "average, Resonance YaRN less YaRN (points)",
            above(0),
            "measured",
            LEVAL_SCALE,
            "leval",
            lambda experiment: _leval_pairs(experiment, "resonance"),
        ),
        Claim(
            "resonance/leval-short-steps",
            "table 2, 7B",
            "Many steps on short texts give a higher average in L-Eval than few on long ones.",
            "average, tuned short less tuned long (points)",
            above(0),
            "measured",
            LEVAL_SCALE,
            "leval",
            lambda experiment: _leval_pairs(experiment, "short"),
        ),
    ]
    return claims


CLAIMS = _claims()

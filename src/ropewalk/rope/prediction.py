"""Everything that the published laws say about one model, its new base and its tuning length, in one value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import ValueFault
from ropewalk.rope import theory
from ropewalk.rope.rope import as_integer, as_number, inverse_frequencies
from ropewalk.rope.theory import Regime

REQUIRED_PERIODS = (1.0, 3.0, 10.0)
"""Turns that count as trained: the scaling law's, about what LongRoPE2 (arXiv 2502.20082) measured, and where its
search starts."""

BOUNDS = ("similarity", "aliasing", "stability")
"""Those of :func:`limits` that speak of the base alone: what it cannot do, not where a model breaks."""

# Limits of two neighbouring pairs that are further apart than this leave much open.
_APART = 1.3
# 1 / machine epsilon of float32, the ceiling that RoPE as phase modulation (arXiv 2602.10959) puts on a base.
_FLOAT32_CEILING = 2.0**23


@dataclass(frozen=True)
class Setting:
    """A model and what is to be done to it.

    Attributes:
        rotary_dim: d, rotated dimensions of a head.
        base: b, the base of pre-training.
        train_length: L, the length of pre-training in tokens.
        tune_length: T, the length of tuning in tokens; at least L.
        new_base: b', the base of tuning.
    """

    rotary_dim: int
    base: float
    train_length: int
    tune_length: int
    new_base: float

    def __post_init__(self) -> None:
        as_integer("train_length", self.train_length, at_least=1)
        as_integer("tune_length", self.tune_length, at_least=1)
        as_number("base", self.base)
        as_number("new_base", self.new_base)
        # These check the rest.
        theory.wall(self.rotary_dim, self.base, self.train_length, self.new_base)
        theory.regime(self.base, self.train_length, self.new_base, self.tune_length)

    @classmethod
    def of(
        cls,
        rotary_dim: int,
        base: float,
        train_length: int,
        tune_length: int | None = None,
        new_base: float | None = None,
    ) -> Setting:
        """The setting in which what is not given stays as it was in pre-training."""
        tuned = train_length if tune_length is None else tune_length
        return cls(rotary_dim, base, train_length, tuned, base if new_base is None else new_base)

    @property
    def regime(self) -> Regime:
        return theory.regime(self.base, self.train_length, self.new_base, self.tune_length)

    @property
    def critical_dimension(self) -> int:
        return theory.critical_dimension(self.rotary_dim, self.base, self.train_length)

    @property
    def critical_base(self) -> float:
        return theory.critical_base(self.base, self.train_length, self.tune_length)

    def wall(self, **options: Any) -> float:
        """:func:`ropewalk.rope.theory.wall` of this setting."""
        return theory.wall(self.rotary_dim, self.base, self.train_length, self.new_base, **options)


def limits(setting: Setting) -> dict[str, float | None]:
    """Return by law how far the model is predicted to read, in tokens; None where a law names no limit.

    The laws of walls speak of bases above the critical one only; up to it they say the tuning length, and for a soft
    decay nothing. The others speak of the base alone, whatever the tuning; similarity is looked for up to
    ``theory.SIMILARITY_MOST`` tokens, and None where it does not end there.
    """

    def walled(limit: float) -> float | None:
        match setting.regime:
            case "hard wall":
                # Just above the critical base readings fall short of what was trained, and that is not lost.
                return _finite(max(limit, setting.tune_length))
            case "middle":
                return float(setting.tune_length)
            case "soft":
                return None

    return {
        **{law: walled(limit) for law, limit in walls(setting).items()},
        "similarity": _finite(theory.similarity_length(setting.rotary_dim, setting.new_base)),
        "aliasing": theory.aliasing_length(setting.new_base),
        "stability": theory.stability_length(setting.new_base),
    }


def walls(setting: Setting) -> dict[str, float]:
    """Each law of walls as its formula has it, whatever the regime; infinite where pre-training covered every pair."""
    band = math.inf
    if _band(setting) <= setting.rotary_dim // 2 - 1:
        band = theory.band_limit(setting.base, setting.train_length, setting.new_base)
    return {
        "discrete": setting.wall(),
        "continuous": setting.wall(reading="continuous"),
        "last covered pair": setting.wall(reading="last covered pair"),
        **{f"{r:g} periods": setting.wall(periods=r) for r in REQUIRED_PERIODS[1:]},
        "frequency band": band,
    }


def _band(setting: Setting) -> float:
    """Which pair the frequency band is; beyond d/2 - 1 where every pair turns further than it."""
    return theory.critical_index(setting.rotary_dim, setting.base, setting.train_length, theory.BAND_ANGLE)


def predict(setting: Setting, target_length: int | None = None) -> dict[str, Any]:
    """Return what the laws say about ``setting``, as JSON would hold it: lengths and periods in tokens.

    Args:
        setting: the model, its new base and its tuning.
        target_length: a wanted length in tokens, for the bases that reach it.

    Raises:
        UserError: the target is shorter than the pre-training length.
    """
    d, base, trained = setting.rotary_dim, setting.base, setting.train_length
    by_law = limits(setting)
    periods = [float(2 * math.pi / f) for f in inverse_frequencies(d, base)]
    new_periods = [float(2 * math.pi / f) for f in inverse_frequencies(d, setting.new_base)]
    critical = setting.critical_dimension
    result: dict[str, Any] = {
        "head_dim": d,
        "base": base,
        "train_length": trained,
        "tune_length": setting.tune_length,
        "new_base": setting.new_base,
        "critical_dimension": critical,
        "critical_dimension_tuned": theory.critical_dimension(d, setting.new_base, setting.tune_length),
        "critical_base": setting.critical_base,
        "regime": setting.regime,
        "limit": by_law["discrete"],
        "limit_continuous": by_law["continuous"],
        "limits": by_law,
        "small_base_thresholds": {
            "printed": list(theory.small_base_thresholds(setting.tune_length)),
            "exact": [_finite(b) for b in theory.small_base_thresholds(setting.tune_length, d)],
        },
        "required_periods": {
            f"{r:g}": {"critical_dimension": theory.critical_dimension(d, base, trained, r)} for r in REQUIRED_PERIODS
        },
        "frequency_band": {"pair": _band(setting)},
        "slowest_pair_drift": theory.drift(d, setting.new_base, setting.tune_length),
        "periods": periods,
        "new_periods": new_periods,
    }
    if target_length is not None:
        if target_length < trained:
            raise ValueFault(
                "target_length", f"is {target_length}; expected at least the pre-training length, {trained} tokens."
            )
        result["target"] = {
            "length": target_length,
            "base_discrete": theory.base_for_length(d, base, trained, target_length) if 0 < critical < d else None,
            "base_continuous": theory.critical_base(base, trained, target_length),
            "base_similarity_fit": theory.similarity_base(target_length),
        }
    return result | {"notes": _notes(setting, target_length), "warnings": _warnings(setting, target_length)}


def _notes(setting: Setting, target_length: int | None) -> list[str]:
    """Where the laws disagree with themselves or with each other about this setting, in words."""
    d, tuned, new = setting.rotary_dim, setting.tune_length, setting.new_base
    notes = []
    discrete, continuous = setting.wall(), setting.wall(reading="continuous")
    if setting.regime == "hard wall" and math.isfinite(discrete):
        notes.append(
            f"The law's exponent is rounded up to whole pairs, its critical base is not: the limit is {discrete:,.0f} "
            f"by the one and {continuous:,.0f} by the other, {100 * (discrete / continuous - 1):.0f} % apart."
        )
    if setting.regime == "hard wall":
        notes.append(
            "The law of walls is about fine-tuning from a smaller base. A model trained from nothing with a large base "
            "fails soon after its training length all the same (Frequency Bands in RoPE)."
        )
        short = [f"{law} {limit:,.0f}" for law, limit in walls(setting).items() if limit < tuned]
        if short:
            notes.append(
                f"A model does not lose what it was tuned on: limits below the tuning length are held at {tuned:,}. By "
                f"the formulas: {', '.join(short)}."
            )
    if setting.regime == "middle":
        rounded = f"; with rounding to whole pairs a wall at {discrete:,.0f} would come out for this base"
        notes.append(
            f"Up to the critical base {setting.critical_base:,.0f} the law says the tuning length and no "
            f"more{rounded if tuned < discrete < math.inf else ''}."
        )
    if setting.regime == "soft":
        notes.append(
            "For small bases the law names no limit: perplexity rises slowly from the tuning length on, the slower the "
            "smaller the base. How far it can be used is a question of how much it may rise."
        )
    printed, exact = theory.small_base_thresholds(tuned), theory.small_base_thresholds(tuned, d)
    notes.append(
        "The small-base thresholds as printed speak of a pair that no head has; the slowest real pair gives larger "
        f"ones, {exact[0]:,.0f} in the place of {printed[0]:,.0f} for the first."
    )
    if setting.regime == "middle" and new <= exact[0]:
        notes.append(
            f"Base {new:,.10g} lies between the two: in the middle by the printed threshold, which decides here, and a "
            "small one with a soft decay by the exact one."
        )
    similarity = theory.similarity_length(d, new)
    reached = limits(setting)["discrete"]
    if similarity is None:
        notes.append(
            f"Similar keys are preferred at every distance that was looked at, up to {theory.SIMILARITY_MOST:,} tokens "
            "(Men et al.): similarity names no limit."
        )
    elif similarity < (reached or tuned):
        before = f"the {reached:,.0f} of the scaling law" if reached else f"the tuning length, {tuned:,}"
        notes.append(
            f"Low perplexity is not use of the context: at base {new:,.10g} a query stops preferring similar keys at a "
            f"distance of {similarity:,} tokens (Men et al.), before {before}."
        )
    turn = theory.drift(d, new, tuned)
    if turn > math.pi / 2:
        notes.append(
            f"The slowest pair turns by {turn:.2f} rad within the tuning length, more than pi/2: no pair is left whose "
            "meaning does not depend on the position (Round and Round We Go)."
        )
    raw = theory.critical_index(d, new, tuned)
    if raw > d / 2:
        notes.append(
            f"The critical dimension after tuning comes out as {2 * math.ceil(raw)}, more than the head has; it is "
            f"held at {d}: every pair turns fully."
        )
    elif theory.critical_dimension(d, new, tuned) == d:
        notes.append(
            f"That every pair turns fully after tuning is by rounding {raw:.3f} up to {d // 2}: base {new:,.10g} lies "
            f"above the printed threshold for it, {printed[2]:,.1f}, and below the exact one, {exact[2]:,.1f}."
        )
    if target_length is not None:
        notes.append(
            "The two bases for the wanted length are the two inverses of one law in use: the discrete one is smaller, "
            "for the same coverage of whole pairs."
        )
    return notes


def _warnings(setting: Setting, target_length: int | None) -> list[str]:
    """Where a formula is asked outside its premises."""
    d, base, trained, new = setting.rotary_dim, setting.base, setting.train_length, setting.new_base
    warnings = []
    critical = setting.critical_dimension
    if critical == d:
        warnings.append(
            f"Pre-training at {trained:,} tokens turned every pair fully, the slowest in "
            f"{2 * math.pi * base ** (1 - 2 / d):,.0f}: the law of walls has nothing to say, and no wall is predicted."
        )
    if critical == 0:
        warnings.append(f"No pair turns within {trained} tokens: the law assumes that most of them do.")
    if base <= theory.small_base_thresholds(trained)[0] and new > base:
        warnings.append(
            f"The base of pre-training, {base:,.10g}, is itself a small one for {trained:,} tokens; the law was stated "
            "and tested for tuning from a large one."
        )
    upper, lower = setting.wall(), setting.wall(reading="last covered pair")
    if setting.regime == "hard wall" and math.isfinite(upper) and upper > _APART * lower:
        warnings.append(
            f"With {d // 2} pairs, neighbours lie far apart: the limit is {upper:,.0f} by the first pair that was not "
            f"covered and {lower:,.0f} by the last that was, and rounding decides between them."
        )
    if new > _FLOAT32_CEILING:
        warnings.append(
            f"Above a base of {_FLOAT32_CEILING:,.0f} the slowest pair turns by less a token than float32 resolves."
        )
    if target_length is not None and d != 128:
        warnings.append("The fit of the similarity bound was made for heads of 128 dimensions.")
    return warnings


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)

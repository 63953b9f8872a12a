"""A claim of a paper, what was measured of it, and the verdict that follows from both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ropewalk.intervals import Interval
from ropewalk.scores import Scores

Verdict = Literal["reproduced", "not reproduced", "undecided", "not tried"]
Stage = Literal["posgen", "scaling", "search", "finetune", "leval"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "not reproduced", "undecided", "not tried")


@dataclass(frozen=True)
class Region:
    """The values of a quantity for which a claim holds, its ends included unless they are ``strict``."""

    low: float
    high: float
    strict: bool = False

    def holds(self, evidence: Evidence) -> bool:
        """Whether the whole interval lies inside."""
        if self.strict:
            return evidence.low > self.low and evidence.high < self.high
        return evidence.low >= self.low and evidence.high <= self.high

    def fails(self, evidence: Evidence) -> bool:
        """Whether the whole interval lies outside, on one side."""
        if self.strict:
            return evidence.high <= self.low or evidence.low >= self.high
        return evidence.high < self.low or evidence.low > self.high

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"above {short(self.low)}"
        if math.isinf(self.low):
            return f"{'below' if self.strict else 'up to'} {short(self.high)}"
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        if half <= 0.02 * abs(middle):
            return short(middle) if half == 0 else f"{short(middle)} ± {half:.2g}"
        return f"{short(self.low)} to {short(self.high)}"


def short(value: float) -> str:
    """A number with four digits that mean something, or whole."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def above(value: float) -> Region:
    return Region(value, math.inf, strict=True)


def below(value: float) -> Region:
    return Region(-math.inf, value, strict=True)


def between(low: float, high: float) -> Region:
    return Region(low, high)


def equal(value: float, tolerance: float = 0.0) -> Region:
    return Region(value - tolerance, value + tolerance)


@dataclass(frozen=True)
class Evidence:
    """One measurement of a claim's quantity.

    Attributes:
        value: in the unit of the quantity.
        low: lower end of its interval, equal to ``value`` where it was computed; nan where nothing is decided.
        high: upper end.
        where: which of several cases this is, in words.
        key: the name of its row in the scores file; empty where it was computed.
    """

    value: float
    low: float
    high: float
    where: str = ""
    key: str = ""

    def __str__(self) -> str:
        if self.low == self.value == self.high:
            interval = ""
        elif math.isnan(self.low):
            interval = ", no interval"
        else:
            interval = f" [{short(self.low)}, {short(self.high)}]"
        return f"{short(self.value)}{interval}{f', {self.where}' if self.where else ''}"

    @classmethod
    def exact(cls, value: float, where: str = "") -> Evidence:
        """A number that is computed, not measured."""
        return cls(float(value), float(value), float(value), where)

    @classmethod
    def of(cls, interval: Interval, where: str = "", key: str = "", unit: float = 1.0) -> Evidence:
        """A mean with its interval, multiplied by ``unit``; without bounds where there were too few values."""
        enough = interval.count >= interval.fewest
        low, high = (interval.low, interval.high) if enough else (math.nan, math.nan)
        return cls(unit * interval.mean, unit * low, unit * high, where, key)

    def less(self, value: float) -> Evidence:
        """The difference from a number that has no interval."""
        return replace(self, value=self.value - value, low=self.low - value, high=self.high - value)

    def over(self, value: float) -> Evidence:
        """The ratio to a number above zero that has no interval."""
        return replace(self, value=self.value / value, low=self.low / value, high=self.high / value)


@dataclass(frozen=True)
class Experiment:
    """What a stage of a study left behind: the scores of its report.

    Attributes:
        study: name of the study.
        file: where they lie, below the folder of the study.
        scores: what it holds.
    """

    study: str
    file: str
    scores: Scores

    @property
    def setting(self) -> Mapping[str, Any]:
        return self.scores.setting

    @property
    def report(self) -> str:
        """KIND/NAME of the folder of its report."""
        return "/".join(self.file.split("/")[-3:-1])

    @property
    def stage(self) -> str:
        return str(self.setting["stage"])

    @property
    def name(self) -> str:
        return str(self.setting["experiment"])

    @property
    def scale(self) -> str:
        """At which scale this was tried, in words."""
        return _SCALES[self.stage].format_map({name: _plain(value) for name, value in self.setting.items()})


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else "an unknown number of" if value is None else str(value)


_SCALES = {
    "posgen": "{layers} layers of width {hidden_size}, modulus {modulus}, {steps} steps, {train_length} to "
    "{test_length} tokens, {seeds} seeds",
    "scaling": "head dimension {rotary_dim}, trained at {train_length} tokens, read to {longest}, {documents} "
    "documents",
    "search": "trained at {train_length} tokens, {documents} documents",
    "finetune": "trained at {train_length} tokens, tuned for {target_length}, {documents} documents, {seeds} seeds",
    "leval": "trained at {train_length} tokens, {tasks} tasks",
}


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper that can be right or wrong.

    Attributes:
        id: short and stable, PAPER/NAME.
        section: of the paper.
        sentence: the claim in our words.
        quantity: the number that decides, with its unit.
        region: where the number must lie for the claim to hold. Where the claim is about several cases, in all.
        scale: what it takes to try.
        stage: whose scores hold the number; None where it is computed, or where no stage measures it.
        measure: from an experiment of that stage, or from nothing, the number of each case; none where this experiment
            did not try.
    """

    id: str
    section: str
    sentence: str
    quantity: str
    region: Region
    scale: str
    stage: Stage | None
    measure: Callable[..., Sequence[Evidence]]

    @property
    def paper(self) -> str:
        return self.id.split("/")[0]


COMPUTED = "no model: it is computed"
ANY = "its stage at any scale, as it is about a direction"
NO_STAGE = "a stage that measures it, of which there is none yet"


def never(*_: Any) -> Sequence[Evidence]:
    """The evidence of a claim that nothing here measures."""
    return []


@dataclass(frozen=True)
class Finding:
    """What one experiment says of a claim; or that none says anything.

    Attributes:
        claim: what was claimed.
        experiment: which was asked; None where it was computed or not tried.
        evidence: every case.
    """

    claim: Claim
    experiment: Experiment | None
    evidence: tuple[Evidence, ...]

    @property
    def verdict(self) -> Verdict:
        """Reproduced where every case holds; not reproduced where one surely does not."""
        region = self.claim.region
        if not self.evidence:
            return "not tried"
        if any(region.fails(one) for one in self.evidence):
            return "not reproduced"
        return "reproduced" if all(region.holds(one) for one in self.evidence) else "undecided"

    @property
    def decisive(self) -> Evidence | None:
        """The case that decides: the one that lies farthest on the wrong side, or least far inside."""
        region = self.claim.region
        by_value = sorted(self.evidence, key=lambda one: min(one.value - region.low, region.high - one.value))
        for wanted in (region.fails, lambda one: not region.holds(one)):
            if known := [one for one in by_value if wanted(one)]:
                return known[0]
        return by_value[0] if by_value else None

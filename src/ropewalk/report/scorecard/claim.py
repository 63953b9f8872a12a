"""A claim of a paper, and what was measured of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ropewalk.intervals import Interval
from ropewalk.scores import Scores

Stage = Literal["posgen", "scaling", "search", "causes", "finetune", "leval"]
Kind = Literal["computed", "recomputed from print", "measured"]
KINDS: tuple[Kind, ...] = ("measured", "recomputed from print", "computed")


@dataclass(frozen=True)
class Region:
    """The values of a quantity for which a claim holds, its ends included unless they are ``strict``."""

    low: float
    high: float
    strict: bool = False

    def has(self, value: float) -> bool:
        """Whether a number lies inside."""
        return self.low < value < self.high if self.strict else self.low <= value <= self.high

    def depth(self, value: float) -> float:
        """How far a number lies inside; below 0 outside."""
        return min(value - self.low, self.high - value)

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
class Competence:
    """What models must be able to do before a difference between them says anything.

    Attributes:
        what: was asked, in words.
        value: what was reached.
        needed: what counts as able.
    """

    what: str
    value: float
    needed: float

    @property
    def holds(self) -> bool:
        return self.value >= self.needed

    def __str__(self) -> str:
        return f"{self.what}: {short(self.value)}, at least {short(self.needed)} needed"


@dataclass(frozen=True)
class Evidence:
    """One measurement of a claim's quantity.

    Attributes:
        value: in the unit of the quantity.
        low: lower end of its interval, equal to ``value`` where it was computed; nan where nothing is decided.
        high: upper end.
        where: which of several cases this is, in words.
        key: the name of its row in the scores file; empty where it was computed.
        confidence: of the interval; None where the value was computed.
        over: what the interval is over, in words.
        freedom: degrees of freedom of Student's t behind the interval; None where they are not known.
        n_documents: documents behind it; None where none were read, so with the next two.
        n_seeds: seeds behind it; None where nothing was drawn.
        n_models: pre-trained models behind it.
        competence: of the models behind it; None where nothing is asked.
    """

    value: float
    low: float
    high: float
    where: str = ""
    key: str = ""
    confidence: float | None = None
    over: str = ""
    freedom: float | None = None
    n_documents: int | None = None
    n_seeds: int | None = None
    n_models: int | None = None
    competence: Competence | None = None

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
    def of(cls, interval: Interval, where: str = "", key: str = "", unit: float = 1.0, **about: Any) -> Evidence:
        """A mean with its interval, multiplied by ``unit``; without bounds where there were too few values."""
        enough = interval.count >= interval.fewest
        low, high = (interval.low, interval.high) if enough else (math.nan, math.nan)
        return cls(unit * interval.mean, unit * low, unit * high, where, key, **about)

    def less(self, value: float) -> Evidence:
        """The difference from a number that has no interval."""
        return replace(self, value=self.value - value, low=self.low - value, high=self.high - value)

    def per(self, value: float) -> Evidence:
        """The ratio to a number above zero that has no interval."""
        return replace(self, value=self.value / value, low=self.low / value, high=self.high / value)

    @property
    def repetitions(self) -> str:
        """What lies behind the number, in words."""
        counts = {"document": self.n_documents, "seed": self.n_seeds, "model": self.n_models}
        said = [f"{n:,} {what}{'s' if n != 1 else ''}" for what, n in counts.items() if n is not None]
        return ", ".join(said)


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
        words = _SCALES[self.stage].format_map({name: _plain(value) for name, value in self.setting.items()})
        return ", ".join(filter(None, (weights_text(self.setting.get("parameters")), words)))


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else "an unknown number of" if value is None else str(value)


def weights_text(parameters: int | None) -> str:
    """How large a model is, in words; nothing where it is not known."""
    if parameters is None:
        return ""
    for size, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if parameters >= size:
            return f"{parameters / size:.3g} {word} weights"
    return f"{parameters} weights"


_SCALES = {
    "posgen": "{layers} layers of width {hidden_size}, modulus {modulus}, {steps} steps, {train_length} to "
    "{test_length} tokens",
    "scaling": "head dimension {rotary_dim}, trained at {train_length} tokens, read to {longest}",
    "search": "trained at {train_length} tokens",
    "causes": "trained at {train_length} tokens",
    "finetune": "trained at {train_length} tokens, tuned for {target_length}",
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
        kind: how it is decided: from a formula, from numbers that the paper prints, or from models.
        scale: what it takes to try.
        stage: whose scores hold the number; None where no stage measures it.
        measure: from an experiment of that stage, or from nothing, the number of each case; none where this experiment
            did not try.
        effect: how far inside the region the paper's own number lies, in the unit of the quantity; None where it prints
            none.
    """

    id: str
    section: str
    sentence: str
    quantity: str
    region: Region
    kind: Kind
    scale: str
    stage: Stage | None
    measure: Callable[..., Sequence[Evidence]]
    effect: float | None = None

    @property
    def paper(self) -> str:
        return self.id.split("/")[0]


COMPUTED = "no model: it is computed"
PRINT = "no model: it is computed from what the paper prints"
ANY = "a model of any size, for its direction"
NO_STAGE = "a stage that measures it, of which there is none yet"


def never(*_: Any) -> Sequence[Evidence]:
    """The evidence of a claim that nothing here measures."""
    return []

"""Verdicts: from what was measured of every claim, with as few false ones as one of them would have alone.

Of each finding two things are asked: whether its number surely lies where the claim puts it, and whether it surely lies
outside. A claim about several cases holds where all do, so its worst case is asked; it fails where one does, and of
many one may do so by chance, so that one is corrected for their number (Bonferroni). Both sides together have one
probability; those of all measured findings of a study are held against Holm's bounds ("A Simple Sequentially Rejective
Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979). Were no claim of the study true or false by more
than nothing, the chance of any verdict would be 1 - confidence.

Probabilities beyond an interval's ends follow from it by Student's t, each side by its own half.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtr, stdtrit

from ropewalk.intervals import FEWEST_RESAMPLED
from ropewalk.report.scorecard.claim import Claim, Evidence, Experiment, Region, short, weights_text

Verdict = Literal["reproduced", "not reproduced", "undecided", "not visible", "no verdict", "not tried"]
VERDICTS: tuple[Verdict, ...] = (
    "reproduced",
    "not reproduced",
    "undecided",
    "not visible",
    "no verdict",
    "not tried",
)
POWER = 0.8
"""Probability with which an effect must be seen to count as visible."""
FEWEST_SEEDS = 2


@dataclass(frozen=True)
class Finding:
    """What one experiment says of a claim; or that none says anything.

    Attributes:
        claim: what was claimed.
        experiment: which was asked; None where it was computed or not tried.
        evidence: every case.
        verdict: what follows.
        why: what stands in the way of a verdict, or limits it; empty where nothing does.
        decisive: the case that decides.
        chance: probability of a number this far on its side by chance, over both sides and all cases; None where
            nothing is left to chance.
        family: findings that it was corrected for, itself among them.
        detectable: the smallest effect that would have been seen with a probability of 80 %, in the unit of the
            quantity; None where it is not known.
    """

    claim: Claim
    experiment: Experiment | None
    evidence: tuple[Evidence, ...]
    verdict: Verdict
    why: str = ""
    decisive: Evidence | None = None
    chance: float | None = None
    family: int | None = None
    detectable: float | None = None

    @property
    def scale(self) -> str:
        """What this is a test of, in words."""
        if self.experiment is None:
            return self.claim.scale
        weights = weights_text(self.experiment.setting.get("parameters"))
        return f"direction at {weights}; no test of the paper's size" if weights else self.experiment.scale

    @property
    def correction(self) -> str:
        """Among how many findings it stands, and what could have been seen, in words; nothing where it was computed."""
        if self.chance is None or self.family is None:
            return ""
        seen = "" if self.detectable is None else f"; smallest effect to be seen {short(self.detectable)}"
        return f"p = {self.chance:.2g}, one of {self.family} (Holm){seen}"


@dataclass(frozen=True)
class Tried:
    """What an experiment found of a claim, before it is judged."""

    claim: Claim
    experiment: Experiment | None
    evidence: tuple[Evidence, ...]

    @property
    def known(self) -> list[Evidence]:
        """The cases that may decide: of able models, with an interval."""
        return [one for one in self.evidence if not hindrance(one)]

    @property
    def holding(self) -> float:
        """Probability, were the claim false, of numbers that lie so far inside its region as these do."""
        if len(self.known) < len(self.evidence):
            return 1.0
        return max(outside(one, self.claim.region) for one in self.known)

    @property
    def failing(self) -> float:
        """Probability, were the claim true, of a number that lies so far outside its region as one of these does."""
        return min(1.0, len(self.known) * min(inside(one, self.claim.region) for one in self.known))

    @property
    def chance(self) -> float:
        """Of both sides together."""
        return min(1.0, 2 * min(self.holding, self.failing))


def hindrance(evidence: Evidence) -> str:
    """Why a number decides nothing; empty where it may."""
    if evidence.competence is not None and not evidence.competence.holds:
        return f"not able enough ({evidence.competence})"
    if evidence.n_seeds is not None and evidence.n_seeds < FEWEST_SEEDS:
        return f"{evidence.n_seeds} seed; {FEWEST_SEEDS} are the fewest that decide anything"
    if evidence.n_documents is not None and evidence.n_documents < FEWEST_RESAMPLED:
        return f"{evidence.n_documents} documents; {FEWEST_RESAMPLED} are the fewest that decide anything"
    if math.isnan(evidence.low) or math.isnan(evidence.high):
        return "no interval over all that varies"
    repeated = any(n is not None for n in (evidence.n_documents, evidence.n_seeds, evidence.n_models))
    if repeated and evidence.low == evidence.high:
        return "all repetitions gave the same number, which tells nothing of how it varies"
    return ""


def outside(evidence: Evidence, region: Region) -> float:
    """Probability, were the true number at the nearest end of a region, of one so far inside."""
    ends = []
    if math.isfinite(region.low):
        ends.append(_beyond(evidence, region.low, above=True))
    if math.isfinite(region.high):
        ends.append(_beyond(evidence, region.high, above=False))
    return max(ends, default=0.0)


def inside(evidence: Evidence, region: Region) -> float:
    """Probability, were the true number at an end of a region, of one so far outside."""
    ends = []
    if math.isfinite(region.low):
        ends.append(_beyond(evidence, region.low, above=False))
    if math.isfinite(region.high):
        ends.append(_beyond(evidence, region.high, above=True))
    return min(ends, default=1.0)


def _beyond(evidence: Evidence, end: float, *, above: bool) -> float:
    """Probability, were the true number at ``end``, of one so far above it; or below."""
    assert evidence.confidence is not None
    distance = evidence.value - end if above else end - evidence.value
    half = evidence.value - evidence.low if above else evidence.high - evidence.value
    if not math.isfinite(evidence.value) or not math.isfinite(half):
        # Of a number beyond all that was measured nothing is known but the nearer end of its interval.
        clear = evidence.low > end if above else evidence.high < end
        return (1 - evidence.confidence) / 2 if clear else 1.0
    if half <= 0:
        return 0.0 if distance > 0 else 1.0
    freedom = freedom_of(evidence)
    return float(stdtr(freedom, -distance / half * _times(freedom, 1 - evidence.confidence)))


def freedom_of(evidence: Evidence) -> float:
    """Degrees of freedom of an interval; where they are not known, those of the fewest that it is over."""
    if evidence.freedom is not None:
        return evidence.freedom
    counts = {"document": evidence.n_documents, "seed": evidence.n_seeds, "model": evidence.n_models}
    known = [n - 1 for what, n in counts.items() if n is not None and n > 1 and what in evidence.over]
    return float(min(known, default=30))


def _times(freedom: float, level: float) -> float:
    """How many standard errors an interval reaches to each side that is wrong with probability ``level``."""
    return float(-stdtrit(freedom, level / 2))


def detectable(evidence: Evidence, family: int) -> float | None:
    """The smallest distance from an end of the region that would be seen with a probability of 80 %.

    Args:
        evidence: its interval says how large its error is.
        family: findings among which it would be the first to pass Holm's bounds.
    """
    if evidence.confidence is None:
        return None
    freedom, level = freedom_of(evidence), 1 - evidence.confidence
    error = (evidence.high - evidence.low) / 2 / _times(freedom, level)
    found = (_times(freedom, level / family) + float(stdtrit(freedom, POWER))) * error
    return found if math.isfinite(found) else None


def holm(chances: Sequence[float], level: float) -> list[bool]:
    """Which hypotheses fall, so that none does wrongly but with probability ``level``."""
    order = sorted(range(len(chances)), key=lambda k: chances[k])
    fall = [False] * len(chances)
    for rank, k in enumerate(order):
        if chances[k] > level / (len(chances) - rank):
            break
        fall[k] = True
    return fall


def judge(found: Sequence[Tried]) -> list[Finding]:
    """A verdict on each; the measured ones of a study, and those from one paper's print, are corrected together."""
    families = [_family(one) for one in found]
    fall: dict[int, bool] = {}
    for family in set(families) - {None}:
        own = [k for k, name in enumerate(families) if name == family]
        # One confidence a study: that of its intervals.
        level = 1 - max(one.confidence or 0.0 for k in own for one in found[k].known)
        fall |= dict(zip(own, holm([found[k].chance for k in own], level), strict=True))
    sizes = Counter(families)
    return [
        _judged(one, sizes[name], fall.get(k, False)) for k, (one, name) in enumerate(zip(found, families, strict=True))
    ]


def _family(one: Tried) -> str | None:
    """What a finding is corrected with; None where it is computed or decides nothing."""
    if one.claim.kind == "computed" or not one.known:
        return None
    return one.experiment.study if one.experiment is not None else f"{one.claim.paper} in print"


def _judged(one: Tried, family: int, falls: bool) -> Finding:
    claim, region = one.claim, one.claim.region
    if not one.evidence:
        return Finding(claim, one.experiment, (), "not tried")
    by_depth = sorted(one.evidence, key=lambda case: region.depth(case.value))
    if claim.kind == "computed":
        holds = all(region.has(case.value) for case in one.evidence)
        return Finding(
            claim, one.experiment, one.evidence, "reproduced" if holds else "not reproduced", decisive=by_depth[0]
        )
    if not one.known:
        return Finding(claim, one.experiment, one.evidence, "no verdict", hindrance(by_depth[0]), decisive=by_depth[0])
    fails = falls and one.failing < one.holding
    worst = (
        min(one.known, key=lambda case: inside(case, region))
        if fails
        else max(one.known, key=lambda case: (outside(case, region), -region.depth(case.value)))
    )
    seen = detectable(worst, family)
    blind = claim.effect is not None and (seen is None or seen > claim.effect)
    left_out = len(one.evidence) - len(one.known)
    why = f"{left_out} of {len(one.evidence)} cases decide nothing: {hindrance(_hindered(one))}" if left_out else ""
    verdict: Verdict
    if falls and not fails:
        verdict = "reproduced"
    elif blind:
        assert claim.effect is not None
        verdict = "not visible"
        smallest = "nothing" if seen is None else f"nothing smaller than {short(seen)}"
        why = f"{smallest} could have been seen; the paper's effect is {short(claim.effect)}"
    else:
        verdict = "not reproduced" if fails else "undecided"
    return Finding(claim, one.experiment, one.evidence, verdict, why, worst, one.chance, family, seen)


def _hindered(one: Tried) -> Evidence:
    return next(case for case in one.evidence if hindrance(case))

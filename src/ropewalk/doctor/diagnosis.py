"""Which rope an engine applies, told from its log-probabilities and those of every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ropewalk.doctor.faults import FAULTS, RIGHT
from ropewalk.doctor.probes import LogProbs, Probe, distance

CEILING = 4.0
"""How many times the noise of bfloat16 an engine may be off the rope that it is said to apply."""
Verdict = Literal["applies", "fault", "cannot-be-told"]


@dataclass(frozen=True)
class Diagnosis:
    """What an engine applies.

    Attributes:
        verdict: ``applies`` it, a ``fault``, or ``cannot-be-told``.
        said: the verdict in words: what the engine does and what to do, or why it cannot be told.
        best: the hypothesis that fits best, ``right`` or the name of a fault.
        margin: by how many nats a token it fits better than the next.
        rivals: hypotheses that cannot be told from the best one.
        hidden: faults that would not show here, as they change less than the noise.
        noise: what bfloat16 alone changes, nats a token.
        distances: mean absolute difference to each hypothesis, nats a token, the nearest first.
        tokens: tokens of each prompt.
        original_length: of the rope, in tokens.
    """

    verdict: Verdict
    said: str
    best: str
    margin: float
    rivals: tuple[str, ...]
    hidden: tuple[str, ...]
    noise: float
    distances: Mapping[str, float]
    tokens: tuple[int, ...]
    original_length: int

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return asdict(self)


def diagnose(found: Sequence[LogProbs], probe: Probe) -> Diagnosis:
    """Say which hypothesis an engine's answers fit.

    Faults that lie closer to the right rope than the noise are set aside. The nearest of the others is the verdict if
    it is no further than :data:`CEILING` times the noise, and the others lie further from it than the noise and than
    the engine is off.

    Args:
        found: what the engine answers to each prompt, nats, shape (tokens - 1,).
        probe: what was asked.
    """
    expected, noise = probe.expected, probe.noise
    distances = {name: distance(found, answers) for name, answers in expected.items()}
    distances = dict(sorted(distances.items(), key=lambda item: item[1]))
    hidden = [n for n in distances if n != RIGHT and distance(expected[n], expected[RIGHT]) <= noise]
    best, *others = [name for name in distances if name not in hidden]
    least = max(noise, distances[best])
    rivals = [name for name in others if distance(expected[name], expected[best]) <= least]
    far = distances[best] > CEILING * noise
    verdict: Verdict = "cannot-be-told"
    if others and not far and RIGHT not in rivals and (best != RIGHT or not rivals):
        verdict = "applies" if best == RIGHT else "fault"
    return Diagnosis(
        verdict=verdict,
        said=_said(verdict, best, rivals, bool(others), distances[best] / noise),
        best=best,
        margin=distances[others[0]] - distances[best] if others else 0.0,
        rivals=tuple(rivals),
        hidden=tuple(hidden),
        noise=noise,
        distances=distances,
        tokens=tuple(len(prompt.tokens) for prompt in probe.prompts),
        original_length=probe.original_length,
    )


def _said(verdict: Verdict, best: str, rivals: Sequence[str], visible: bool, off: float) -> str:
    if verdict == "applies":
        return "Its log-probabilities are those of the right rope."
    if verdict == "fault":
        whats = " Or: it ".join(FAULTS[name].said + "." for name in (best, *rivals))
        return f"The engine {whats} {FAULTS[best].mend}"
    if not visible:
        return (
            "No wrong rope changes these log-probabilities by more than bfloat16 does: ask with a longer text "
            "(--length), or serve a model of `ropewalk doctor models`."
        )
    if off > CEILING:
        return (
            f"The nearest rope is {_called(best)}, but the engine is {off:.3g} times as far off it as bfloat16 alone "
            "would be: it serves another model or other weights (quantised ones are compared with themselves: a GGUF "
            "file as --model), or does what is not known here."
        )
    return (
        f"The engine fits {_called(best)} best, but {', '.join(map(_called, rivals))} would differ from it by no more "
        "than what the engine is off: ask with a longer text (--length), or serve a model of `ropewalk doctor models`."
    )


def _called(name: str) -> str:
    return "the right one" if name == RIGHT else f"the fault {name!r}"

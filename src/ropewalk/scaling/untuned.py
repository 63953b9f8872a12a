"""What the untuned models of a sweep do: whether they use their context, dynamic NTK, and which pairs fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ropewalk.errors import UserError
from ropewalk.reading.nll_file import read_nll
from ropewalk.rope import Rope
from ropewalk.rope.rope import FloatArray
from ropewalk.scaling.cells import Cell, Key, model_name
from ropewalk.scaling.estimates import Estimate, Run, differences, mean
from ropewalk.scaling.limits import Curves, nll_by_document
from ropewalk.scaling.measured import Measured, groups, losses
from ropewalk.scaling.options import SweepOptions

Divided = tuple[bool, ...]
"""For each pair, fastest first, whether its frequency was divided."""


@dataclass
class Untuned:
    """Readings of one untuned model.

    Attributes:
        own: with its own rope, and a window.
        dynamic: with dynamic NTK: NLL in nats by length of the pass (tokens), shape (documents, positions).
        pairs: with some pairs divided: NLL in nats by which, shape (documents, positions).
        divisor: of these pairs.
    """

    own: Curves | None = None
    dynamic: dict[int, FloatArray] = field(default_factory=dict)
    pairs: dict[Divided, FloatArray] = field(default_factory=dict)
    divisor: float = 1.0

    def context_use(self, train_length: int) -> float | None:
        """NLL of the first half of the length of pre-training less that of the second, in nats a token."""
        if self.own is None:
            return None
        half = train_length // 2
        by_position = self.own.full.mean(axis=0)
        return float(by_position[: half - 1].mean() - by_position[half - 1 : train_length - 1].mean())


def read_untuned(readings: Sequence[Path], cells: Sequence[Cell]) -> dict[str, Untuned]:
    """Readings of untuned models, by the name of the model.

    Args:
        readings: of kind nll, with the rope of pre-training, with dynamic NTK, or with some pairs divided (longrope).
        cells: of the same sweep.

    Raises:
        UserError: a rope is none of these, or the texts or the rotary table differ from those of the cells.
    """
    found: dict[str, Untuned] = {}
    first = cells[0]
    for folder in readings:
        rows, about = read_nll(folder / "nll.parquet")
        rope = Rope.from_json(about["rope"])
        one = found.setdefault(model_name(about["model"]), Untuned())
        methods = [step.method for step in rope.steps if step.method != "default"]
        if (rope.rotary_dim, rope.base, rope.original_length) != _table(first):
            raise UserError(f"{folder}: the rotary table is not that of the tuned models of the sweep.")
        if not methods:
            one.own = Curves.of(rows)
            known, documents = one.own.full, one.own.documents
        elif methods == ["dynamic_ntk"]:
            for length, part in rows.groupby("pass_length"):
                known, documents = nll_by_document(part)
                one.dynamic[int(str(length))] = known
        elif methods == ["longrope"]:
            known, documents = nll_by_document(rows)
            factors = np.array(rope.steps[-1].params["long_factor"])
            one.pairs[tuple(bool(factor > 1) for factor in factors)] = known
            one.divisor = float(factors.max())
        else:
            raise UserError(
                f"{folder}: {' and '.join(methods)}; expected the rope of pre-training, dynamic_ntk or longrope."
            )
        if documents != first.curves.documents or known.shape[1] != first.curves.full.shape[1]:
            raise UserError(f"{folder}: read on other texts than {first.name}; measure both alike.")
    return found


def _table(cell: Cell) -> tuple[int, float, int]:
    return cell.setting.rotary_dim, cell.setting.base, cell.setting.train_length


@dataclass(frozen=True)
class Dynamic:
    """A tuned base against its untuned model with dynamic NTK.

    Attributes:
        key: of the base.
        length: of the texts in tokens.
        difference: NLL of all tokens of the texts, tuned base less dynamic NTK (nats a token).
    """

    key: Key
    length: int
    difference: Estimate


def dynamic_effects(
    measured: Sequence[Measured], untuned: Mapping[str, Untuned], options: SweepOptions
) -> list[Dynamic]:
    """Every base against dynamic NTK at every length above that of pre-training at which it was read."""
    table = []
    for key, group in groups(measured).items():
        trained = next(iter(group.values())).cell.setting.train_length
        lengths = {length for one in untuned.values() for length in one.dynamic if length > trained}
        for length in sorted(lengths) if not key.log_scaling else ():
            rival = {
                run: untuned[run.model].dynamic[length].mean(axis=1)
                for run in group
                if run.model in untuned and length in untuned[run.model].dynamic
            }
            apart = differences(losses(group, 1, length), rival)
            if apart:
                table.append(Dynamic(key, length, mean(apart, options.confidence)))
    return table


@dataclass(frozen=True)
class Pairs:
    """What dividing some pairs of untuned models does beyond the length of pre-training.

    Attributes:
        what: ``from``: all pairs from ``start`` on are divided; ``before``: those before ``stop``; ``toggled``: the
            pairs from the critical one on are divided, and between ``start`` and ``stop`` it is the other way round.
        start: first pair.
        stop: the pair at which they end, excluded.
        cost: NLL beyond the length of pre-training against the same tokens with the last ones alone before them (nats
            a token); of ``toggled`` against the rope with all pairs from the critical one on divided.
    """

    what: str
    start: int
    stop: int
    cost: Estimate


@dataclass(frozen=True)
class Cause:
    """How much of what untuned models lose beyond their length is the work of which pairs.

    Attributes:
        critical: index of the first pair that pre-training did not turn fully.
        divisor: of the divided pairs.
        pairs: by which were divided.
        mended: share of what reading everything costs that dividing the pairs from the critical one on takes away, less
            the share that dividing those before it does; None where one of these was not read.
        beyond: the first of these shares.
        within: the second.
    """

    critical: int
    divisor: float
    pairs: tuple[Pairs, ...]
    mended: Estimate | None
    beyond: float | None
    within: float | None


def cause_of_failure(
    untuned: Mapping[str, Untuned], critical: int, train_length: int, options: SweepOptions
) -> Cause | None:
    """Which pairs fail beyond the length of pre-training, over documents and models; None where none were divided."""
    models = {Run(name, 0): one for name, one in untuned.items() if one.pairs and one.own is not None}
    if not models:
        return None
    count = len(next(iter(next(iter(models.values())).pairs)))
    step = tuple(k >= critical for k in range(count))
    kept = slice(train_length - 1, None)

    def cost(which: Divided) -> dict[Run, FloatArray]:
        found = {}
        for run, one in models.items():
            assert one.own is not None
            full = one.own.full if not any(which) else one.pairs.get(which)
            if full is not None:
                found[run] = (full - one.own.windowed)[:, kept].mean(axis=1)
        return found

    table = []
    for which in sorted({which for one in models.values() for which in one.pairs} | {(False,) * count}, reverse=True):
        for what, start, stop in _kinds(which, step):
            values = cost(which) if what != "toggled" else differences(cost(which), cost(step))
            if values:
                table.append(Pairs(what, start, stop, mean(values, options.confidence)))
    whole, beyond, within = cost((False,) * count), cost(step), cost(tuple(not divided for divided in step))
    runs = [run for run in whole if run in beyond and run in within]
    if not runs:
        return Cause(critical, _divisor(models), tuple(table), None, None, None)
    lost = float(np.mean([whole[run] for run in runs]))
    shares = [1 - float(np.mean([part[run] for run in runs])) / lost for part in (beyond, within)]
    # A document that loses little has no share of its own: each stands with its part of the ratio of means.
    share = shares[0] - shares[1]
    mended = {run: share + (within[run] - beyond[run] - share * whole[run]) / lost for run in runs}
    return Cause(critical, _divisor(models), tuple(table), mean(mended, options.confidence), *shares)


def _divisor(models: Mapping[Run, Untuned]) -> float:
    return next(iter(models.values())).divisor


def _kinds(which: Divided, step: Divided) -> Iterator[tuple[str, int, int]]:
    """What a choice of pairs is, with its first pair and its last, excluded."""
    count = len(which)
    divided = [k for k in range(count) if which[k]]
    if divided == list(range(count - len(divided), count)):
        yield "from", count - len(divided), count
    elif divided == list(range(len(divided))) and not any(a and b for a, b in zip(which, step, strict=True)):
        yield "before", 0, len(divided)
    other = [k for k in range(count) if which[k] != step[k]]
    if other and other == list(range(other[0], other[-1] + 1)) and _one_side(other, step):
        yield "toggled", other[0], other[-1] + 1


def _one_side(places: Sequence[int], step: Divided) -> bool:
    """Whether pairs all lie before the critical one, or all from it on."""
    return len({step[k] for k in places}) == 1

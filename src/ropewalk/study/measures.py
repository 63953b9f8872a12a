"""The report that holds perplexity, LongPPL and hidden facts of the same ropes side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ropewalk.errors import ConfigError
from ropewalk.study.config import MeasureRows
from ropewalk.study.readings import readings_named

if TYPE_CHECKING:
    from ropewalk.study.maker import Maker


def measures_report(maker: Maker, name: str, given: MeasureRows) -> None:
    """One report of readings that other experiments made.

    Raises:
        ConfigError: an experiment is missing or of another kind, or there is not one reading with a window shorter than
            what is reported.
    """
    key = f"measures.{name}"
    found: dict[str, list[str]] = {}
    for part, kind in (("nll", "nll"), ("keys", "nll"), ("facts", "needle")):
        named = getattr(given, part)
        if named is not None:
            readings_named(maker, named, kind, f"{key}.{part}")
            found[part] = maker.made[f"readings.{named}"]
    options = maker.study.readings[found["keys"][0]].options
    window = getattr(options, "window", None)
    if len(found["keys"]) != 1 or window is None:
        raise ConfigError(
            f"config key {f'{key}.keys'!r}: {given.keys!r} stands for {len(found['keys'])} readings with the window "
            f"{window}; expected one reading with a window."
        )
    if min(given.lengths, default=0) <= window:
        raise ConfigError(
            f"config key {f'{key}.lengths'!r} is {list(given.lengths)}; expected lengths beyond the window, {window}."
        )
    maker.report(
        "measures",
        name,
        {"lengths": list(given.lengths), "reference": given.reference},
        key,
        readings=tuple(dict.fromkeys(id_ for ids in found.values() for id_ in ids)),
    )

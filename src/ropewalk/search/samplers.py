"""The samplers by name, and which space each can search. Nothing here is slow to import: a configuration asks too."""

from __future__ import annotations

from ropewalk.errors import UserError

SAMPLERS: dict[str, str | None] = {
    "gp": None,
    "tpe": None,
    "cma": None,
    "sobol": None,
    "evolution": "pairs",
    "scan": "groups",
}
"""The one space of each sampler that has one."""


def check_sampler(sampler: str, space: str) -> None:
    """Raise ``UserError`` where a sampler is unknown or cannot search a space."""
    if sampler not in SAMPLERS:
        raise UserError(f"sampler {sampler!r}: expected one of {', '.join(SAMPLERS)}.")
    only = SAMPLERS[sampler]
    if only is not None and space != only:
        raise UserError(f"sampler {sampler!r} searches the space {only}, not {space}.")

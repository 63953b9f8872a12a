"""Lengthen the context of RoPE language models, and measure whether it worked.

    import ropewalk

    model = ropewalk.extend(model, "yarn", factor=4)     # patched, proved, saved by save_pretrained
    nll = ropewalk.read(model, tokens)                   # nats, every position, one pass
    ropewalk.predict(model.config, length=131_072)       # what the laws say

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ropewalk.api import extend, own_rope, predict, read
    from ropewalk.errors import UserError
    from ropewalk.rope import METHODS, Rope, apply

__all__ = ["METHODS", "Rope", "UserError", "apply", "extend", "own_rope", "predict", "read"]

_PLACES = {
    "METHODS": "rope",
    "Rope": "rope",
    "UserError": "errors",
    "apply": "rope",
    "extend": "api",
    "own_rope": "api",
    "predict": "api",
    "read": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'ropewalk' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"ropewalk.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

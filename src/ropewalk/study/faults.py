"""Faults of a configuration, and the keys that they are of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ropewalk.errors import ConfigError, UserError


@contextmanager
def at_key(key: str) -> Iterator[None]:
    """Name the key of a fault that does not name one."""
    try:
        yield
    except ConfigError:
        raise
    except UserError as error:
        raise ConfigError(f"config key {key!r}: {error}") from None

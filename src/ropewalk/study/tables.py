"""From a configuration to the tables of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ropewalk.options import validate
from ropewalk.study.config import Config
from ropewalk.study.maker import Maker
from ropewalk.study.rows import Study


def read_study(values: Mapping[str, Any]) -> Study:
    """Check a configuration and make the tables.

    Raises:
        UserError: one sentence for the first fault, which names key, value and what is allowed.
    """
    config: Config = validate(Config, values, "config")
    return Maker(config).make()

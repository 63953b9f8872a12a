"""Read a study from YAML files, as the workflow does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ropewalk.errors import UserError
from ropewalk.study.rows import Study
from ropewalk.study.tables import read_study


def read_files(files: Sequence[Path]) -> Study:
    """Read the study that several files make together; mappings of later files go into those of earlier ones.

    Raises:
        UserError: a file is missing or no YAML, or see :func:`ropewalk.study.tables.read_study`.
    """
    values: dict[str, Any] = {}
    for file in files:
        try:
            given = yaml.safe_load(file.read_text())
        except FileNotFoundError:
            raise UserError(f"{file}: no such file; expected the configuration of a study.") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{file} is no YAML: {' '.join(str(error).split())}.") from None
        if not isinstance(given, Mapping):
            raise UserError(f"{file} is no configuration; expected keys such as models and readings.")
        _merge(values, given)
    return read_study(values)


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value

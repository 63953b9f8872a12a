"""The configuration of a study: one schema that checks it, documents it, and writes the commented default.

``config/default.yaml`` and ``config/schema.json`` are generated (``ropewalk config default``, ``ropewalk config
schema``); a preset such as ``config/smollm2.yaml`` holds only what differs.
"""

from __future__ import annotations

from ropewalk.config.checking import check_config
from ropewalk.config.defaults import default_config
from ropewalk.config.ropes import method_parameters
from ropewalk.config.schema import Config
from ropewalk.config.writing import default_yaml, json_schema

__all__ = ["Config", "check_config", "default_config", "default_yaml", "json_schema", "method_parameters"]

"""A study is three tables: ropes, models and readings; the configuration makes their rows.

Plain Python: no torch, no Snakemake. :func:`read_study` checks a configuration and makes the tables; a workflow makes
a job of each row. Ids are made here and nowhere taken apart: whatever a row is about stands in its columns.
"""

from __future__ import annotations

from ropewalk.study.config import Config
from ropewalk.study.rows import Study
from ropewalk.study.tables import read_study

__all__ = ["Config", "Study", "read_study"]

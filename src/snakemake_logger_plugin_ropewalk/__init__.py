"""Snakemake finds loggers by the names of modules: `snakemake --logger ropewalk` is this one."""

from snakemake_interface_logger_plugins.base import LogHandlerBase

from ropewalk.watching import Watch


class LogHandler(Watch, LogHandlerBase):
    """Shows a workflow as :mod:`ropewalk.watching` says."""

    writes_to_stream = True
    writes_to_file = False
    # Snakemake's own: what `--quiet` asks for, and how a dry run is told.
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.open(self.common_settings)

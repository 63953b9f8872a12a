"""Where the files of a study lie, below ``results/NAME``."""

from __future__ import annotations

from dataclasses import dataclass

from ropewalk.study.rows import CorpusRow, ExportRow, ModelRow, PosGenTask, ReadingRow, ReportRow, RopeRow, SearchJob

Row = CorpusRow | RopeRow | ModelRow | ReadingRow | SearchJob | ExportRow | PosGenTask | ReportRow


@dataclass(frozen=True)
class Paths:
    """Paths of rows.

    Attributes:
        root: ``results/NAME``.
    """

    root: str

    def of(self, row: Row) -> str:
        """The folder or file that stands for a row."""
        match row:
            case RopeRow():
                return f"{self.root}/ropes/{row.id}.json"
            case CorpusRow():
                return f"{self.root}/corpora/{row.id}"
            case ModelRow():
                return f"{self.root}/models/{row.id}"
            case ReadingRow():
                return f"{self.root}/readings/{row.id}"
            case SearchJob():
                return f"{self.root}/searches/{row.id}"
            case ExportRow():
                return f"{self.root}/exports/{row.id}"
            case PosGenTask():
                return f"{self.root}/posgen/{row.id}/scores"
            case ReportRow():
                return f"{self.root}/reports/{row.id}"

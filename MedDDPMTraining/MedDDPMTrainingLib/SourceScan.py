"""Looking at a source folder before anything is prepared: a job of the tools worker, its table and its summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.files import read_json
from medddpm.preparation.case_files import SourceScan
from MedDDPMSlicerLib.Background import Observed
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import given, taking

NAME, MAX_BYTES = "scan.json", 64 * 2**20


class SourceScanner(Observed):
    """The newest scan. ``table`` is what it found, None before; ``message`` a sentence where it failed.

    ``source``: the folder of that scan or of the one that is going on.
    """

    def __init__(self, jobs: Any) -> None:
        super().__init__()
        self.source = ""
        self.table: SourceScan | None = None
        self.message = ""
        self._jobs = jobs
        self._job: Job | None = None

    @property
    def finished(self) -> bool:
        """Whether no scan is going on."""
        return self._job is None or self._job.finished

    @property
    def progress(self) -> tuple[int, int] | None:
        """Files looked at, of how many; None where it is not known."""
        job = self._job if self._job is not None and not self._job.finished else None
        return (job.step, job.total) if job is not None and job.step is not None and job.total else None

    def scan(self, source: str | Path, layout: str = "auto", table: str | Path | None = None) -> None:
        """Look at a folder; a scan that is going on is given up. ``table``: a CSV that names the files.

        Raises InputError where there is no such folder or file.
        """
        folder = Path(source).expanduser()
        if not str(source) or not folder.exists():
            raise InputError(f"The folder {source} does not exist. Choose another one.")
        if table and not Path(table).is_file():
            raise InputError(f"The table {table} does not exist. Choose another one, or none.")
        self.cancel()
        self.source, self.table, self.message = str(folder), None, ""
        request = {"source": str(folder.absolute()), "layout": layout, "table": str(table) if table else None}
        self._job = Job(self._jobs, given("scan", request), taking(_read), self._take, self._fail)
        self.changed()
        self.notify()

    def cancel(self) -> None:
        """Give up the scan that is going on."""
        if self._job is not None and not self._job.finished:
            self._job.cancel()
            self.changed()

    def tick(self) -> None:
        """Called regularly by the service."""
        if self._job is not None and not self._job.finished and self.progress is not None:
            self.changed()
        self.notify()

    def _take(self, table: SourceScan) -> None:
        self._tell(table, "")

    def _fail(self, sentence: str) -> None:
        self._tell(None, sentence)

    def _tell(self, table: SourceScan | None, message: str) -> None:
        self.table, self.message = table, message
        self.changed()
        self.notify()


def _read(outputs: Path) -> SourceScan:
    problem = "The result of the scan could not be read. Press 'Scan folder' again."
    return SourceScan.from_dict(read_json(outputs / NAME, MAX_BYTES, problem))

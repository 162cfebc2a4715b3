"""What jobs before a training answer: the scan of a source, the preparation of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medddpm.errors import InputError
from medddpm.files import read_json
from medddpm.jobs.events import State
from medddpm.preparation.facts import SourceScan
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import JobMonitor, nothingAsked

PREPARE = "prepare"
INTERRUPTED_SENTENCE = (
    "The preparation was interrupted because Slicer ended. Press 'Resume the interrupted preparation'."
)
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PrepareResult:
    """What a preparation made: the ``dataset`` folder, its ``report`` (an HTML page), counts."""

    dataset: Path
    report: Path
    cases: int
    leftOut: int
    flags: int

    @property
    def sentence(self) -> str:
        """What is said at its end."""
        left = f" {self.leftOut} were left out." if self.leftOut else ""
        flags = f" {self.flags} warnings are in the report." if self.flags else ""
        return f"{self.cases} cases are prepared.{left}{flags}"


def recovered(jobs: JobMonitor) -> Job:
    """The preparation that an earlier session left: its result is taken, an interrupted one can be asked for again.

    What was computed stays in the dataset folder, so that starting again goes on where it ended.
    """
    for job in [*jobs.done(), *reversed(jobs.unfinished())]:
        if job.kind != PREPARE or job.folder is None:
            continue
        job.message = INTERRUPTED_SENTENCE
        if job.state is State.DONE:
            try:
                job.result = readPrepared(job.folder.outputs)
                job.message = job.result.sentence
            except InputError as exc:
                job.state, job.message = State.FAILED, str(exc)
        job.discard()
        return job
    return nothingAsked(jobs)


def readScan(outputs: Path) -> SourceScan:
    """What a scan found. Raises InputError."""
    problem = "The result of the scan could not be read. Press 'Scan folder' again."
    return SourceScan.from_dict(read_json(outputs / "scan.json", MAX_BYTES, problem))


def readPrepared(outputs: Path) -> PrepareResult:
    """What a preparation made. Raises InputError."""
    problem = "The result of the preparation could not be read. Prepare again."
    data = read_json(outputs / "result.json", MAX_BYTES, problem)
    try:
        counts = int(data["cases"]), len(data["left_out"]), len(data["flags"])
        return PrepareResult(Path(data["dataset"]), Path(data["report"]), *counts)
    except (KeyError, TypeError, ValueError) as exc:
        raise InputError(problem) from exc

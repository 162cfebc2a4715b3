"""Work that a worker does before a training: the scan of a source, the preparation of a dataset, an estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medddpm.errors import InputError, MedDDPMError
from medddpm.files import read_json
from medddpm.jobs.events import State
from medddpm.preparation.facts import SourceScan
from MedDDPMSlicerLib.Background import Observed
from MedDDPMSlicerLib.Job import Job
from MedDDPMSlicerLib.Jobs import given, taking

PREPARE = "prepare"
INTERRUPTED_SENTENCE = (
    "The preparation was interrupted because Slicer ended. Press 'Resume the interrupted preparation'."
)
MAX_BYTES = 64 * 2**20


class Work(Observed):
    """The newest job of one ``kind``. ``state`` is None before the first one; ``request`` what was asked.

    ``result`` is what ``read`` makes of the folder of its outputs, None before its end. ``message`` is the sentence of
    its end. ``job`` tells how far it is.
    """

    def __init__(self, jobs: Any, kind: str, read: Callable[[Path], Any]) -> None:
        super().__init__()
        self.state: State | None = None
        self.request: dict[str, Any] = {}
        self.result: Any = None
        self.message = ""
        self.job: Job | None = None
        self._jobs, self._kind, self._read = jobs, kind, read

    @property
    def finished(self) -> bool:
        """Whether nothing is going on."""
        return self.state is None or self.state.ended

    def start(
        self,
        request: dict[str, Any],
        onDone: Callable[[Any], object] = lambda _: None,
        onError: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Begin in place of what is going on; one of the callbacks gets the result, or a sentence."""
        self.cancel()
        self.request, self.result, self.message = dict(request), None, ""

        def done(result: Any) -> None:
            self.state, self.result, self.message = State.DONE, result, getattr(result, "sentence", "")
            self.changed()
            self.notify()
            onDone(result)

        self.job = Job(self._jobs, given(self._kind, self.request), taking(self._read), done, onError)
        self.job.observers.append(self._onJob)
        self._onJob(self.job)
        self.notify()

    def cancel(self) -> None:
        """End it at the next step."""
        if self.job is not None and not self.finished:
            self.job.cancel()
            self._onJob(self.job)

    def tick(self) -> None:
        """Called regularly by the service."""
        self.notify()

    def _onJob(self, job: Job) -> None:
        if job is self.job:
            self.state = job.state
            if job.state is not State.DONE:
                self.message = job.message if job.finished else ""
            self.changed()


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


class Preparation(Work):
    """The newest preparation of this session, or one that an earlier session left unfinished.

    What was computed stays in the dataset folder, so that starting again goes on where it ended.
    """

    def __init__(self, jobs: Any) -> None:
        super().__init__(jobs, PREPARE, readPrepared)

    def start(self, request: dict[str, Any], **callbacks: Any) -> None:
        """Prepare; ``request`` are the fields of ``PrepareOptions``. Raises InputError where one is going on."""
        if not self.finished:
            raise InputError("A preparation is running already. Wait for it, or cancel it.")
        super().start(request, **callbacks)

    def again(self) -> None:
        """Go on with what was cancelled, failed or was interrupted; finished cases are not computed again."""
        self.start(self.request)

    def recover(self) -> None:
        """Look for what an earlier session left: its result is taken, an interrupted one is offered (``again``)."""
        for job in [*self._jobs.done(), *reversed(self._jobs.unfinished())]:
            if job.kind != PREPARE:
                continue
            self.request, self.state, self.message = job.request, job.state, INTERRUPTED_SENTENCE
            if job.state is State.DONE:
                try:
                    self.result = readPrepared(job.folder.outputs)
                    self.message = self.result.sentence
                except InputError as exc:
                    self.state, self.message = State.FAILED, str(exc)
            job.discard()
            self.changed()
            return

    def raiseFailure(self) -> None:
        """Raise MedDDPMError with the sentence of a preparation that has not come to its end; for scripts."""
        if self.finished and self.state not in (State.DONE, None):
            raise MedDDPMError(self.message)


@dataclass(frozen=True)
class Estimate:
    """What a training takes: whether it ``fits``, and a ``sentence`` with all figures, and advice where it does not."""

    fits: bool
    sentence: str


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


def readEstimate(outputs: Path) -> Estimate:
    """What a training takes. Raises InputError."""
    problem = "The estimate could not be read."
    data = read_json(outputs / "estimate.json", MAX_BYTES, problem)
    try:
        fits = bool(data["fits"])
        parts = [str(data["sentence"]), "" if fits else "This will not fit.", str(data["advice"] or "")]
    except KeyError as exc:
        raise InputError(problem) from exc
    return Estimate(fits, " ".join(part for part in parts if part))

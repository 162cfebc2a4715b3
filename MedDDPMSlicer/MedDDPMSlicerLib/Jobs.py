"""The jobs of one worker: submitted and followed without ever waiting for it, and the worker looked after."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medddpm.errors import InputError, MedDDPMError
from medddpm.files import read_json
from medddpm.jobs import spool as spools
from medddpm.jobs.events import State
from medddpm.jobs.folder import JobFolder
from medddpm.preparation.facts import SourceScan

from .Job import CANCELLED_SENTENCE, INTERRUPTED_SENTENCE, Job
from .Processes import WorkerProcess
from .Storage import PARKED_PREFIX, isParked, jobFolders

logger = logging.getLogger(__name__)

# A worker that ends this often in a row without taking a waiting job will not take the next one either.
MAX_STARTS = 3
# A job that does not react to a cancel for so long (a step that hangs in a driver) is ended with its process.
CANCEL_SECONDS = 60.0
# How long the end of a killed worker is waited for.
DYING_SECONDS = 0.5
MAX_ANSWER_BYTES = 64 * 1024
MAX_SCAN_BYTES = 64 * 2**20
KILLED_SENTENCE = (
    "The background process that computes was ended by the system, probably because the memory ran out. Close other "
    "programs, or choose fewer samples, a smaller model or another device, and start again."
)
CRASH_SENTENCE = (
    "The background process that computes ended unexpectedly. The details show its last output. Start again; if it "
    "happens again, choose the device cpu or a smaller model."
)


class JobMonitor:
    """The jobs of one spool, served by ``worker``; ``Job`` objects enter themselves.

    Jobs that an earlier session left are put aside at the start, so that no worker runs them unasked: ``unfinished``
    lists them. ``exchange`` is the folder whose files are deleted with the jobs that name
    them. Raises InputError where the spool cannot be made.
    """

    def __init__(self, spool: Path, worker: WorkerProcess, exchange: Path | None = None) -> None:
        self.spool = spools.open_spool(Path(spool))
        self.followed: list[Job] = []
        self._worker = worker
        self._exchange = exchange
        self._starts = 0
        self._park()

    @property
    def active(self) -> list[Job]:
        """The jobs that have not ended."""
        return [job for job in self.followed if not job.finished]

    def add(self, job: Job) -> None:
        """Follow a job, in place of another object of the same folder."""
        if job not in self.followed:
            path = _pathOf(job)
            self.followed = [*(other for other in self.followed if not path or _pathOf(other) != path), job]

    def follow(self, folder: JobFolder | str | os.PathLike[str]) -> Job:
        """The job of a folder, up to date; the same one for the same folder."""
        folder = folder if isinstance(folder, JobFolder) else JobFolder(folder)
        for job in self.followed:
            if _pathOf(job) == folder.path:
                return job
        job = Job(self)
        job.attach(folder)
        return job

    def unfinished(self) -> list[Job]:
        """The interrupted jobs of earlier sessions, oldest first."""
        found = [folder for folder in jobFolders(self.spool) if isParked(folder) and folder.submitted]
        return [self.follow(folder) for folder in found]

    def done(self) -> list[Job]:
        """The jobs that are done and whose folders are still there, oldest first."""
        found = [folder for folder in jobFolders(self.spool) if folder.state() is State.DONE]
        return [self.follow(folder) for folder in found]

    def exchanged(self, request: dict[str, Any]) -> list[Path]:
        """Files of the exchange folder that a request names, also as "T1=path"; no path outside of it counts."""
        if self._exchange is None:
            return []
        exchange = self._exchange.resolve()
        candidates = [Path(piece) for text in _texts(request) for piece in {text, text.partition("=")[2]} if piece]
        return [path for path in candidates if path.is_absolute() and path.parent.resolve() == exchange]

    def removeFiles(self, job: Job) -> None:
        """Delete a job's folder, and the files of ours that it names. Raises InputError where the folder stays."""
        for path in self.exchanged(job.request):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        try:
            if job.folder is not None:
                # Its process may be giving up its claim in it at this moment: what appears then goes with the second.
                shutil.rmtree(job.folder.path, ignore_errors=True)
                shutil.rmtree(job.folder.path)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise InputError(
                f"{job.folder.path} could not be deleted: {exc.strerror or exc}. Close programs that use its files."
            ) from exc

    def poll(self) -> None:
        """Read what is new, look after the worker, and call the observers; takes milliseconds."""
        waited = self._atWorker()
        for job in waited:
            job.update()
        if any(job.state is State.RUNNING for job in waited):
            self._starts = 0
        if waited:
            self._watchWorker()
        for job in list(self.followed):
            job.notify()
        paths = {job: _pathOf(job) for job in self.followed}
        self.followed = [job for job, at in paths.items() if not (job.finished and job.told) or (at and at.exists())]

    def shutdown(self, keepJobs: bool = False) -> None:
        """Let no process remain, now.

        With ``keepJobs`` (Slicer quits) its jobs are offered again by ``unfinished`` of the next session; otherwise (a
        reload) they are cancelled, and what they left is deleted.
        """
        jobs = [] if keepJobs else self.active
        for job in jobs:
            job.cancel()
        self._worker.kill()
        end = time.monotonic() + DYING_SECONDS
        while jobs and self.active and time.monotonic() < end:  # the system takes some milliseconds to end a process
            self.poll()  # whoever follows the jobs learns of their end
            time.sleep(0.005)
        for job in jobs:
            if job.finished:
                with contextlib.suppress(MedDDPMError):  # a file is open in another program; it goes with the storage
                    job.discard()

    def serve(self) -> None:
        """Start the worker where none serves the spool. Raises InputError where that is impossible."""
        if not self._worker.alive():
            self._park()
            self._worker.ensure()

    def workerLog(self) -> str:
        """The last part of what the worker wrote."""
        return self._worker.logTail()

    def _atWorker(self) -> list[Job]:
        return [job for job in self.followed if job.atWorker]

    def _watchWorker(self) -> None:
        """Find out that the worker died, is needed again, or does not react."""
        if self._worker.alive():
            now = time.monotonic()
            if any(job.cancelledAt is not None and now - job.cancelledAt > CANCEL_SECONDS for job in self._atWorker()):
                logger.warning("a job did not react to being cancelled; its process is ended")
                self._worker.kill()
            return
        for job in self._atWorker():
            job.update()  # what it wrote at the last moment
        for job in self._atWorker():
            if job.state is State.CANCELLING:
                job.settle(State.CANCELLED, CANCELLED_SENTENCE)
            elif job.folder is not None and job.folder.state() is State.INTERRUPTED:
                job.settle(State.FAILED, KILLED_SENTENCE if self._worker.exitCode in (-9, 137) else CRASH_SENTENCE)
        waiting = [job for job in self._atWorker() if job.state is State.PENDING]
        if waiting:
            self._restart(waiting)

    def _restart(self, waiting: list[Job]) -> None:
        self._starts += 1
        sentence = (
            "The background process that computes does not start. The details say why; often a Python package is "
            "missing or damaged. Install the packages again, or restart Slicer."
        )
        try:
            if self._starts <= MAX_STARTS:
                self.serve()
                return
        except InputError as exc:
            sentence = str(exc)
        self._starts = 0
        for job in waiting:
            job.settle(State.FAILED, sentence)

    def _park(self) -> None:
        """Put aside what an earlier session or a dead worker left, so that the next worker does not run it."""
        if self._worker.alive():
            return
        ours = {_pathOf(job) for job in self.followed}
        for folder in jobFolders(self.spool):
            if folder.path in ours or isParked(folder) or folder.state() not in (State.PENDING, State.INTERRUPTED):
                continue
            if folder.cancel_requested:
                _settled(self, folder, State.CANCELLED, CANCELLED_SENTENCE)
                continue
            try:
                folder.path.rename(folder.path.with_name(PARKED_PREFIX + folder.path.name))
            except OSError as exc:  # Windows: a file of it is open
                logger.warning("a job of a former session could not be put aside: %s", type(exc).__name__)
                _settled(self, folder, State.FAILED, INTERRUPTED_SENTENCE)


def monitorOf(spool: Path, python: Sequence[str] | None, exchange: Path | None = None) -> JobMonitor:
    """The monitor of a spool with a worker of its own; ``python`` None for the one of this Slicer."""
    return JobMonitor(spool, WorkerProcess(spool, python), exchange)


def ask(
    before: Job,
    kind: str,
    request: dict[str, Any],
    read: Callable[[Path], Any],
    onDone: Callable[[Any], object] | None = None,
    onError: Callable[[str], object] | None = None,
) -> Job:
    """A job without files of ours, whose small ``result`` is what ``read`` makes of its outputs.

    It takes the place of ``before``, which is cancelled.
    """
    before.cancel()
    return Job(before.jobs, (kind, request), read, onDone, onError)


def nothingAsked(jobs: JobMonitor) -> Job:
    """What stands for a job before the first one: it is over, and tells nothing."""
    job = Job(jobs)
    job.state = State.CANCELLED
    return job


@dataclass(frozen=True)
class Estimate:
    """What a generation or training takes: whether it ``fits``, a ``sentence`` with figures and advice, and its
    ``seconds`` (None where they are not known).
    """

    fits: bool
    sentence: str
    seconds: float | None = None


def readEstimate(outputs: Path) -> Estimate:
    """What the jobs ``estimate`` and ``train_estimate`` answer. Raises InputError."""
    problem = "The estimate could not be read."
    data = read_json(outputs / "estimate.json", MAX_ANSWER_BYTES, problem)
    try:
        fits = bool(data["fits"])
        parts = [str(data["sentence"]), "" if fits else "This will not fit.", str(data["advice"] or "")]
    except KeyError as exc:
        raise InputError(problem) from exc
    seconds = data.get("seconds")
    return Estimate(
        fits, " ".join(part for part in parts if part), float(seconds) if isinstance(seconds, int | float) else None
    )


def readScan(outputs: Path) -> SourceScan:
    """What a scan found. Raises InputError."""
    problem = "The result of the scan could not be read. Scan the folder again."
    return SourceScan.from_dict(read_json(outputs / "scan.json", MAX_SCAN_BYTES, problem))


def _pathOf(job: Job) -> Path | None:
    return job.folder.path if job.folder is not None else None


def _settled(monitor: JobMonitor, folder: JobFolder, state: State, sentence: str) -> None:
    job = Job(monitor)
    job.folder = folder
    job.settle(state, sentence)


def _texts(value: Any) -> list[str]:
    """All texts in JSON data."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []

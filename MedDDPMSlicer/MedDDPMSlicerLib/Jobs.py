"""Submitting jobs to the background worker and following them without ever waiting for it."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medddpm.errors import InputError, MedDDPMError
from medddpm.jobs import spool as spools
from medddpm.jobs.folder import JobFolder, State

from .JobHandles import CANCELLED_SENTENCE, INTERRUPTED_SENTENCE, JobHandle, JobState, isParked
from .Processes import GRACE_SECONDS, WorkerProcess
from .Storage import PARKED_PREFIX, jobFolders

__all__ = ["JobHandle", "JobMonitor", "JobState"]

logger = logging.getLogger(__name__)

# A worker that ends this often in a row without taking a waiting job will not take the next one either.
MAX_STARTS = 3
# A job that does not react to a cancel for so long (a step that hangs in a driver) is ended with its process.
CANCEL_SECONDS = 60.0
_WAIT_SECONDS = 0.02
# How long the end of a killed worker is waited for.
DYING_SECONDS = 0.5


class JobMonitor:
    """The jobs of one spool, served by ``worker``.

    Jobs that an earlier session left are put aside at the start, so that no worker runs them unasked: ``unfinished``
    lists them and ``resume`` runs one again. ``exchange`` is the folder whose files are deleted with the jobs that name
    them. Raises InputError where the spool cannot be made.
    """

    def __init__(self, spool: Path, worker: WorkerProcess, exchange: Path | None = None) -> None:
        self.spool = spools.open_spool(Path(spool))
        self._worker = worker
        self._exchange = exchange
        self._followed: list[JobHandle] = []
        self._starts = 0
        self._park()

    @property
    def active(self) -> list[JobHandle]:
        """The followed jobs that have not ended."""
        return [handle for handle in self._followed if not handle.finished]

    def submit(self, request: dict[str, Any], kind: str = "synthesis") -> JobHandle:
        """Put a job at the end of the queue and start the worker where needed; returns at once.

        Raises InputError where the job cannot be written (a full disk), or the worker cannot be started.
        """
        return self._queue(spools.submit(self.spool, request, kind))

    def resume(self, handle: JobHandle) -> JobHandle:
        """Run a job that failed, was cancelled or interrupted again; returns the handle of the new run.

        Raises InputError where its folder cannot be used any more.
        """
        return self._queue(spools.requeue(handle.folder))

    def follow(self, folder: JobFolder | str | os.PathLike[str]) -> JobHandle:
        """The handle of a job folder, up to date; the same one for the same folder."""
        folder = folder if isinstance(folder, JobFolder) else JobFolder(folder)
        for handle in self._followed:
            if handle.folder.path == folder.path:
                return handle
        handle = JobHandle(folder, self._exchange)
        handle.workerLog = self._worker.logTail
        handle.update()
        if not handle.finished and (isParked(folder) or folder.state() is State.INTERRUPTED):
            handle.end(JobState.INTERRUPTED, INTERRUPTED_SENTENCE, None)
        self._followed.append(handle)
        return handle

    def unfinished(self) -> list[JobHandle]:
        """The interrupted jobs of earlier sessions, oldest first."""
        found = [folder for folder in jobFolders(self.spool) if isParked(folder) and folder.submitted]
        return [self.follow(folder) for folder in found]

    def done(self) -> list[JobHandle]:
        """The jobs that are done and whose folders are still there: results that nobody took yet, oldest first."""
        found = [folder for folder in jobFolders(self.spool) if folder.state() is State.DONE]
        return [self.follow(folder) for folder in found]

    def poll(self) -> None:
        """Read what is new, look after the worker, and call the observers; takes milliseconds."""
        for handle in self.active:
            handle.update()
        if any(handle.state is JobState.RUNNING for handle in self.active):
            self._starts = 0
        if self.active:
            self._watchWorker()
        for handle in list(self._followed):
            handle.notify()
        self._followed = [handle for handle in self._followed if handle.folder.path.exists() or not handle.finished]

    def wait(self, handle: JobHandle, timeoutSeconds: float, onTick: Callable[[], None] | None = None) -> None:
        """Poll until the job has ended; for scripts and tests. ``onTick`` is called between (processEvents).

        Raises TimeoutError with a sentence; the job goes on then.
        """
        end = time.monotonic() + timeoutSeconds
        self.poll()
        while not handle.finished:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"The job has not ended within {timeoutSeconds:g} s. It is still running; wait longer."
                )
            if onTick is not None:
                onTick()
            time.sleep(_WAIT_SECONDS)
            self.poll()

    def shutdown(self, keepJobs: bool = False, graceSeconds: float = GRACE_SECONDS) -> None:
        """Let no process remain; returns within 100 ms.

        At scene close and reload jobs are cancelled and the worker is asked to leave; what is left of it after
        ``graceSeconds`` is ended. With ``keepJobs`` (Slicer quits) the worker is ended at once, and its jobs are
        offered again by ``unfinished`` of the next session.
        """
        if keepJobs:
            self._worker.kill()
            return
        for handle in self.active:
            try:
                handle.cancel()
            except InputError as exc:
                logger.warning("a job could not be cancelled: %s", type(exc.__cause__).__name__)
        self._worker.stop(graceSeconds)

    def endNow(self) -> None:
        """Cancel all jobs, end the worker without waiting for its step, and delete what it left; for a reload."""
        handles = list(self.active)
        for handle in handles:
            with contextlib.suppress(MedDDPMError):  # a full disk: the jobs end with their worker
                handle.cancel()
        self.shutdown(keepJobs=True)
        end = time.monotonic() + DYING_SECONDS
        while self.active and time.monotonic() < end:  # the system takes some milliseconds to end a process
            self.poll()  # whoever follows the jobs learns of their end
            time.sleep(0.005)
        for handle in handles:
            if handle.finished:
                with contextlib.suppress(MedDDPMError):  # a file is open in another program; it goes with the storage
                    handle.discard()

    def _queue(self, folder: JobFolder) -> JobHandle:
        handle = self.follow(folder)
        try:
            self._ensureWorker()
        except InputError as exc:
            handle.settle(JobState.FAILED, str(exc))
            handle.discard()
            self._followed.remove(handle)
            raise
        return handle

    def _ensureWorker(self) -> None:
        if not self._worker.alive():
            self._park()
            self._worker.ensure()

    def _watchWorker(self) -> None:
        """Find out that the worker died, is needed again, or does not react."""
        if self._worker.alive():
            self._endHanging()
            return
        for handle in self.active:
            handle.update()  # what it wrote at the last moment
        for handle in self.active:
            if handle.folder.state() is State.INTERRUPTED or handle.state is JobState.CANCELLING:
                self._lost(handle)
        waiting = [handle for handle in self.active if handle.state is JobState.WAITING]
        if waiting:
            self._restart(waiting)

    def _lost(self, handle: JobHandle) -> None:
        if handle.state is JobState.CANCELLING:
            handle.settle(JobState.CANCELLED, CANCELLED_SENTENCE)
        else:
            handle.settle(JobState.FAILED, _crashSentence(self._worker.exitCode))

    def _restart(self, waiting: list[JobHandle]) -> None:
        self._starts += 1
        sentence = (
            "The background process that computes does not start. The details say why; often a Python package is "
            "missing or damaged. Install the packages again, or restart Slicer."
        )
        try:
            if self._starts <= MAX_STARTS:
                self._ensureWorker()
                return
        except InputError as exc:
            sentence = str(exc)
        self._starts = 0
        for handle in waiting:
            handle.settle(JobState.FAILED, sentence)

    def _endHanging(self) -> None:
        now = time.monotonic()
        if any(h.cancelledAt is not None and now - h.cancelledAt > CANCEL_SECONDS for h in self.active):
            logger.warning("a job did not react to being cancelled; its process is ended")
            self._worker.kill()

    def _park(self) -> None:
        """Put aside what an earlier session or a dead worker left, so that the next worker does not run it."""
        if self._worker.alive():
            return
        ours = {handle.folder.path for handle in self._followed}
        for folder in jobFolders(self.spool):
            if folder.path in ours or isParked(folder) or folder.state() not in (State.PENDING, State.INTERRUPTED):
                continue
            if folder.cancel_requested:
                JobHandle(folder).settle(JobState.CANCELLED, CANCELLED_SENTENCE)
            else:
                _putAside(folder)


def monitorOf(spool: Path, python: Sequence[str] | None, exchange: Path | None = None) -> JobMonitor:
    """The monitor of a spool with a worker of its own; ``python`` None for the one of this Slicer."""
    return JobMonitor(spool, WorkerProcess(spool, python), exchange)


def _putAside(folder: JobFolder) -> None:
    try:
        folder.path.rename(folder.path.with_name(PARKED_PREFIX + folder.path.name))
    except OSError as exc:  # Windows: a file of it is open
        logger.warning("a job of a former session could not be put aside: %s", type(exc).__name__)
        JobHandle(folder).settle(JobState.FAILED, INTERRUPTED_SENTENCE)


def _crashSentence(exitCode: int | None) -> str:
    if exitCode in (-9, 137):
        return (
            "The background process that computes was ended by the system, probably because the memory ran out. Close "
            "other programs, or choose fewer samples, a smaller model or another device, and start again."
        )
    return (
        "The background process that computes ended unexpectedly. The details show its last words. Start again; should "
        "it happen again, choose the device cpu or a smaller model."
    )

"""One job of a worker, as the GUI follows it through its folder."""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medddpm.errors import InputError, MedDDPMError
from medddpm.files import open_regular
from medddpm.jobs.events import FINAL, Event
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.outcome import EXIT_CANCELLED, EXIT_INTERNAL
from medddpm.jobs.owner import Held

from .Storage import PARKED_PREFIX

logger = logging.getLogger(__name__)

TAIL_BYTES = 64_000
INTERRUPTED_SENTENCE = "The job was interrupted because Slicer or the background process ended. It can be run again."
CANCELLED_SENTENCE = "The job was cancelled."


class JobState(enum.Enum):
    """Where a job is. The last four end it."""

    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


_ENDS = {JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}


class JobHandle:
    """One followed job; made by ``JobMonitor``, which keeps it up to date.

    ``folder`` and ``kind`` name the job; ``stage``, ``step`` of ``total``, ``secondsLeft`` (of the stage) and
    ``preview`` (newest picture file) tell how far it is; ``message`` is the plain sentence of its end, ``exitCode``
    that of the job contract, ``option`` and ``problemPath`` those of an error (see ``MedDDPMError``); ``warnings`` are
    sentences. ``observers`` are called by ``JobMonitor.poll`` after any change.
    """

    def __init__(self, folder: JobFolder, exchange: Path | None = None) -> None:
        self.folder = folder
        self.kind = _kindOf(folder)
        self.state = JobState.WAITING
        self.stage: str | None = None
        self.step: int | None = None
        self.total: int | None = None
        self.secondsLeft: float | None = None
        self.message: str | None = None
        self.warnings: list[str] = []
        self.preview: Path | None = None
        self.exitCode: int | None = None
        self.option: str | None = None
        self.problemPath: str | None = None
        self.observers: list[Callable[[JobHandle], None]] = []
        self.workerLog: Callable[[], str] = lambda: ""
        self.cancelledAt: float | None = None
        self._exchange = exchange
        self._offset = 0
        self._changed = False

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in _ENDS

    def request(self) -> dict[str, Any]:
        """What was asked for. Raises InputError where the folder has gone or its ``job.json`` is damaged."""
        return self.folder.read().request

    def cancel(self) -> None:
        """Ask the job to end; a waiting one ends at once, a running one within one step. Does nothing at its end.

        Raises InputError where even that cannot be written (a full disk).
        """
        if self.finished or self.state is JobState.CANCELLING:
            return
        # First the file: should the worker take a waiting job just now, it sees it and does not begin.
        self.folder.request_cancel()
        self.cancelledAt = time.monotonic()
        self._set(JobState.CANCELLING)
        if self.folder.state() is State.PENDING:
            self.settle(JobState.CANCELLED, CANCELLED_SENTENCE)

    def details(self) -> str:
        """What helps to find a cause: the sentence, the log of the job, the last output of the worker."""
        parts = [self.message or "", logTail(self.folder), self.workerLog()]
        return "\n\n".join(part.strip() for part in parts if part.strip())

    def discard(self) -> None:
        """Delete the job's folder and the exchange files that its request names.

        Raises InputError where the job has not ended yet (cancel it first) or the folder cannot be removed.
        """
        if not self.finished:
            raise InputError("The job is still waiting or running. Cancel it before it is deleted.")
        for path in self._exchangeFiles():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        try:
            shutil.rmtree(self.folder.path)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise InputError(
                f"{self.folder.path} could not be deleted: {exc.strerror or exc}. Close programs that use its files."
            ) from exc

    def update(self) -> None:
        """Read what the job told since the last call; for JobMonitor. Notes a change for ``notify``."""
        try:
            events, self._offset = self.folder.events(self._offset)
        except (OSError, MedDDPMError) as exc:
            logger.warning("the events of a job could not be read: %s", type(exc).__name__)
            return
        for event in events:
            self._apply(event)

    def notify(self) -> None:
        """Call the observers if anything changed since the last call; for JobMonitor."""
        if not self._changed:
            return
        self._changed = False
        for observer in list(self.observers):
            try:
                observer(self)
            except Exception:  # one broken observer must not stop the others, nor the polling of all jobs
                logger.exception("an observer of a job failed")

    def settle(self, state: JobState, message: str) -> None:
        """End a job that no process works at (or will), also in its folder; for JobMonitor.

        Does nothing where a process has it after all. Where the end cannot be written down, the handle alone says it.
        """
        event, code = ("cancelled", EXIT_CANCELLED) if state is JobState.CANCELLED else ("failed", EXIT_INTERNAL)
        try:
            self.folder.claim.take(f"The job {self.folder.path}")
            self.folder.append(Event(event, message=message, exit_code=code))
            self.folder.claim.release()
        except Held:
            return
        except (OSError, MedDDPMError) as exc:
            logger.warning("the end of a job could not be written down: %s", type(exc).__name__)
        self.end(state, message, code)

    def end(self, state: JobState, message: str | None, exitCode: int | None) -> None:
        """Note an end without touching the folder; for JobMonitor."""
        self.message, self.exitCode, self.secondsLeft, self.preview = message, exitCode, None, None
        self._set(state)

    def _set(self, state: JobState) -> None:
        self.state, self._changed = state, True

    def _apply(self, event: Event) -> None:
        self._changed = True
        if event.event in FINAL:
            self._applyEnd(event)
        elif event.event in ("started", "queued"):
            self.stage = self.step = self.total = self.secondsLeft = self.message = self.exitCode = None
            self.warnings = []
            if self.state is not JobState.CANCELLING:
                self.state = JobState.RUNNING if event.event == "started" else JobState.WAITING
        elif event.event == "warning":
            self.warnings.append(event.message or "")
        elif event.event == "preview":
            self._applyPreview(event)
        else:
            self._applyProgress(event)

    def _applyEnd(self, event: Event) -> None:
        wanted = self.state is JobState.CANCELLING and event.event == "interrupted"
        message = INTERRUPTED_SENTENCE if event.event == "interrupted" else event.message
        if wanted:
            self.end(JobState.CANCELLED, CANCELLED_SENTENCE, EXIT_CANCELLED)
        else:
            self.option, self.problemPath = event.option, event.path
            self.end(JobState(event.event), message, event.exit_code)

    def _applyPreview(self, event: Event) -> None:
        try:
            self.preview = self.folder.inside(event.path or "")
        except InputError as exc:
            logger.warning("a preview was not accepted: %s", type(exc).__name__)

    def _applyProgress(self, event: Event) -> None:
        if event.stage != self.stage:
            self.step = self.total = self.secondsLeft = None
        self.stage = event.stage
        if event.event == "step":
            self.step, self.total, self.secondsLeft = event.step, event.total, event.seconds_left

    def _exchangeFiles(self) -> list[Path]:
        """Files of the exchange folder that the request names, also as "T1=path"; no path outside of it counts."""
        if self._exchange is None:
            return []
        try:
            texts = _texts(self.request())
        except InputError:
            return []
        exchange = self._exchange.resolve()
        candidates = [Path(piece) for text in texts for piece in {text, text.partition("=")[2]} if piece]
        return [path for path in candidates if path.is_absolute() and path.parent.resolve() == exchange]


def _kindOf(folder: JobFolder) -> str:
    try:
        return folder.read().kind
    except InputError:
        return "unknown"


def _texts(value: Any) -> list[str]:
    """All texts in JSON data."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


def logTail(folder: JobFolder) -> str:
    """The last part of the technical log of a job; empty where there is none or it cannot be read."""
    try:
        with os.fdopen(open_regular(folder.log_path, os.O_RDONLY, links=False), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - TAIL_BYTES))
            return stream.read(TAIL_BYTES).decode("utf-8", "replace")
    except (OSError, InputError):
        return ""


def isParked(folder: JobFolder) -> bool:
    """Whether the job was put aside: it is not run unless someone asks for it again."""
    return folder.path.name.startswith(PARKED_PREFIX)

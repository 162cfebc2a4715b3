"""A job of a worker, from its first file to what is made of its results, as the program that wants it sees it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from medddpm.errors import InputError, MedDDPMError
from medddpm.jobs import spool as spools
from medddpm.jobs.events import FINAL, Event, State
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.outcome import EXIT_CANCELLED, EXIT_INTERNAL, EXIT_SENTENCES
from medddpm.jobs.owner import Held

from .Background import Observed, SlicedTask
from .Storage import isParked
from .Texts import plainSentence, sentenceOf, wordsFor, wordsOf

logger = logging.getLogger(__name__)

INTERRUPTED_SENTENCE = "The job was interrupted because Slicer or the background process ended. It can be run again."
CANCELLED_SENTENCE = EXIT_SENTENCES[EXIT_CANCELLED]

Steps = Generator[None, None, Any]


class Job(Observed):
    """Work that a worker of ``jobs`` (a JobMonitor) does for us. What is done here goes in steps of milliseconds.

    ``prepare``: (kind, request), or steps that write the files that the job reads and return those; or ``attach``.
    ``take`` makes ``result`` of the job's folder of outputs, at once or in steps. It is handed to ``onDone`` at the
    very end, when job folder and files are deleted. Without ``take`` the folder stays. ``onError`` gets a sentence;
    after ``cancel`` nobody is called. Files in the exchange folder that the request names go with the job.

    ``state`` tells where it is; ``stage``, ``step`` of ``total``, ``secondsLeft`` (of the stage) and ``preview`` (a
    picture file) how far the worker is; ``message`` is the sentence of its end, ``exitCode`` that of the job contract,
    ``option`` the one that helps (see ``MedDDPMError``);
    ``warnings`` are sentences. ``observers`` are called after any change. ``keepsFolder``: the folder of a job that is
    done stays although its results are taken; ``outlivesScene``: it goes on when the scene is closed.
    """

    keepsFolder = outlivesScene = False

    def __init__(
        self,
        jobs: Any,
        prepare: Steps | tuple[str, dict[str, Any]] | None = None,
        take: Callable[[Path], Any] | None = None,
        onDone: Callable[[Any], object] | None = None,
        onError: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__()
        self.jobs = jobs
        self.folder: JobFolder | None = None
        self.kind, self.request, self.created = "unknown", dict[str, Any](), time.time()
        self.state = State.PENDING
        self.stage: str | None = None
        self.step: int | None = None
        self.total: int | None = None
        self.secondsLeft: float | None = None
        self.message = ""
        self.warnings: list[str] = []
        self.preview: Path | None = None
        self.exitCode: int | None = None
        self.option: str | None = None
        self.result: Any = None
        self.cancelledAt: float | None = None
        self._take, self._onDone, self._onError = take, onDone, onError
        self._task: SlicedTask | None = None
        self._words: dict[str, str] = {}
        self._said, self._details, self._offset = "", "", 0
        if prepare is not None:
            self.begin(prepare)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state.ended

    @property
    def atWorker(self) -> bool:
        """Whether it waits for the worker or is in its hands."""
        return self.folder is not None and self.state in (State.PENDING, State.RUNNING, State.CANCELLING)

    @property
    def progress(self) -> float | None:
        """Share of the stage that is done, 0 to 1; None where unknown."""
        if self.state in (State.IMPORTING, State.DONE):
            return 1.0
        return self.step / self.total if self.step is not None and self.total else None

    def begin(self, prepare: Steps | tuple[str, dict[str, Any]]) -> None:
        """Take the first steps, with each ``tick``; then it is submitted."""

        def steps() -> Steps:
            yield
            self.submit(*(prepare if isinstance(prepare, tuple) else (yield from prepare)))

        self.jobs.add(self)
        self._task = SlicedTask(steps(), lambda _: None, self.fail)
        self._set(State.PREPARING)

    def submit(self, kind: str, request: dict[str, Any]) -> None:
        """Put it at the end of the queue and start the worker where needed; returns at once.

        Raises InputError where the job cannot be written (a full disk), or the worker cannot be started; nothing of it
        is left then.
        """
        self.kind, self.request, self._words = kind, request, wordsOf(request)
        try:
            self.folder = spools.submit(self.jobs.spool, request, kind)
            self.onSubmitted(self.folder)
            self._queue()
        except MedDDPMError:
            self.jobs.removeFiles(self)
            self.folder = None
            raise

    def attach(self, folder: JobFolder) -> None:
        """Go on with a job that is there already, from where it is. Raises InputError where no worker can start."""
        self.folder = folder
        with contextlib.suppress(MedDDPMError):
            job = folder.read()
            self.kind, self.request, self.created = job.kind, job.request, job.created
            self._words = wordsOf(job.request)
        self.update()
        if self.atWorker and (isParked(folder) or folder.state() is State.INTERRUPTED):
            self.end(State.INTERRUPTED, INTERRUPTED_SENTENCE)
        self._queue() if self.state is State.PENDING else self.jobs.add(self)

    def cancel(self) -> None:
        """Ask it to end; at the worker within one step, else at once. Does nothing at its end.

        Where even that cannot be written (a full disk), it goes on and ``message`` says why.
        """
        if self.finished or self.state is State.CANCELLING:
            return
        if self.folder is None or not self.atWorker:
            self.end(State.CANCELLED, CANCELLED_SENTENCE, EXIT_CANCELLED)
            return
        # First the file: should the worker take a waiting job just now, it sees it and does not begin.
        try:
            self.folder.request_cancel()
        except MedDDPMError as exc:
            self.message = sentenceOf(exc, self._words)
            return
        self.cancelledAt, self.secondsLeft = time.monotonic(), None
        self._set(State.CANCELLING)
        if self.folder.state() is State.PENDING:
            self.settle(State.CANCELLED, CANCELLED_SENTENCE)

    def tick(self) -> None:
        """Work for some milliseconds and tell the observers of changes."""
        if self._task is not None and not self._task.finished:
            self._task.tick()
        self.notify()

    def raiseFailure(self) -> None:
        """Raise MedDDPMError with the sentence of a job that has ended before it was done; for scripts."""
        if self.finished and self.state is not State.DONE:
            raise MedDDPMError(self.message)

    def details(self) -> str:
        """What helps to find a cause: the sentence with all names, the log of the job, the last words of the worker."""
        if self._details or self.folder is None:
            return self._details
        parts = [self._said, self.folder.log_tail(), self.jobs.workerLog()]
        return "\n\n".join(part.strip() for part in parts if part.strip())

    def discard(self) -> None:
        """Delete the job's folder and the exchange files that its request names.

        Raises InputError where the job has not ended yet (cancel it first) or the folder cannot be removed.
        """
        if not self.finished:
            raise InputError("The job is still waiting or running. Cancel it before it is deleted.")
        self._details = self.details() if self.state is not State.DONE else ""  # reading the logs takes a moment
        self.jobs.removeFiles(self)

    def update(self) -> None:
        """Read what the worker told since the last call; for JobMonitor."""
        if self.folder is None or not self.atWorker:
            return
        try:
            events, self._offset = self.folder.events(self._offset)
        except (OSError, MedDDPMError) as exc:
            logger.warning("the events of a job could not be read: %s", type(exc).__name__)
            return
        for event in events:
            self._apply(event)

    def settle(self, state: State, message: str) -> None:
        """End a job that no process works at (or will), also in its folder; for JobMonitor.

        Does nothing where a process has it after all. Where the end cannot be written down, the object alone says it.
        """
        assert self.folder is not None
        code = EXIT_CANCELLED if state is State.CANCELLED else EXIT_INTERNAL
        try:
            self.folder.claim.take(f"The job {self.folder.path}")
            self.folder.append(Event(state, message=message, exit_code=code))
            self.folder.claim.release()
        except Held:
            return
        except (OSError, MedDDPMError) as exc:
            logger.warning("the end of a job could not be written down: %s", type(exc).__name__)
        self.end(state, message, code)

    def fail(self, error: BaseException) -> None:
        """A step of our own went wrong: a sentence for the user, the trace for the log."""
        if not isinstance(error, MedDDPMError):
            logger.error("a job failed in Slicer", exc_info=error)
        self.end(State.FAILED, sentenceOf(error, self._words))

    def end(self, state: State, message: str, exitCode: int | None = None, result: Any = None) -> None:
        """It has ended so: tidy up, and tell."""
        if self._task is not None and not self._task.finished:
            self._task.cancel()
        self.state, self.exitCode, self._said, self.result = state, exitCode, message, result
        self.secondsLeft = self.preview = None
        self.message = plainSentence(self.sentence(state, message), self._words)
        self.onEnd(state)
        if self._take is not None and not (self.keepsFolder and state is State.DONE):
            with contextlib.suppress(MedDDPMError):  # a file is open in another program; it goes with the storage
                self.discard()
        self.changed()
        if state is State.DONE and self._onDone is not None:
            self._onDone(result)
        elif state in (State.FAILED, State.INTERRUPTED) and self._onError is not None:
            self._onError(self.message)

    def onSubmitted(self, folder: JobFolder) -> None:
        """The job has its folder, and perhaps no worker yet; InputError withdraws it. For derived classes."""

    def onEnd(self, state: State) -> None:
        """It ends; its folder is still there. For derived classes."""

    def sentence(self, state: State, message: str) -> str:
        """The sentence for the user of an end; ``message`` is what the job, or an error, said."""
        return message or (getattr(self.result, "sentence", "") if state is State.DONE else "The job failed.")

    def warn(self, sentence: str) -> None:
        """Take a warning of the job."""
        self.warnings.append(plainSentence(sentence, self._words))

    def _queue(self) -> None:
        self.jobs.add(self)  # first: what nobody follows is put aside when a worker starts
        self._set(State.PENDING)
        self.jobs.serve()

    def _set(self, state: State) -> None:
        self.state = state
        self.changed()

    def _apply(self, event: Event) -> None:
        self.changed()
        if event.event in FINAL:
            self._applyEnd(State(event.event), event)
        elif event.event in ("started", "queued"):
            self.stage = self.step = self.total = self.secondsLeft = self.exitCode = None
            self.message, self.warnings = "", []
            if self.state is not State.CANCELLING:
                self.state = State.RUNNING if event.event == "started" else State.PENDING
        elif event.event == "warning":
            self.warn(event.message or "")
        elif event.event == "preview":
            with contextlib.suppress(InputError):  # a name that leads out of the folder
                self.preview = self.folder.inside(event.path or "") if self.folder is not None else None
        else:
            if event.stage != self.stage:
                self.step = self.total = self.secondsLeft = None
            self.stage = event.stage
            if event.event == "step":
                self.step, self.total, self.secondsLeft = event.step, event.total, event.seconds_left

    def _taken(self, outputs: Path) -> Steps:
        assert self._take is not None
        yield
        result = self._take(outputs)
        return (yield from result) if isinstance(result, Generator) else result

    def _applyEnd(self, state: State, event: Event) -> None:
        cancelled = self.state is State.CANCELLING and (state is State.INTERRUPTED or self._take is not None)
        if cancelled or state is State.CANCELLED:
            self.end(State.CANCELLED, CANCELLED_SENTENCE if cancelled else event.message or "", EXIT_CANCELLED)
        elif state is State.DONE and self._take is not None and self.folder is not None:
            steps = self._taken(self.folder.outputs)
            self._task = SlicedTask(steps, lambda result: self.end(State.DONE, "", 0, result), self.fail)
            self._set(State.IMPORTING)
        else:
            message = INTERRUPTED_SENTENCE if state is State.INTERRUPTED else event.message
            self.option, self._words = event.option, {**self._words, **wordsFor(event.path)}
            self.end(state, message or "", event.exit_code)

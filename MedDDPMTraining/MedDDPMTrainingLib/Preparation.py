"""From a source folder to a prepared dataset: a job of the preparation worker, followed, cancelled, taken up again."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medddpm.errors import InputError, MedDDPMError
from medddpm.files import read_bounded
from medddpm.jobs.events import State
from MedDDPMSlicerLib.Background import Observed
from MedDDPMSlicerLib.PlainSentences import plainSentence

logger = logging.getLogger(__name__)

INTERRUPTED_SENTENCE = (
    "The preparation was interrupted because Slicer ended. Press 'Resume the interrupted preparation'."
)
KIND, NAME, MAX_BYTES = "prepare", "result.json", 16 * 2**20


@dataclass(frozen=True)
class PrepareResult:
    """What a preparation made: the ``dataset`` folder, its ``report`` (an HTML page), counts and sentences."""

    dataset: Path
    report: Path
    cases: int
    leftOut: int
    flags: int
    sentences: tuple[str, ...]


class Preparation(Observed):
    """The newest preparation of this session, or one that an earlier session left unfinished.

    ``state``: None before the first one; ``request`` is what was asked (fields of ``PrepareOptions``); ``message`` the
    sentence of its end; ``result`` what it made. What was computed stays in the dataset folder, so that starting again
    goes on where it ended.
    """

    def __init__(self, jobs: Any) -> None:
        super().__init__()
        self.state: State | None = None
        self.request: dict[str, Any] = {}
        self.message = ""
        self.warnings: list[str] = []
        self.result: PrepareResult | None = None
        self._jobs = jobs
        self._handle: Any = None
        self._details = ""

    @property
    def finished(self) -> bool:
        """Whether nothing is going on."""
        return self.state is None or self.state.ended

    @property
    def stage(self) -> str:
        """What is being done, as the core calls it; empty where it is not known."""
        return (self._handle.stage or "") if self._handle is not None else ""

    @property
    def step(self) -> int | None:
        """Steps done, of ``total``; None where unknown."""
        return self._handle.step if self._handle is not None else None

    @property
    def total(self) -> int | None:
        """All steps of the stage."""
        return self._handle.total if self._handle is not None else None

    @property
    def secondsLeft(self) -> float | None:
        """Expected seconds until the stage is done; None where unknown."""
        return self._handle.secondsLeft if self._handle is not None else None

    def start(self, request: dict[str, Any]) -> None:
        """Prepare; ``request`` are the fields of ``PrepareOptions``. Raises InputError where one is going on already,
        or it cannot be started.
        """
        if not self.finished:
            raise InputError("A preparation is running already. Wait for it, or cancel it.")
        self.request = dict(request)
        self._follow(self._jobs.submit(self.request, kind=KIND))

    def again(self) -> None:
        """Go on with what was cancelled, failed or was interrupted; finished cases are not computed again."""
        self.start(self.request)

    def recover(self) -> bool:
        """Look for what an earlier session left: its result is taken, an interrupted one is offered (``again``).

        Returns whether there was something.
        """
        for handle in self._jobs.done():
            if self.finished and handle.kind == KIND:
                self._adopt(handle)
                self._onJob(handle)
                return True
        for handle in reversed(self._jobs.unfinished()):
            if self.finished and handle.kind == KIND:
                self._adopt(handle)
                self._discard(handle)
                self._set(State.INTERRUPTED, INTERRUPTED_SENTENCE)
                return True
        return False

    def cancel(self) -> None:
        """End it at the next step. What is computed stays, and need not be computed again."""
        if self._handle is not None and not self.finished:
            self._handle.cancel()
            self._set(State.CANCELLING, "")

    def details(self) -> str:
        """Technical detail: the logs of job and worker."""
        return self._handle.details() if self._handle is not None else self._details

    def raiseFailure(self) -> None:
        """Raise MedDDPMError with the sentence of a preparation that has not come to its end; for scripts."""
        if self.finished and self.state not in (State.DONE, None):
            raise MedDDPMError(self.message)

    def tick(self) -> None:
        """Called regularly by the service."""
        self.notify()

    def _adopt(self, handle: Any) -> None:
        self.request = dict(handle.request)

    def _follow(self, handle: Any) -> None:
        self.result, self._details, self.warnings = None, "", []
        self._handle = handle
        handle.observers.append(self._onJob)
        self._set(State.PENDING, "")

    def _onJob(self, handle: Any) -> None:
        self.warnings = [plainSentence(sentence) for sentence in handle.warnings]
        if not handle.finished:
            self._set(handle.state, "")
            return
        state, message = handle.state, handle.message
        if state is State.DONE:
            try:
                self.result = _read(handle)
                message = _sentence(self.result)
            except MedDDPMError as exc:
                state, message = State.FAILED, str(exc)
        self._details = handle.details()
        self._handle = None
        self._discard(handle)
        self._set(state, message)

    def _discard(self, handle: Any) -> None:
        try:
            handle.discard()
        except MedDDPMError as exc:
            logger.warning("a job folder stays: %s", type(exc.__cause__).__name__)

    def _set(self, state: State, message: str) -> None:
        self.state, self.message = state, plainSentence(message)
        self.changed()


def _sentence(result: PrepareResult) -> str:
    left = f" {result.leftOut} were left out." if result.leftOut else ""
    flags = f" {result.flags} warnings are in the report." if result.flags else ""
    return f"{result.cases} cases are prepared.{left}{flags}"


def _read(handle: Any) -> PrepareResult:
    try:
        data = json.loads(read_bounded(handle.folder.output(NAME), MAX_BYTES))
        return PrepareResult(
            Path(data["dataset"]),
            Path(data["report"]),
            _count(data["cases"]),
            _count(data["left_out"]),
            _count(data["flags"]),
            tuple(str(sentence) for sentence in data["sentences"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise InputError("The result of the preparation could not be read. Prepare again.") from exc


def _count(value: Any) -> int:
    """A number, or the length of a list: how many."""
    return len(value) if isinstance(value, list) else int(value)

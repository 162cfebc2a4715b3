"""A small job of the tools worker on one file: write the file in steps, follow the job, hand over its result."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from medddpm.errors import InputError, MedDDPMError

from .Background import SLICE_SECONDS, SlicedTask
from .Jobs import JobState
from .PlainSentences import sentenceOf, wordsOf

logger = logging.getLogger(__name__)

Steps = Generator[None, None, Any]


class ToolJob:
    """``prepare`` are steps that return (kind, request); ``onResult`` makes steps from the job's folder of outputs.

    What these return, if anything, is called at the very end: whoever is told there may begin another job. ``onError``
    gets a sentence; after ``cancel`` neither goes on. The folder is deleted at the end of ``onResult``.
    Files in the exchange folder that the request names go with the job. Call ``tick`` regularly.
    """

    def __init__(
        self,
        jobs: Any,
        prepare: Steps,
        onResult: Callable[[Path], Steps],
        onError: Callable[[str], None],
    ) -> None:
        self._jobs, self._onResult, self._onError = jobs, onResult, onError
        self._handle: Any = None
        self._request: dict[str, Any] = {}
        self._task = SlicedTask(prepare, self._submit, self._fail)
        self.finished = False

    @property
    def job(self) -> Any:
        """The JobHandle, which tells how far it is; None before it is submitted."""
        return self._handle

    def tick(self) -> None:
        """Work for some milliseconds."""
        if not self._task.finished:
            self._task.step(SLICE_SECONDS)

    def cancel(self) -> None:
        """End it; nothing is handed over any more."""
        if self.finished:
            return
        self.finished = True
        if not self._task.finished:
            self._task.cancel()
        if self._handle is not None:
            self._handle.cancel()
        self._discardWhereEnded()

    def _submit(self, order: tuple[str, dict[str, Any]]) -> None:
        kind, self._request = order
        try:
            self._handle = self._jobs.submit(self._request, kind=kind)
        except MedDDPMError as exc:
            self._fail(exc)
            return
        self._handle.observers.append(self._onJob)

    def _onJob(self, job: Any) -> None:
        if not job.finished:
            return
        if self.finished:  # it was cancelled
            self._discardWhereEnded()
        elif job.state is not JobState.DONE:
            self._fail(InputError(job.message or "The job failed.", path=job.problemPath or ""))
        else:
            self._task = SlicedTask(self._onResult(job.folder.outputs), self._onTaken, self._fail)

    def _onTaken(self, tell: Callable[[], None] | None) -> None:
        self.finished = True
        self._discardWhereEnded()
        if tell is not None:
            tell()

    def _discardWhereEnded(self) -> None:
        if self._handle is None or not self._handle.finished:
            return
        try:
            self._handle.discard()
        except MedDDPMError as exc:
            logger.warning("a job folder stays: %s", type(exc.__cause__).__name__)

    def _fail(self, error: BaseException) -> None:
        self.finished = True
        if not isinstance(error, MedDDPMError):
            logger.error("a tool failed", exc_info=error)
        self._discardWhereEnded()
        self._onError(sentenceOf(error, wordsOf(self._request)))

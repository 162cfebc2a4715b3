"""A question to a worker, of which only the newest counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from medddpm.errors import InputError, MedDDPMError
from medddpm.files import read_bounded
from medddpm.jobs.folder import State

from .PlainSentences import sentenceOf

MAX_BYTES = 64 * 1024

Answer = TypeVar("Answer")


class Question:
    """Asks by a short job of ``jobs`` (a JobMonitor); a new question replaces the one that is still open."""

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs
        self._handle: Any = None

    @property
    def open(self) -> bool:
        """Whether an answer is still to come."""
        return self._handle is not None

    def ask(
        self,
        kind: str,
        request: dict[str, Any],
        read: Callable[[Any], Answer],
        onDone: Callable[[Answer], None],
        onError: Callable[[str], None] | None = None,
    ) -> None:
        """Submit a job; ``read`` makes the answer from its JobHandle, and raises MedDDPMError where it cannot.

        One of the callbacks is called some time later, unless a newer question comes first. Raises InputError where the
        job cannot be submitted.
        """
        self.cancel()
        handle = self._handle = self._jobs.submit(request, kind=kind)

        def follow(job: Any) -> None:
            if not job.finished:
                return
            job.observers.remove(follow)
            answer: Any = None
            problem = ""
            try:
                answer = read(job)
            except MedDDPMError as exc:
                problem = sentenceOf(exc)
            job.discard()
            if job is not self._handle:
                return
            self._handle = None
            if not problem:
                onDone(answer)
            elif onError is not None:
                onError(problem)

        handle.observers.append(follow)

    def cancel(self) -> None:
        """Forget the open question."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()


def readAnswer(job: Any, name: str, what: str) -> dict[str, Any]:
    """The JSON object ``name`` in the outputs of a job; ``what`` says what it is. Raises InputError."""
    if job.folder.state() is not State.DONE:
        raise InputError(job.message or f"{what} was not made.")
    try:
        data = json.loads(read_bounded(job.folder.output(name), MAX_BYTES))
    except (OSError, ValueError, RecursionError) as exc:
        raise InputError(f"{what} could not be read.") from exc
    if not isinstance(data, dict):
        raise InputError(f"{what} could not be read.")
    return data

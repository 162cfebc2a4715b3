"""Running one job folder in this process: for the command line, clusters, and each job of a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError, MedDDPMError
from ..files import cancelled_by
from ..progress import Reporter
from .folder import JobFolder, State
from .log import job_log
from .outcome import EXIT_DONE, EXIT_INTERNAL, Outcome, outcome_of
from .owner import pulse
from .reporter import JobReporter
from .stop import Stop

logger = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any], JobFolder, Reporter], None]


def run_job(
    folder: JobFolder, handlers: Mapping[str, Handler], stop: Stop | None = None, reporter: Reporter | None = None
) -> int:
    """Run the job with the handler of its kind; returns the exit code of the job contract.

    ``reporter``: in place of a ``JobReporter``.

    A job that is done stays done (0); one that failed, was cancelled or interrupted is run again. However the handler
    ends, the folder's last event says so in a sentence and ``log.txt`` holds the technical detail. Raises
    ``owner.Held`` where another process runs the job and InputError where the folder cannot be written at all.
    """
    if not folder.submitted:
        raise InputError(f"{folder.path} is not a job folder: it has no job.json. Name a folder made by a submission.")
    if folder.state() is State.DONE:
        return EXIT_DONE
    stop = stop or Stop()
    attempt = folder.begin()
    with pulse(folder.claim.touch):
        outcome = _too_often(attempt, folder) or _attempt(folder, handlers, reporter or JobReporter(folder, stop))
        if outcome.event is State.CANCELLED and stop.reason == Stop.PARENT and not folder.cancel_requested:
            outcome = Outcome(State.INTERRUPTED, outcome.exit_code, outcome.message)
        folder.finish(outcome)
    return outcome.exit_code


def _attempt(folder: JobFolder, handlers: Mapping[str, Handler], reporter: Reporter) -> Outcome:
    try:
        job = folder.read()
        folder.prepare()
        if job.kind not in handlers:
            known = ", ".join(sorted(handlers))
            raise InputError(f"{folder.path} asks for a job of kind '{job.kind}'; known here are: {known}.")
        with job_log(folder, job):
            return _handle(handlers[job.kind], job.request, folder, reporter)
    except Exception as exc:  # a bad job.json, a log that cannot be opened
        logger.warning("a job could not be started", exc_info=not isinstance(exc, MedDDPMError))
        return outcome_of(exc)


def _handle(handler: Handler, request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> Outcome:
    try:
        reporter.check_cancelled()
        with cancelled_by(reporter.check_cancelled):
            handler(request, folder, reporter)
    except (Exception, KeyboardInterrupt, SystemExit) as exc:
        outcome = outcome_of(exc)
        level = logging.ERROR if outcome.event is State.FAILED else logging.INFO
        logger.log(level, f"{outcome.event}, exit code {outcome.exit_code}", exc_info=exc)
        return outcome
    logger.info("done")
    return Outcome(State.DONE, EXIT_DONE, f"The {folder.noun} is done.")


def _too_often(attempt: int, folder: JobFolder) -> Outcome | None:
    """A job that keeps taking its process down is given up, so that the jobs behind it are not held up forever."""
    if attempt <= folder.most_attempts:
        return None
    sentence = (
        f"The program ended abruptly {folder.most_attempts} times while it ran this job, probably for lack of memory "
        "or because of the graphics driver. Try a smaller model, a lower precision or the device cpu."
    )
    return Outcome(State.FAILED, EXIT_INTERNAL, sentence)

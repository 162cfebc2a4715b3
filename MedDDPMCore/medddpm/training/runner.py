"""Training one run folder in this process: for the command line, detached processes, clusters. Imports torch late."""

from __future__ import annotations

import contextlib
import importlib
import logging
import signal
from collections.abc import Callable
from dataclasses import replace

from ..errors import Cancelled, InputError
from ..files import cancelled_by
from ..jobs.folder import State
from ..jobs.log import job_log
from ..jobs.outcome import DONE, EXIT_CANCELLED, EXIT_DONE, Outcome, outcome_of
from ..jobs.owner import pulse
from ..jobs.stop import Stop
from ..progress import Reporter
from .ranks import launched_rank
from .reporter import ENDED, FollowerReporter, RunReporter
from .run import PAUSED, Paused, RunFolder

logger = logging.getLogger(__name__)

# The system asked the process to end (a cluster needs the machine): "try again later" of sysexits.h. The same command
# goes on, so a batch script can put itself into the queue again on this code, and on no other.
EXIT_REQUEUE = 75
# SLURM sends SIGTERM to what it preempts, and SIGUSR1 where the script asks for it (--signal).
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))
# Fields of the request that name files; all else of it may stand in the log.

# (run, reporter) -> None
Training = Callable[[RunFolder, Reporter], None]


def run_training(run: RunFolder, stop: Stop, training: Training | None = None, console: Reporter | None = None) -> int:
    """Train the run to its end; returns the exit code: those of the job contract, and 75 where a signal ended it.

    However it ends, the folder's last event says so in a sentence; ``console`` is shown the progress as well. Raises
    ``owner.Held`` where another process trains it, and InputError where the folder holds no training or cannot be
    written.
    """
    run.read()
    training = training or _train
    if run.state() is State.DONE:
        return EXIT_DONE
    if launched_rank() != 0:
        return _follow(run, stop, training)
    attempt = run.begin()
    with pulse(run.claim.touch):
        outcome = _attempt(run, RunReporter(run, stop, console), attempt, training)
        by_system = outcome.event == PAUSED and not run.pause_requested and stop.signal != signal.SIGINT
        run.finish(outcome)
    return EXIT_REQUEUE if by_system else outcome.exit_code


def _train(run: RunFolder, reporter: Reporter) -> None:
    trainer = importlib.import_module("medddpm.training.trainer").Trainer
    trainer(run.config(), run.path, reporter).run()


def _attempt(run: RunFolder, reporter: RunReporter, attempt: int, training: Training) -> Outcome:
    try:
        job = run.read()
        run.prepare()
        with job_log(run, job):
            if attempt > 1:
                reporter.warning("The training ended abruptly before. It goes on from its last checkpoint.")
            return _logged(run, reporter, training)
    except Exception as exc:  # a bad job.json, a log that cannot be opened
        logger.warning("the training could not be started", exc_info=not isinstance(exc, InputError))
        return outcome_of(exc)


def _logged(run: RunFolder, reporter: RunReporter, training: Training) -> Outcome:
    try:
        reporter.check_cancelled()
        with cancelled_by(reporter.check_cancelled):
            training(run, reporter)
    except (Exception, KeyboardInterrupt, SystemExit) as exc:
        outcome = _outcome(exc, run)
        ended = outcome.event != "failed"
        logger.log(logging.INFO if ended else logging.ERROR, outcome.event, exc_info=None if ended else exc)
        return outcome
    logger.info("done")
    return replace(DONE, message="The training is done.")


def _outcome(error: BaseException, run: RunFolder) -> Outcome:
    """How the run ended. What stops without anyone's request was asked to by a signal, perhaps to another process."""
    if isinstance(error, Paused):
        return Outcome(PAUSED, EXIT_CANCELLED, str(error))
    if isinstance(error, Cancelled) and not run.cancel_requested:
        return Outcome(PAUSED, EXIT_CANCELLED, ENDED)
    return outcome_of(error)


def _follow(run: RunFolder, stop: Stop, training: Training) -> int:
    """The part of a further process of a group: it writes nothing, and the first one tells how the training ended."""
    with contextlib.suppress(Cancelled):
        training(run, FollowerReporter(stop))
    return EXIT_DONE

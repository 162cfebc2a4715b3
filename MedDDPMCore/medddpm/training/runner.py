"""Training one run folder in this process: for the command line, detached processes, clusters. Imports torch late."""

from __future__ import annotations

import contextlib
import importlib
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import Cancelled, Paused
from ..jobs.events import Event, State
from ..jobs.folder import JobFolder
from ..jobs.outcome import EXIT_DONE
from ..jobs.reporter import JobReporter
from ..jobs.runner import run_job
from ..jobs.stop import Stop
from ..progress import Reporter, SilentReporter
from .launch import launched_rank
from .run import KIND, RunFolder

# The system asked the process to end (a cluster needs the machine): "try again later" of sysexits.h. The same command
# goes on, so a batch script can put itself into the queue again on this code, and on no other.
EXIT_REQUEUE = 75
# SLURM sends SIGTERM to what it preempts, and SIGUSR1 where the script asks for it (--signal).
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))
# A line at most this often (seconds), and after an hour every 20 seconds: a run of weeks must not fill the disk.
STEP_SECONDS, MOST_STEP_SECONDS, STEP_SHARE = 0.5, 20.0, 1 / 180

STOPPED = "The training was stopped. Its last checkpoint is kept, so it can be resumed."
PAUSED = "The training is paused. It resumes from its last checkpoint when it is started again."
ENDED = "The training was interrupted because its process was asked to end. Start it again to resume."

# (run, reporter) -> None
Training = Callable[[RunFolder, Reporter], None]


def run_training(run: RunFolder, stop: Stop, training: Training | None = None, console: Reporter | None = None) -> int:
    """Train the run to its end; returns the exit code: those of the job contract, and 75 where a signal ended it.

    However it ends, the folder's last event says so in a sentence; ``console`` is shown the progress as well. Of a
    group of processes the first one writes all that, and the others nothing. Raises ``owner.Held`` where another
    process trains it, and InputError where the folder holds no training or cannot be written.
    """
    run.read()
    train = training or _train
    if run.state() is State.DONE:
        return EXIT_DONE
    if launched_rank() != 0:
        with contextlib.suppress(Cancelled):
            train(run, _FollowerReporter(stop))
        return EXIT_DONE

    def handler(_request: dict[str, Any], _folder: JobFolder, reporter: Reporter) -> None:
        owner = run.claim.owner()
        if owner is not None and owner.attempt > 1:
            reporter.warning("The training ended abruptly before. It resumes from its last checkpoint.")
        train(run, reporter)

    code = run_job(run, {KIND: handler}, stop, RunReporter(run, stop, console))
    last = run.recent_events()[-1:]
    return EXIT_REQUEUE if last and last[0].message == ENDED else code


def _train(run: RunFolder, reporter: Reporter) -> None:
    if run.config().on:
        importlib.import_module("medddpm.training.elsewhere").train_on(run, reporter)
        return
    importlib.import_module("medddpm.training.trainer").Trainer(run.config(), run.path, reporter).run()


class RunReporter(JobReporter):
    """``medddpm.progress.Reporter`` of a run folder; the time left is by the mean over all that this process did.

    That mean holds what comes between iterations, too: validation, samples, checkpoints. What is told is also shown on
    ``console``, where there is one.
    """

    def __init__(
        self,
        run: RunFolder,
        stop: Stop | None = None,
        console: Reporter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(run, stop, clock=clock)
        self._run = run
        self._console: Reporter = console or SilentReporter()
        self._started = clock()
        self._first: tuple[int, float] | None = None

    def stage(self, name: str, message: str = "") -> None:
        """See Reporter."""
        super().stage(name, message)
        self._console.stage(name, message)

    def step(self, done: int, total: int, preview: Callable[[], np.ndarray] | None = None) -> None:
        """See Reporter; training has no previews."""
        self._console.step(done, total)
        now = self._clock()
        if self._first is None or done < self._first[0]:
            self._first = (done, now)
        pause = min(MOST_STEP_SECONDS, max(STEP_SECONDS, (now - self._started) * STEP_SHARE))
        if now - self._last_line >= pause or done >= total:
            self._last_line = now
            self._try(Event("step", stage=self._stage, step=done, total=total, seconds_left=self._left(done, total)))

    def warning(self, sentence: str) -> None:
        """See Reporter."""
        super().warning(sentence)
        self._console.warning(sentence)

    def verdict(self, kind: str, sentence: str) -> None:
        """See Reporter."""
        super().verdict(kind, sentence)
        self._console.verdict(kind, sentence)

    def check_cancelled(self) -> None:
        """Raise Cancelled where the run should stop, Paused where it should pause or its process should end."""
        if self._run.cancel_requested:
            raise Cancelled(STOPPED)
        if self._run.pause_requested:
            raise Paused(PAUSED)
        _raise_if_asked(self.asked)

    def _left(self, done: int, total: int) -> float | None:
        """Seconds left; None until two iterations are known (the first is slower than the others)."""
        if done >= total:
            return 0.0
        assert self._first is not None
        first, since = self._first
        return None if done == first else round((self._clock() - since) / (done - first) * (total - done), 1)


class _FollowerReporter(SilentReporter):
    """The Reporter of the further processes of a group: the first one alone writes and looks at the run folder."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def check_cancelled(self) -> None:
        """Raise Paused where the process should end."""
        _raise_if_asked(self._stop)


def _raise_if_asked(stop: Stop) -> None:
    """Raise Paused where a signal asked the process to end; Ctrl-C is a pause like the user's."""
    if stop.reason is not None:
        raise Paused(PAUSED if stop.signal == signal.SIGINT else ENDED)

"""A training on another computer: the run is sent there, its course is shown here, and it comes back when it ends.

The folder here is the run wherever it computes: figures and samples are fetched on the way, and the checkpoint at the
end, also of a training that was paused or stopped. So it can go on here or on a third computer.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import Cancelled, MedDDPMError, Paused
from ..jobs.events import State
from ..jobs.folder import JobFolder
from ..jobs.host import Host
from ..jobs.outcome import EXIT_INTERNAL
from ..jobs.remote import Elsewhere
from ..jobs.reporter import JobReporter
from ..progress import Reporter
from .run import RunFolder
from .runner import RunReporter

COURSE = ("metrics.jsonl", "loss.png")
CARRIED = (*COURSE, "samples", "checkpoints", "outputs")
FETCH_SECONDS = 60.0


def train_on(run: RunFolder, reporter: Reporter) -> None:
    """Train the run on the host of its configuration.

    When the connection is lost, the training goes on there, and the next start follows it. Raises what ``Elsewhere``
    does, Paused and Cancelled where that was asked for here (the run has come back then), and MedDDPMError with the
    sentence with which it ended there.
    """
    job = run.read()
    host = Host.of(job.request["on"])
    reporter.stage("connect", f"Connecting to {host.name}")
    carried = [run.path / name for name in CARRIED if (run.path / name).exists()]
    there = Elsewhere(host, host.prepared(), job, carried)
    there.submit(reporter)
    try:
        end = there.followed(run, _Watching(reporter, there, run))
    except Cancelled:
        reporter.stage("fetch", f"Stopping on {host.name}")
        there.stop()
        _come_back(there, run)
        raise
    reporter.stage("fetch", f"Fetching the training from {host.name}")
    _come_back(there, run)
    message = there.in_local_words(end.message or "")
    if end.event in (State.PAUSED, State.CANCELLED):
        raise (Paused if end.event == State.PAUSED else Cancelled)(f"On {host.name}: {message}")
    if end.event != State.DONE:
        raise MedDDPMError(f"On {host.name}: {message}", end.exit_code or EXIT_INTERNAL, option=end.option or "")


def _come_back(there: Elsewhere, run: RunFolder) -> None:
    there.fetch(run.path, *CARRIED)
    there.remove()


def train_sent(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Train a run that another computer has sent, as a job of a worker. Raises as ``Trainer.run``."""
    from .trainer import Trainer

    run = RunFolder(folder.path)
    stop = reporter.asked if isinstance(reporter, JobReporter) else None
    Trainer(run.config(), run.path, RunReporter(run, stop)).run()


class _Watching:
    """Implements ``Reporter``: passes all on to another one, and fetches the course of the training on the way."""

    def __init__(self, reporter: Reporter, there: Elsewhere, run: RunFolder) -> None:
        self._reporter, self._there, self._run = reporter, there, run
        self._stage, self._fetched = "", time.monotonic()

    def stage(self, name: str, message: str = "") -> None:
        """See Reporter. Samples are there when their stage has ended."""
        if self._stage == "sample":
            self._fetch("samples", "outputs")
        self._stage = name
        self._reporter.stage(name, message)

    def step(self, done: int, total: int, preview: Callable[[], np.ndarray] | None = None) -> None:
        """See Reporter."""
        if time.monotonic() - self._fetched > FETCH_SECONDS:
            self._fetch(*COURSE)
            self._fetched = time.monotonic()
        self._reporter.step(done, total)

    def warning(self, sentence: str) -> None:
        """See Reporter."""
        self._reporter.warning(sentence)

    def verdict(self, kind: str, sentence: str) -> None:
        """See Reporter."""
        self._reporter.verdict(kind, sentence)

    def check_cancelled(self) -> None:
        """See Reporter."""
        self._reporter.check_cancelled()

    def _fetch(self, *names: str) -> None:
        with contextlib.suppress(MedDDPMError):  # they come with the next ones
            self._there.fetch(self._run.path, *names)

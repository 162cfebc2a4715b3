"""The worker: one long-lived process that takes jobs from a spool, one after another, with the model kept warm."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from . import spool as spools
from .folder import JobFolder, State
from .outcome import EXIT_CANCELLED, EXIT_DONE, EXIT_INTERNAL
from .owner import BEAT_SECONDS, Held, pulse
from .process import Parent
from .runner import Handler, run_job
from .stop import Stop

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.04
IDLE_SECONDS = 600.0
# A spool whose folder shows no change is listed only this often: some file systems are slow to show one.
LIST_SECONDS = 0.15
# How long a job that another process runs is left alone before it is looked at again.
RECHECK_SECONDS = 2.0
# A worker without its parent that hangs in a step is not waited for longer than this.
ORPHAN_SECONDS = 15.0
# A request to stop that is older than the worker by more than this was meant for a former one.
STOP_SLACK_SECONDS = 5.0


class Worker:
    """Serves one spool folder until it is idle for ``idle_seconds``, asked to stop, or its parent has gone.

    ``handlers`` maps the kind of a job to what runs it.
    With ``resume``, jobs that were running when an earlier worker died are run again; without, they stay interrupted.
    """

    def __init__(
        self,
        spool: str | os.PathLike[str],
        handlers: Mapping[str, Handler],
        idle_seconds: float = IDLE_SECONDS,
        parent_pid: int | None = None,
        poll_seconds: float = POLL_SECONDS,
        resume: bool = True,
    ) -> None:
        self._spool = spools.open_spool(Path(spool))
        self._handlers = handlers
        self._idle_seconds, self._poll_seconds = idle_seconds, poll_seconds
        self._parent = None if parent_pid is None else Parent(parent_pid)
        self._resume = resume
        self._lock = spools.lock(self._spool)
        self._stop = Stop()
        self._settled: set[str] = set()
        self._later: dict[str, float] = {}
        self._listed = (0, 0.0)
        self._leave_by = math.inf

    def run(self) -> int:
        """Serve until there is a reason to leave. Returns 0, or 3 after SIGINT or SIGTERM, which cancel the job.

        Raises ``owner.Held`` where another worker serves the spool.
        """
        self._lock.take(f"The spool {self._spool}")
        try:
            self._forget_old_stop()
            with self._stop.on_signals(), pulse(self._beat, BEAT_SECONDS):
                self._serve()
        finally:
            self._lock.release()
        return EXIT_CANCELLED if self._stop.reason == Stop.SIGNAL else EXIT_DONE

    def _serve(self) -> None:
        busy_until = time.monotonic()
        while not self._should_leave():
            folder = self._next_job()
            if folder is not None:
                self._run(folder)
                busy_until = time.monotonic()
            elif time.monotonic() - busy_until >= self._idle_seconds:
                return
            else:
                time.sleep(self._poll_seconds)

    def _should_leave(self) -> bool:
        if self._stop.reason is not None:
            return True
        stop = spools.stop_path(self._spool)
        if not stop.exists():
            return False
        stop.unlink(missing_ok=True)
        return True

    def _forget_old_stop(self) -> None:
        stop = spools.stop_path(self._spool)
        if stop.exists() and time.time() - stop.stat().st_mtime > STOP_SLACK_SECONDS:
            stop.unlink(missing_ok=True)

    def _next_job(self) -> JobFolder | None:
        """The first folder, in order, that waits for being run."""
        changed, now = spools.change_time(self._spool), time.monotonic()
        if changed == self._listed[0] and now - self._listed[1] < LIST_SECONDS:
            return None
        names = spools.job_names(self._spool)
        self._settled.intersection_update(names)
        for name in names:
            if name in self._settled or self._later.get(name, 0.0) > now:
                continue
            folder = JobFolder(self._spool / name)
            if folder.submitted and self._wants(folder):
                return folder
        self._listed = (changed, now)  # only of a spool without work: after a job it is listed at once
        return None

    def _wants(self, folder: JobFolder) -> bool:
        """Whether to run it. What needs no more looking at is remembered, so that polling a long spool stays cheap."""
        state = folder.state()
        if state is State.PENDING or (state is State.INTERRUPTED and self._resume):
            return True
        if state is State.RUNNING:  # by the command line, in another process
            self._later[folder.path.name] = time.monotonic() + RECHECK_SECONDS
        else:
            self._settled.add(folder.path.name)
        return False

    def _run(self, folder: JobFolder) -> None:
        name = folder.path.name
        try:
            code = run_job(folder, self._handlers, self._stop)
            logger.info("job %s ended with exit code %d", name, code)
            self._settled.add(name)
        except Held:
            self._later[name] = time.monotonic() + RECHECK_SECONDS
        except InputError as exc:  # nothing can be written into it, not even that it failed
            logger.error("job %s is left aside: %s", name, exc)
            self._settled.add(name)

    def _beat(self) -> None:
        """Once a second, from a thread, also while a job computes."""
        if not self._spool.is_dir():  # deleted: nothing is to be written into it again
            return
        self._lock.touch()
        if self._parent is not None and self._stop.reason is None and self._parent.gone():
            self._stop.reason = Stop.PARENT
            self._leave_by = time.monotonic() + ORPHAN_SECONDS
        if time.monotonic() > self._leave_by:
            logger.error("the parent process ended long ago and the job did not stop: leaving it")
            os._exit(EXIT_INTERNAL)  # the job is left as after a crash, and is offered again

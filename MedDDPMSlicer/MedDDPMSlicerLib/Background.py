"""Everything that goes on in the background of a module, and the one clock that lets it go on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import slicer

from .Jobs import JobMonitor
from .Tickers import TaskTicker, Ticker, Turns
from .Timer import PollTimer

TICK_MS = 50
# One call of ``poll`` begins nothing new after this time (seconds), so that the GUI is not held up.
POLL_SECONDS = 0.03


class Background:
    """Job monitors and tickers (see Tickers.py): ``poll`` lets them go on, which a timer calls.

    Modules derive their service from it. All methods return at once.
    """

    def __init__(self, monitors: Sequence[JobMonitor]) -> None:
        self._monitors = list(monitors)
        self._tasks: list[Any] = []
        self._turns = Turns(POLL_SECONDS)
        self._timer: Any = None

    def startTask(self, task: Any) -> None:
        """Let a SlicedTask work to its end."""
        self.addTicker(TaskTicker(task))

    def addTicker(self, ticker: Any) -> None:
        """Let something go on until it is ``finished``."""
        self._tasks.append(ticker)
        self.startTimer()

    def cancelTasks(self) -> None:
        """End all that ``startTask`` and ``addTicker`` began."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def tickers(self) -> list[Ticker]:
        """What gets its turns in ``poll``; derived classes add theirs."""
        self._tasks = [task for task in self._tasks if not task.finished]
        return list(self._tasks)

    def poll(self) -> None:
        """Let everything go on for some milliseconds; a timer calls this 20 times a second."""
        for monitor in self._monitors:
            monitor.poll()
        self._turns.round(self.tickers())

    def startTimer(self) -> None:
        """Let ``poll`` be called; nothing happens without Qt, where ``waitFor`` does it."""
        if self._timer is None:
            try:
                self._timer = PollTimer(self.poll, TICK_MS)
            except ImportError:
                return
        self._timer.start()

    def stopTimer(self) -> None:
        """Let ``poll`` be called no more."""
        if self._timer is not None:
            self._timer.stop()

    def waitFor(self, run: Any, timeoutSeconds: float | None = None) -> None:
        """Poll until ``run`` (anything with ``finished``) has ended, with the application alive; for scripts.

        Raises TimeoutError with a sentence; the run goes on then.
        """
        end = None if timeoutSeconds is None else time.monotonic() + timeoutSeconds
        while not run.finished:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"It has not ended within {timeoutSeconds:g} s. It goes on; wait longer.")
            self.poll()
            slicer.app.processEvents()
            time.sleep(0.01)
        self.poll()

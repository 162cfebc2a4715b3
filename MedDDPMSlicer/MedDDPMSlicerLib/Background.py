"""Everything that goes on in the background of a module, and the one clock that lets it go on."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import slicer

from .Jobs import JobMonitor
from .Storage import defaultStorage
from .Tickers import SLICE_SECONDS, TaskTicker, Ticker, Turns
from .Timer import PollTimer

TICK_MS = 50
# One call of ``poll`` begins nothing new after this time (seconds), so that the GUI is not held up.
POLL_SECONDS = 0.03


class Background:
    """Job monitors and tickers (see Tickers.py): ``poll`` lets them go on, which a timer calls.

    Modules derive their service from it, of which one lives as long as the application. ``sceneEvent``: the event of
    the scene at which ``closeScene`` is called. All methods return at once.
    """

    _instance: ClassVar[Any] = None  # of each derived class its own

    def __init__(self, storage: Any, monitors: Sequence[JobMonitor], sceneEvent: int) -> None:
        self.storage = storage
        self._monitors = list(monitors)
        self._tasks: list[Any] = []
        self._turns = Turns(POLL_SECONDS)
        self._timer: Any = None
        self._observed: tuple[Any, int] | None = self._observeScene(sceneEvent)

    @classmethod
    def instance(cls) -> Self:
        """The service of this application, made when first asked for. Raises InputError without a usable folder."""
        if cls._instance is None:
            cls._instance = cls(defaultStorage())  # type: ignore[call-arg]  # derived classes know their monitors
        return cls._instance

    @classmethod
    def existing(cls) -> Self | None:
        """The service of this application if there is one already."""
        return cls._instance

    def startTask(self, task: Any, seconds: float = SLICE_SECONDS) -> None:
        """Let a SlicedTask work to its end, about ``seconds`` in each turn.

        0 for one stretch a turn: where each makes the application draw, which is done between two turns.
        """
        self.addTicker(TaskTicker(task, seconds))

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

    def closeScene(self) -> None:
        """Let go of the scene; derived classes end what works for it. Calling it again does no harm."""

    def endWork(self, keepJobs: bool) -> None:
        """End what ``shutdown`` does not know of; for derived classes."""

    def shutdown(self, keepJobs: bool = False) -> None:
        """Let no worker remain: the module is reloaded or, with ``keepJobs``, the application ends.

        Jobs that are kept are offered again in the next session. The next ``instance`` is a new one.
        """
        self.stopTimer()
        self.endWork(keepJobs)
        self.cancelTasks()
        self.detach()
        for monitor in self._monitors:
            if keepJobs:
                monitor.shutdown(keepJobs=True)
            else:
                monitor.endNow()
        if type(self)._instance is self:
            type(self)._instance = None

    def detach(self) -> None:
        """Take no more notice of the scene."""
        if self._observed is not None:
            scene, tag = self._observed
            scene.RemoveObserver(tag)
        self._observed = None

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

    def _observeScene(self, event: int) -> tuple[Any, int]:
        scene, background = slicer.mrmlScene, weakref.ref(self)

        def onEvent(_caller: Any, _event: str) -> None:
            known = background()
            if known is not None:
                known.closeScene()

        return scene, scene.AddObserver(event, onEvent)

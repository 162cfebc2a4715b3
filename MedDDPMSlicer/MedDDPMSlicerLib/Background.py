"""What goes on in the background of a module: work in small pieces, and the one clock that gives each its turns.

Nothing here takes longer than some milliseconds at a time, so that the GUI stays alive.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import slicer

from .Storage import defaultStorage

if TYPE_CHECKING:
    from .Jobs import JobMonitor

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

TICK_MS = 50
# One call of ``poll`` begins nothing new after this time, and one piece of work has about this time in its turn (s).
POLL_SECONDS, SLICE_SECONDS = 0.03, 0.02
# How long the self-tests wait: machines that run tests are often busy with other work.
PATIENCE_SECONDS = 600.0


class Observed:
    """Something whose ``observers`` are called, with it as the argument, after any change; on the thread of the GUI."""

    def __init__(self) -> None:
        self.observers: list[Callable[[Any], None]] = []
        self._changed = False

    def changed(self) -> None:
        """Note a change; ``notify`` tells of it."""
        self._changed = True

    @property
    def told(self) -> bool:
        """Whether the observers know of all changes."""
        return not self._changed

    def notify(self) -> None:
        """Call the observers if anything changed since the last call."""
        if not self._changed:
            return
        self._changed = False
        for observer in list(self.observers):
            try:
                observer(self)
            except Exception:  # one broken observer must not stop what it observes, nor the other observers
                logger.exception("an observer failed")


def finish(steps: Generator[Any, None, Result]) -> Result:
    """What a generator returns, without the pauses that it offers."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        result: Result = end.value
        return result


def inThread(work: Callable[[], Result]) -> Generator[None, None, Result]:
    """What ``work`` returns or raises; pauses while a thread does it. It must not touch the scene or the GUI.

    The waiting gives the thread the interpreter, which the GUI holds even where it is idle. Ended early, the generator
    leaves the thread to itself.
    """
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    while not future.done():
        wait([future], SLICE_SECONDS)
        yield
    return future.result()


class SlicedTask:
    """Runs a generator a little at a time, so that the GUI stays alive between two slices.

    The generator yields wherever it can pause; no stretch between two should take longer than about 50 ms. What it
    returns goes to ``onDone``; an exception ends it and goes to ``onError``. ``clock`` gives seconds and is replaced
    in tests. ``seconds``: how long it works in its turn, at least one stretch.
    """

    def __init__(
        self,
        generator: Generator[Any, None, Any],
        onDone: Callable[[Any], None],
        onError: Callable[[Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generator = generator
        self._onDone, self._onError = onDone, onError
        self._clock = clock
        self.seconds = SLICE_SECONDS
        self.finished = False

    def tick(self) -> None:
        """Work for its turn."""
        self.step(self.seconds)

    def step(self, seconds: float = SLICE_SECONDS) -> bool:
        """Work for about ``seconds`` (at least one stretch); returns whether the task has ended."""
        end = self._clock() + seconds
        while not self.finished:
            try:
                next(self._generator)
            except StopIteration as stop:
                self.finished = True
                self._onDone(stop.value)
            except Exception as exc:
                self.finished = True
                self._onError(exc)
            if self._clock() >= end:
                break
        return self.finished

    def cancel(self) -> None:
        """End the task at its last pause; neither callback is called. Does nothing where it has ended."""
        self.finished = True
        self._generator.close()


class PollTimer:
    """Calls ``callback`` every ``intervalMs`` milliseconds between the events of the GUI, while started.

    The only piece of the shared library that needs Qt, which is imported when one is made. A callback that takes longer
    than the interval is not called twice at once.
    """

    def __init__(self, callback: Callable[[], object], intervalMs: int = 100) -> None:
        import qt

        self._callback = callback
        self._busy = False
        self._timer = qt.QTimer()
        self._timer.setInterval(intervalMs)
        self._timer.connect("timeout()", self._onTimeout)

    def start(self) -> None:
        """Begin calling; does nothing where it does already."""
        if not self._timer.isActive():
            self._timer.start()

    def stop(self) -> None:
        """Cease calling. A callback may stop its own timer."""
        self._timer.stop()

    def _onTimeout(self) -> None:
        # A callback that shows a dialog or calls processEvents would be entered again.
        if self._busy:
            return
        self._busy = True
        try:
            self._callback()
        finally:
            self._busy = False


class Background:
    """Job monitors and tasks: ``poll`` lets them go on, which a timer calls. A task has ``tick``, ``finished``,
    ``cancel``.

    Modules derive their service from it, of which one lives as long as the application. ``sceneEvent``: the event of
    the scene at which ``closeScene`` is called. All methods return at once.
    """

    _instance: ClassVar[Any] = None  # of each derived class its own

    def __init__(self, storage: Any, monitors: Sequence[JobMonitor], sceneEvent: int) -> None:
        self.storage = storage
        self._monitors = list(monitors)
        self._tasks: list[Any] = []
        self._next = 0
        self._timer: Any = None
        background = weakref.ref(self)

        def onEvent(_caller: Any, _event: str) -> None:
            known = background()
            if known is not None:
                known.closeScene()

        scene = slicer.mrmlScene
        self._observed: tuple[Any, int] | None = (scene, scene.AddObserver(sceneEvent, onEvent))

    @classmethod
    def instance(cls) -> Self:
        """The service of this application, made when first asked for. Raises InputError without a usable folder."""
        if cls._instance is None:
            cls._instance = cls(defaultStorage())  # type: ignore[call-arg]  # derived classes know their monitors
        return cls._instance

    def startTask(self, task: Any, seconds: float | None = None) -> None:
        """Let a task have its turns until it is ``finished``; for a SlicedTask, ``seconds`` in each.

        0 for one stretch a turn: where each makes the application draw, which is done between two turns.
        """
        if seconds is not None:
            task.seconds = seconds
        self._tasks.append(task)
        self.startTimer()

    def cancelTasks(self) -> None:
        """End all that ``startTask`` began."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def tickers(self) -> list[Any]:
        """What gets its turns in ``poll``: jobs and tasks; derived classes add theirs."""
        self._tasks = [task for task in self._tasks if not task.finished]
        return [*(job for monitor in self._monitors for job in monitor.active), *self._tasks]

    def poll(self) -> None:
        """Let everything go on for some milliseconds; a timer calls this 20 times a second."""
        for monitor in self._monitors:
            monitor.poll()
        self.takeTurns(self.tickers())

    def takeTurns(self, tickers: Sequence[Any]) -> None:
        """Let tickers work until POLL_SECONDS are over; the next round begins with those that had no turn."""
        end = time.monotonic() + POLL_SECONDS
        for offset in range(len(tickers)):
            if time.monotonic() > end:
                self._next += offset
                return
            tickers[(self._next + offset) % len(tickers)].tick()
        self._next += 1

    def startTimer(self) -> None:
        """Let ``poll`` be called; nothing happens without Qt, where ``waitFor`` does it."""
        if self._timer is None:
            try:
                self._timer = PollTimer(self.poll, TICK_MS)
            except ImportError:
                return
        self._timer.start()

    def closeScene(self) -> None:
        """Let go of the scene; derived classes end what works for it. Calling it again does no harm."""

    def endWork(self, keepJobs: bool) -> None:
        """End what ``shutdown`` does not know of; for derived classes."""

    def shutdown(self, keepJobs: bool = False) -> None:
        """Let no worker remain: the module is reloaded or, with ``keepJobs``, the application ends.

        Jobs that are kept are offered again in the next session. The next ``instance`` is a new one.
        """
        if self._timer is not None:
            self._timer.stop()
        self.endWork(keepJobs)
        self.cancelTasks()
        self.detach()
        for monitor in self._monitors:
            monitor.shutdown(keepJobs)
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
                raise TimeoutError(f"It has not ended within {timeoutSeconds:g} s. It is still running; wait longer.")
            self.poll()
            slicer.app.processEvents()
            time.sleep(0.01)
        self.poll()


def waitUntil(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Let the application work until ``condition`` holds; returns the seconds. AssertionError after too many.

    For self-tests.
    """
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"{what} did not come within {seconds:g} s"
        slicer.app.processEvents()
        time.sleep(0.005)
    return time.monotonic() - begin

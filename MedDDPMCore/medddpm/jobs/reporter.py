"""The Reporter of a job: progress, previews and cancellation through the job folder."""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from ..errors import Cancelled
from .events import Event
from .folder import JobFolder
from .preview import write_preview
from .stop import Stop

logger = logging.getLogger(__name__)

# A line at most this often (seconds); a training of 100,000 steps must not write as many.
STEP_SECONDS = 0.1
PREVIEW_SECONDS = 1.0
PREVIEW_SHARE = 0.03
RECENT_STEPS = 15
SHARED_STAGE = "prepare"  # the steps of this stage are done by several processes


class Pace:
    """Seconds a step takes, as the median over recent steps; the first step of a stage (warm-up) does not count.

    Time between ``finished`` and ``resumed`` (spent on previews) is left out. With ``began`` it is the mean over all
    time since then: steps of several processes end together, so that there is nothing between most of them.
    """

    def __init__(self, began: float | None = None) -> None:
        self._began = began
        self._seconds: deque[float] = deque(maxlen=RECENT_STEPS)
        self._last: tuple[int, float] | None = None

    def finished(self, done: int, now: float) -> None:
        """``done`` steps of the stage are finished at time ``now``. A smaller number than before starts a new count."""
        if self._last is not None and done > self._last[0]:
            self._seconds.append((now - self._last[1]) / (done - self._last[0]))
        self._last = (done, now)

    def resumed(self, now: float) -> None:
        """Work on the next step begins only now."""
        if self._last is not None:
            self._last = (self._last[0], now)

    def seconds_left(self, steps: int) -> float | None:
        """Time for so many more steps; None as long as nothing but the first step is known."""
        if steps <= 0:
            return 0.0
        if self._began is not None and self._last is not None:
            return (self._last[1] - self._began) / max(1, self._last[0]) * steps
        return statistics.median(self._seconds) * steps if self._seconds else None


class JobReporter:
    """``medddpm.progress.Reporter`` that writes events to a job folder.

    A preview is taken at most every ``preview_seconds`` and never so often that all of them together cost more than
    ``preview_share`` of the time. ``clock`` gives seconds and is replaced in tests. Writing a step, warning or preview
    never ends the job; writing a stage raises OSError where the disk is full.
    """

    def __init__(
        self,
        folder: JobFolder,
        stop: Stop | None = None,
        preview_seconds: float = PREVIEW_SECONDS,
        preview_share: float = PREVIEW_SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self.asked = stop or Stop()
        self._clock = clock
        self._pace = Pace()
        self._stage: str | None = None
        self._last_line = -1e9
        self._previews = _Previews(folder, preview_seconds, preview_share, clock)

    def stage(self, name: str, message: str = "") -> None:
        """See Reporter."""
        logger.info(f"stage {name}")
        pace = Pace(self._clock() if name == SHARED_STAGE else None)
        self._stage, self._pace, self._last_line = name, pace, -1e9
        self._folder.append(Event("stage", stage=name, message=message or None))

    def step(self, done: int, total: int, preview: Callable[[], np.ndarray] | None = None) -> None:
        """See Reporter."""
        now = self._clock()
        self._pace.finished(done, now)
        if now - self._last_line >= STEP_SECONDS or done >= total:
            self._last_line = now
            left = self._pace.seconds_left(total - done)
            rounded = None if left is None else round(left, 2)
            self._try(Event("step", stage=self._stage, step=done, total=total, seconds_left=rounded))
        if preview is not None and done < total:
            name = self._previews.take(preview)
            if name is not None:
                self._try(Event("preview", stage=self._stage, step=done, total=total, path=name))
        self._pace.resumed(self._clock())

    def warning(self, sentence: str) -> None:
        """See Reporter."""
        logger.warning("a warning, see the events")
        self._try(Event("warning", stage=self._stage, message=sentence))

    def verdict(self, kind: str, sentence: str) -> None:
        """See Reporter."""
        logger.info(f"verdict {kind}")
        self._try(Event("verdict", stage=kind, message=sentence))

    def check_cancelled(self) -> None:
        """See Reporter."""
        if self._folder.cancel_requested:
            raise Cancelled("The job was cancelled.")
        if self.asked.reason == Stop.SIGNAL:
            raise Cancelled("The job was stopped because its program was asked to end.")
        if self.asked.reason == Stop.PARENT:
            raise Cancelled("The job was interrupted because the program that asked for it has ended.")

    def _try(self, event: Event) -> None:
        try:
            self._folder.append(event)
        except OSError as exc:
            logger.warning(f"a {event.event} event could not be written: {exc.strerror}")


class _Previews:
    """Decides when a preview may be taken, and writes it under a new name each time."""

    def __init__(self, folder: JobFolder, seconds: float, share: float, clock: Callable[[], float]) -> None:
        self._folder, self._seconds, self._share, self._clock = folder, seconds, share, clock
        self._start = self._last = clock()
        self._spent = self._cost = 0.0
        self._count = 0
        self._broken = False

    def take(self, preview: Callable[[], np.ndarray]) -> str | None:
        """The name of the new preview file; None where none is due or it failed (which is logged, and ends them)."""
        now = self._clock()
        affordable = self._spent + self._cost <= self._share * (now - self._start)
        if self._broken or now - self._last < self._seconds or not affordable:
            return None
        name = f"preview-{self._count + 1:06d}.npy"
        try:
            write_preview(self._folder.inside(name), preview())
        except Exception:
            # A picture on the way must never cost the result.
            logger.warning("previews are switched off", exc_info=True)
            self._broken = True
            return None
        self._count += 1
        self._folder.forget_preview(f"preview-{self._count - 2:06d}.npy")
        self._last = self._clock()
        self._cost = self._last - now
        self._spent += self._cost
        return name

"""How long the GUI thread is held up, measured within the application."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qt

INTERVAL_MS = 10
# What a person feels.
LIMIT_SECONDS = 0.1


class StallMeter:
    """While entered, a timer of 10 ms measures the GUI thread.

    ``longestGap``: longest time between two ticks, as a person would feel it. ``longestCpu``: most processor time that
    the GUI thread used between two ticks: its own work, whatever else the machine is busy with; with the drawing of the
    views. ``overLimit``: how often that was more than LIMIT_SECONDS. ``longestCallback``: most processor time of one
    call of ``timers`` (``MedDDPMSlicerLib.Background.PollTimer``), ``slowest`` its name, ``longestCallbackWall`` the
    longest such call by the clock. Seconds.
    """

    def __init__(self, *timers: Any) -> None:
        self._own = timers
        self.longestGap = self.longestCpu = self.longestCallback = self.longestCallbackWall = 0.0
        self.slowest = ""
        self.ticks = self.overLimit = 0
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", self._tick)

    def __enter__(self) -> StallMeter:
        self._usual = [timer._callback for timer in self._own]
        for timer in self._own:
            timer._callback = self._timed(timer._callback)
        self._wall, self._cpu = time.monotonic(), time.thread_time()
        self._timer.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._timer.stop()
        for timer, usual in zip(self._own, self._usual, strict=True):
            timer._callback = usual

    def summary(self) -> str:
        """The figures in one line."""
        return (
            f"longest gap {1000 * self.longestGap:.0f} ms, own work in one gap {1000 * self.longestCpu:.0f} ms,"
            f" longest timer call {1000 * self.longestCallback:.0f} ms ({self.slowest},"
            f" {1000 * self.longestCallbackWall:.0f} ms by the clock), {self.ticks} ticks"
        )

    def _tick(self) -> None:
        wall, cpu = time.monotonic(), time.thread_time()
        self.longestGap = max(self.longestGap, wall - self._wall)
        self.longestCpu = max(self.longestCpu, cpu - self._cpu)
        self.overLimit += cpu - self._cpu > LIMIT_SECONDS
        self._wall, self._cpu = wall, cpu
        self.ticks += 1

    def _timed(self, usual: Callable[[], object]) -> Callable[[], None]:
        def measured() -> None:
            before, wall = time.thread_time(), time.monotonic()
            usual()
            spent = time.thread_time() - before
            self.longestCallbackWall = max(self.longestCallbackWall, time.monotonic() - wall)
            if spent > self.longestCallback:
                self.longestCallback, self.slowest = spent, usual.__qualname__

        return measured

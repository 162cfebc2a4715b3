"""Doing many things a few milliseconds at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

# Time that one thing works in its turn, at least one step (seconds).
SLICE_SECONDS = 0.02


class Ticker(Protocol):
    """Something that goes on while ``tick`` is called regularly."""

    def tick(self) -> None:
        """Work for some milliseconds."""
        ...


class Turns:
    """Gives each of several tickers its turn, within a limit of time for one round."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0

    def round(self, tickers: Sequence[Ticker]) -> None:
        """Let tickers work until the time is over; the next round begins with those that had no turn."""
        end = time.monotonic() + self._seconds
        for offset in range(len(tickers)):
            if time.monotonic() > end:
                self._next += offset
                return
            tickers[(self._next + offset) % len(tickers)].tick()
        self._next += 1


class TaskTicker:
    """A SlicedTask as a ticker that works for about ``seconds`` in its turn, at least one stretch."""

    def __init__(self, task: Any, seconds: float = SLICE_SECONDS) -> None:
        self._task, self._seconds = task, seconds

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return bool(self._task.finished)

    def tick(self) -> None:
        """Work for some milliseconds."""
        self._task.step(self._seconds)

    def cancel(self) -> None:
        """End it at its last pause."""
        self._task.cancel()

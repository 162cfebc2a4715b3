"""Looking again and again at folders that may be on a slow disk, a few milliseconds at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

from MedDDPMSlicerLib.Background import SlicedTask

logger = logging.getLogger(__name__)

# Rounds take at most this share of the time: a slow disk is asked less often.
MAX_SHARE = 0.05
SLICE_SECONDS = 0.02


class Rounds:
    """Works through the steps that ``begin`` makes, every ``seconds`` or less often. Call ``tick`` regularly.

    ``clock`` gives seconds and is replaced in tests.
    """

    def __init__(
        self, begin: Callable[[], Generator[None, None, None]], seconds: float, clock: Callable[[], float]
    ) -> None:
        self._begin, self._seconds, self.clock = begin, seconds, clock
        self._task: SlicedTask | None = None
        self._next = self._spent = 0.0

    def again(self) -> None:
        """Give up the round that is going on, if any, and begin the next one at the next tick."""
        if self._task is not None:
            self._task.cancel()
        self._task, self._next = None, 0.0

    def tick(self) -> None:
        """Take some of the steps; takes milliseconds where the disk does."""
        began = self.clock()
        if self._task is None:
            if began < self._next:
                return
            self._spent, self._task = 0.0, SlicedTask(self._begin(), lambda _: None, _logFailure, self.clock)
        task = self._task
        task.step(SLICE_SECONDS)
        self._spent += self.clock() - began
        if task.finished and task is self._task:
            self._task, self._next = None, self.clock() + max(self._seconds, self._spent / MAX_SHARE)


def _logFailure(error: Any) -> None:
    logger.error("a folder of trainings could not be looked at", exc_info=error)

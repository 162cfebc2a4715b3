"""Work in small slices between the events of the GUI."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

SLICE_SECONDS = 0.05


class SlicedTask:
    """Runs a generator a little at a time, so that the GUI stays alive between two slices.

    The generator yields wherever it can pause; no stretch between two yields should take longer than about 50 ms. What
    it returns goes to ``onDone``; an exception ends it and goes to ``onError``. A ``PollTimer`` calls ``step``.
    ``clock`` gives seconds and is replaced in tests.
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
        self.finished = False

    def step(self, seconds: float = SLICE_SECONDS) -> bool:
        """Work for about ``seconds`` (at least one stretch); returns whether the task has ended."""
        end = self._clock() + seconds
        while not self.finished:
            self._advance()
            if self._clock() >= end:
                break
        return self.finished

    def runToEnd(self) -> None:
        """Work until the task has ended; for scripts and tests."""
        while not self.finished:
            self._advance()

    def cancel(self) -> None:
        """End the task at its last pause; neither callback is called. Does nothing where it has ended."""
        self.finished = True
        self._generator.close()

    def _advance(self) -> None:
        try:
            next(self._generator)
        except StopIteration as end:
            self.finished = True
            self._onDone(end.value)
        except Exception as exc:
            self.finished = True
            self._onError(exc)

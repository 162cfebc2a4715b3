"""How long work tells the person (or program) waiting for it where it is, and learns that it should stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np

from .errors import Cancelled


class Reporter(Protocol):
    """What synthesis and training call while they run; the command line, jobs and tests each implement it.

    ``check_cancelled`` raises ``medddpm.errors.Cancelled`` once the user has asked to stop; it is called between
    sampling steps and must be cheap.
    """

    def stage(self, name: str, message: str = "") -> None:
        """A new stage ("load", "prepare", "sample", "write") begins; ``message`` is a plain sentence."""

    def step(self, done: int, total: int, preview: Callable[[], np.ndarray] | None = None) -> None:
        """``done`` of ``total`` steps are finished; ``preview`` computes the x0 estimate, (C, X, Y, Z) in [-1, 1]."""

    def warning(self, sentence: str) -> None:
        """Something the user should know, which does not stop the work."""

    def verdict(self, kind: str, sentence: str) -> None:
        """How a training goes: early, improving, flat, diverging, overfitting or memorizing, and what to do."""

    def check_cancelled(self) -> None:
        """Raise Cancelled if the user has asked to stop."""


class SilentReporter:
    """A Reporter for library calls: nothing is shown, nothing is cancelled."""

    def stage(self, name: str, message: str = "") -> None:
        """See Reporter."""

    def step(self, done: int, total: int, preview: Callable[[], np.ndarray] | None = None) -> None:
        """See Reporter."""

    def warning(self, sentence: str) -> None:
        """See Reporter."""

    def verdict(self, kind: str, sentence: str) -> None:
        """See Reporter."""

    def check_cancelled(self) -> None:
        """See Reporter."""


# Called with the finished and all steps, and what is being done.
Progress = Callable[[int, int, str], object]


class CallingReporter(SilentReporter):
    """A Reporter for callers in Python: it tells ``progress``, if there is one, and warns (``warnings``).

    Where ``progress`` raises, the work ends with Cancelled.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._doing = progress, ""

    def stage(self, name: str, message: str = "") -> None:
        self._doing = message or name

    def step(self, done: int, total: int, preview: Callable[[], np.ndarray] | None = None) -> None:
        if self._progress is None:
            return
        try:
            self._progress(done, total, self._doing)
        except Exception as exc:
            raise Cancelled(f"The progress function raised {type(exc).__name__}: {exc}") from exc

    def warning(self, sentence: str) -> None:
        warnings.warn(sentence, stacklevel=2)


def duration(seconds: float) -> str:
    """A time span for reading: "40 s", "6 min", "2.5 h"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

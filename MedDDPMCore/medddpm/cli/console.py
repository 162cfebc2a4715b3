"""A Reporter for the terminal: a progress bar with time left, and plain sentences; lines where there is no terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from ..errors import Cancelled
from ..jobs.stop import Stop

BAR_WIDTH = 10  # leaves room for the words in a terminal of 80 columns


class ConsoleReporter:
    """Implements ``medddpm.progress.Reporter``; use it as a context manager.

    Inside of it Ctrl-C (or SIGTERM) lets the work stop at its next step; a second one ends the program at once. Where
    the output goes to a file, as on a cluster, the progress is a line every ``line_seconds``.
    """

    def __init__(self, console: Console | None = None, line_seconds: float = 60.0) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._line_seconds, self._line_at = line_seconds, time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(BAR_WIDTH), _Course(), console=self.console
        )
        self._task = self._progress.add_task("Starting", total=None, visible=False)
        self._stop = Stop()
        self._signals = contextlib.ExitStack()

    def __enter__(self) -> ConsoleReporter:
        self._signals.enter_context(self._stop.on_signals())
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._signals.close()

    def stage(self, name: str, message: str = "") -> None:
        """See Reporter."""
        if name == "estimate":
            self.console.print(message, markup=False, soft_wrap=True)
        self._progress.update(self._task, description=message or name, visible=True)

    def step(self, done: int, total: int, preview: Callable[[], np.ndarray] | None = None) -> None:
        """See Reporter."""
        if self._progress.tasks[0].finished and done < total:  # other work begins: its time is its own
            self._progress.reset(self._task)
        self._progress.update(self._task, completed=done, total=total)
        if not self.console.is_terminal and time.monotonic() - self._line_at >= self._line_seconds:
            self._line_at = time.monotonic()
            self._print_line()

    def _print_line(self) -> None:
        task = self._progress.tasks[0]
        self.console.print(f"{task.description}: {_course(task)}", markup=False, soft_wrap=True)

    def warning(self, sentence: str) -> None:
        """See Reporter."""
        self.console.print(f"Note: {sentence}", markup=False, soft_wrap=True)

    def verdict(self, kind: str, sentence: str) -> None:
        """See Reporter."""
        self.console.print(f"{kind.capitalize()}: {sentence}", markup=False, soft_wrap=True)

    def check_cancelled(self) -> None:
        """See Reporter."""
        if self._stop.reason is not None:
            raise Cancelled("Stopped. Run the same command again to go on where it was stopped.")

    def cancel(self) -> None:
        """Ask the running work to stop at its next step."""
        self._stop.reason = Stop.SIGNAL


class _Course(ProgressColumn):
    """How far the work is, also before its first step."""

    def render(self, task: Task) -> Text:
        return Text(_course(task))


def _course(task: Task) -> str:
    far = f"{timedelta(seconds=int(task.elapsed or 0))} so far"
    if not task.total:
        return far
    left = "" if task.time_remaining is None else f", {timedelta(seconds=int(task.time_remaining))} left"
    return f"{task.completed:,.0f} of {task.total:,.0f} steps, {far}{left}"

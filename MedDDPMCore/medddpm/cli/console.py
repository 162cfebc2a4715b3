"""A Reporter for the terminal: a progress bar with time left, and plain sentences; lines where there is no terminal."""

from __future__ import annotations

import contextlib
import shutil
import textwrap
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType

import numpy as np
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from ..errors import Cancelled
from ..files import cancelled_by
from ..jobs.owner import pulse
from ..jobs.stop import Stop
from ..parse import printable

BAR_WIDTH = 10  # leaves room for the words in a terminal of 80 columns
PIPE_WIDTH = 1000  # for scripts: a row of a table is a line
GAP = 2
LEAST_PROSE = 24  # columns for sentences, below which a table is no longer readable


def say(text: str, error: bool = False) -> None:
    """Print a line, to stderr where it is an ``error``; names in it cannot give the terminal commands."""
    typer.echo(printable(text), err=error)


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows`` under ``head``, without columns that are empty in all rows; the last one may take several lines.

    Names are never cut or broken: where the terminal is too narrow for them side by side, each row is a paragraph.
    """
    if not rows:
        return
    room = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
    used = [i for i, column in enumerate(zip(*rows, strict=True)) if any(column)]
    table = [[printable(row[i]) for i in used] for row in (head, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    left = sum(width + GAP for width in widths[:-1])
    longest = max(cell_len(word) for row in table for word in row[-1].split() or [""])
    side_by_side = left + max(longest, min(LEAST_PROSE, widths[-1])) <= room
    for row in table[0 if side_by_side and any(head) else 1 :]:
        if side_by_side:
            padded = [cell + " " * (width + GAP - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
            _say_wrapped("".join(padded[:-1]), row[-1], " " * left, room)
        else:
            say(row[0])
            told = zip(table[0][1:], row[1:], strict=True)
            items = (f"{what}: {cell}" if what else cell for what, cell in told if cell)
            _say_wrapped(
                "  ", "; ".join(item if len(item) > room - 4 else _together(item) for item in items), "  ", room
            )


def _together(text: str) -> str:
    """``text`` with spaces at which no line ends; ``printable`` makes plain ones of them."""
    return text.replace(" ", "\u00a0")


def _say_wrapped(start: str, text: str, indent: str, room: int) -> None:
    """Print ``start`` and the words of ``text`` in lines; a word that is longer than a line stays whole."""
    wrapper = textwrap.TextWrapper(
        room, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    for line in wrapper.wrap(text) or [start]:
        say(line.rstrip())


class ConsoleReporter:
    """Implements ``medddpm.progress.Reporter``; use it as a context manager.

    Inside of it Ctrl-C (or SIGTERM) lets the work stop at its next step; a second one ends the program at once. Where
    the output goes to a file, as on a cluster, the progress is a line every ``line_seconds``, also where no step ends.
    """

    def __init__(self, console: Console | None = None, line_seconds: float = 8.0) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._line_seconds, self._line_at = line_seconds, time.monotonic() - line_seconds / 2
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(BAR_WIDTH), _Course(), console=self.console
        )
        self._task = self._progress.add_task("Starting", total=None)
        self._since, self._before = 0.0, -1  # when the work began, and how many steps were done then
        self._stop = Stop()
        self._signals = contextlib.ExitStack()

    def __enter__(self) -> ConsoleReporter:
        self._signals.enter_context(self._stop.on_signals())
        self._signals.enter_context(cancelled_by(self.check_cancelled))
        self._progress.start()
        if not self.console.is_terminal:
            self._signals.enter_context(pulse(self._print_line))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.close()
        self._progress.stop()

    def stage(self, name: str, message: str = "") -> None:
        """See Reporter."""
        if name == "estimate":
            self._say(message)
            return
        if self._progress.tasks[0].finished:  # other work begins: its time is its own
            former, self._task = self._task, self._progress.add_task("", total=None)
            self._progress.remove_task(former)
        if not self._progress.tasks[0].total:
            self._since, self._before = self._progress.get_time(), -1
        self._progress.update(self._task, description=printable(message or name))

    def step(self, done: int, total: int, preview: Callable[[], np.ndarray] | None = None) -> None:
        """See Reporter."""
        if self._before < 0:
            self._before = done - 1  # of a run that goes on, many are done
        pace = (self._progress.get_time() - self._since) / max(1, done - self._before)
        self._progress.update(self._task, completed=done, total=total, left=int(pace * (total - done)))
        if not self.console.is_terminal:
            self._print_line()

    def _print_line(self) -> None:
        if time.monotonic() - self._line_at >= self._line_seconds:
            self._line_at = time.monotonic()
            task = self._progress.tasks[0]
            self._say(f"{task.description}: {_course(task)}")

    def _say(self, sentence: str) -> None:
        self.console.print(printable(sentence), markup=False, soft_wrap=True)

    def warning(self, sentence: str) -> None:
        """See Reporter."""
        self._say(f"Note: {sentence}")

    def verdict(self, kind: str, sentence: str) -> None:
        """See Reporter."""
        self._say(f"{kind.capitalize()}: {sentence}")

    def check_cancelled(self) -> None:
        """See Reporter."""
        if self._stop.reason is not None:
            raise Cancelled("Stopped. Run the same command again to resume.")

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
    left = timedelta(seconds=task.fields["left"])
    return f"{task.completed:,.0f} of {task.total:,.0f} steps, {far}, {left} left"

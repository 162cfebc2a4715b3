"""Why work should end before it is done, other than by the user's cancel file."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType


class Stop:
    """A flag that running work looks at between its steps. A plain attribute: safe to set in a signal handler.

    ``reason`` is None, SIGNAL (the process was asked to end: the job counts as cancelled) or PARENT (the program that
    wanted the job has gone: the job counts as interrupted and can be resumed). ``signal`` is the number of the signal.
    """

    SIGNAL, PARENT = "signal", "parent"

    def __init__(self) -> None:
        self.reason: str | None = None
        self.signal: int | None = None

    @contextlib.contextmanager
    def on_signals(self, numbers: Sequence[int] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[None]:
        """Let these signals set the flag while the block runs; a second one of a kind does what it usually does.

        Outside of the main thread, where Python allows no signal handlers, this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.getsignal(number) for number in numbers}

        def ask(number: int, _frame: FrameType | None) -> None:
            self.reason, self.signal = self.SIGNAL, number
            signal.signal(number, signal.SIG_DFL)

        try:
            for number in former:
                signal.signal(number, ask)
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

"""A timer of the application's event loop."""

from __future__ import annotations

from collections.abc import Callable


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

    @property
    def running(self) -> bool:
        """Whether it is started."""
        return bool(self._timer.isActive())

    def start(self) -> None:
        """Begin calling; does nothing where it does already."""
        if not self.running:
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

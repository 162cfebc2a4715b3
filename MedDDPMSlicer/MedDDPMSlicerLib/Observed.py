"""Telling others of changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class Observed:
    """Something whose ``observers`` are called, with it as the argument, after any change; on the thread of the GUI."""

    def __init__(self) -> None:
        self.observers: list[Callable[[Any], None]] = []
        self._changed = False

    def changed(self) -> None:
        """Note a change; ``notify`` tells of it."""
        self._changed = True

    def notify(self) -> None:
        """Call the observers if anything changed since the last call."""
        if not self._changed:
            return
        self._changed = False
        for observer in list(self.observers):
            try:
                observer(self)
            except Exception:  # one broken observer must not stop what it observes, nor the other observers
                logger.exception("an observer failed")

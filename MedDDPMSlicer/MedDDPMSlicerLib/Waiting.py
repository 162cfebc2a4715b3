"""Waiting inside the application for what it does in the background, for its self-tests."""

from __future__ import annotations

import time
from collections.abc import Callable

import slicer

# Generous: machines that run tests are often busy with other work.
PATIENCE_SECONDS = 600.0


def waitUntil(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Let the application work until ``condition`` holds; returns the seconds. AssertionError after too many."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"{what} did not come within {seconds:g} s"
        slicer.app.processEvents()
        time.sleep(0.005)
    return time.monotonic() - begin

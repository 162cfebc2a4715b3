"""The states of a generation."""

from __future__ import annotations

import enum


class SynthState(enum.Enum):
    """Where a generation is. A finished one is IDLE again, or FAILED until a new one begins."""

    IDLE = "idle"
    PREPARING = "preparing"
    SAMPLING = "sampling"
    IMPORTING = "importing"
    CANCELLING = "cancelling"
    FAILED = "failed"

    @property
    def busy(self) -> bool:
        """Whether there is still something going on."""
        return self not in (SynthState.IDLE, SynthState.FAILED)


class Outcome(enum.Enum):
    """How a generation ended."""

    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

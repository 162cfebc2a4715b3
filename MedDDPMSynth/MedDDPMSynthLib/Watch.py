"""Noticing that a mask has changed, and that the hand rests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from MedDDPMSlicerLib.SegmentVoxels import contentStamp

Clock = Callable[[], float]


class SegmentationWatch:
    """Tells when voxels or segments of one segmentation have changed, ``quietSeconds`` after the last change.

    ``node`` is that segmentation. Call ``tick`` regularly; it returns True once for each rest after changes. Display
    properties do not count.
    """

    def __init__(self, quietSeconds: float, clock: Clock = time.monotonic) -> None:
        self._quiet, self._clock = quietSeconds, clock
        self.node: Any = None
        self._revision = 0
        self._stamp: tuple[Any, ...] = ()
        self._changedAt: float | None = None

    def observe(self, segmentationNode: Any) -> None:
        """Watch another segmentation, or None."""
        self.node = segmentationNode
        self.settle()

    def touch(self) -> None:
        """Count as changed now."""
        self._revision += 1
        self._changedAt = self._clock()

    def settle(self) -> None:
        """Forget changes so far: they were our own."""
        self._changedAt, self._stamp = None, self._look()

    @property
    def pending(self) -> bool:
        """Whether there are changes that ``tick`` has not reported yet."""
        self._notice()
        return self._changedAt is not None

    @property
    def revision(self) -> int:
        """Counts the changes."""
        self._notice()
        return self._revision

    def tick(self) -> bool:
        """Whether changes have just come to a rest."""
        if not self.pending or self._clock() - (self._changedAt or 0) < self._quiet:
            return False
        self._changedAt = None
        return True

    def _notice(self) -> None:
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            self.touch()

    def _look(self) -> tuple[Any, ...]:
        return () if self.node is None else contentStamp(self.node)

"""Noticing that a mask has changed, and that the hand rests."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

Clock = Callable[[], float]


class SegmentationWatch:
    """Tells when voxels or segments of one segmentation have changed, ``quietSeconds`` after the last change.

    ``node`` is that segmentation. Call ``tick`` regularly; it returns True once for each rest after changes. Display
    properties do not count.
    """

    def __init__(self, quietSeconds: float, clock: Clock = time.monotonic) -> None:
        self._quiet, self._clock = quietSeconds, clock
        self.node: Any = None
        self._observed: Any = None
        self._tags: list[int] = []
        self._changedAt: float | None = None

    def observe(self, segmentationNode: Any) -> None:
        """Watch another segmentation, or None."""
        for tag in self._tags:
            self._observed.RemoveObserver(tag)
        self._tags, self._observed, self._changedAt, self.node = [], None, None, segmentationNode
        if segmentationNode is None:
            return
        watch = weakref.ref(self)  # VTK must not keep this object alive, which keeps the observed one alive

        def onChanged(_caller: Any, _event: str) -> None:
            known = watch()
            if known is not None:
                known.touch()

        core = self._observed = segmentationNode.GetSegmentation()
        for event in (core.SourceRepresentationModified, core.SegmentAdded, core.SegmentRemoved):
            self._tags.append(core.AddObserver(event, onChanged))

    def touch(self) -> None:
        """Count as changed now."""
        self._changedAt = self._clock()

    def settle(self) -> None:
        """Forget changes so far: they were our own."""
        self._changedAt = None

    @property
    def pending(self) -> bool:
        """Whether there are changes that ``tick`` has not reported yet."""
        return self._changedAt is not None

    def tick(self) -> bool:
        """Whether changes have just come to a rest."""
        if self._changedAt is None or self._clock() - self._changedAt < self._quiet:
            return False
        self._changedAt = None
        return True

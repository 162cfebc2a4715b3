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
        self._release()
        self._changedAt = None
        self.node = segmentationNode
        if segmentationNode is None:
            return
        self._observed = segmentationNode.GetSegmentation()
        for event in _contentEvents(self._observed):
            self._tags.append(self._observed.AddObserver(event, self._callback()))

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

    def _callback(self) -> Callable[[Any, str], None]:
        """What VTK calls. It must not keep this object alive, which keeps the observed one alive."""
        watch = weakref.ref(self)

        def onChanged(_caller: Any, _event: str) -> None:
            known = watch()
            if known is not None:
                known.touch()

        return onChanged

    def _release(self) -> None:
        for tag in self._tags:
            self._observed.RemoveObserver(tag)
        self._tags, self._observed = [], None


def _contentEvents(segmentation: Any) -> tuple[int, ...]:
    return (
        segmentation.SourceRepresentationModified,
        segmentation.SegmentAdded,
        segmentation.SegmentRemoved,
    )

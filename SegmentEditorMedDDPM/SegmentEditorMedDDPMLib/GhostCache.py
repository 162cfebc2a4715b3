"""Keeps the outline of the tumor for as long as the tumor is the same."""

from __future__ import annotations

import math
from typing import Any

from medddpm.labels.scheme import LabelScheme

from .Ghost import Ghost, makeGhost
from .OpenedMask import openMask
from .Options import Point

# Room for growth (mm) that a ghost is made with, so that moving a slider does not make it again.
GROWTH_STEP = 10.0


class GhostCache:
    """Makes a ``Ghost`` when asked for the first time or after the segmentation, its place or the choice changed."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._ghost: Ghost | None = None

    def get(self, segmentationNode: Any, scheme: LabelScheme, at: Point | None, grow: float = 0.0) -> Ghost:
        """The outline of the tumor, or of the lesion at ``at``, that can be grown by ``grow`` mm.

        Raises InputError where there is none.
        """
        room = GROWTH_STEP * math.ceil(max(0.0, grow) / GROWTH_STEP)
        key = (contentKey(segmentationNode), scheme, at, room)
        if key != self._key or self._ghost is None:
            self._ghost = makeGhost(openMask(segmentationNode, scheme), at, room)
            self._key = key
        return self._ghost

    def clear(self) -> None:
        """Forget the outline and what it needed memory for."""
        self._key = self._ghost = None


def contentKey(segmentationNode: Any) -> tuple[Any, ...]:
    """Something that changes when the voxels, the segments or the transform of a segmentation do."""
    import slicer

    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation = segmentationNode.GetSegmentation()
    segments = [segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()]
    images = [segment.GetRepresentation(name) for segment in segments]
    stamps = tuple(image.GetMTime() if image is not None else 0 for image in images)
    parent = segmentationNode.GetParentTransformNode()
    placed = (parent.GetID(), parent.GetMTime()) if parent is not None else None
    # Undo can bring segments back without touching images that several of them share.
    return segmentationNode.GetID(), segmentation.GetMTime(), tuple(s.GetMTime() for s in segments), stamps, placed

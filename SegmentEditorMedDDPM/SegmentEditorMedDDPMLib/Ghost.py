"""Lines over slice views: the outline of a tumor as it would be after a change, light enough to follow the mouse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from medddpm.labels.scheme import LabelScheme
from medddpm.masks.edit import rotation
from medddpm.masks.fields import FAR, Box, bounding_box, centroid_mm, mapped_box, resample, smooth_distance
from MedDDPMSlicerLib.Lattice import toArray
from vtk.util.numpy_support import numpy_to_vtk

from .Lesions import OpenedMask, openMask, stampOf, tumorAt
from .Options import Motion, Point

# Pixels of the slice view between two samples; the outline is interpolated between them.
PIXEL_STEP = 3
# Room around the tumor in which its distance is known (voxels), which bounds how far a preview can grow (mm).
PAD_VOXELS = 4
CIRCLE_SIDES = 48
# Room for growth (mm) that a ghost is made with, so that moving a slider does not make it again.
GROWTH_STEP = 10.0
COLOR = (1.0, 0.9, 0.2)
LINE_WIDTH = 2.0


@dataclass(frozen=True)
class Ghost:
    """The surface of a tumor: ``distance`` (mm, negative inside) on the block ``box`` of a grid.

    ``affine``: 4x4, voxel index of the grid -> RAS mm of the world. ``centroid``: RAS mm, about which it turns.
    """

    distance: np.ndarray
    box: Box
    affine: np.ndarray
    centroid: np.ndarray

    def outline(self, motion: Motion, pixelToWorld: np.ndarray, size: tuple[int, int]) -> Any:
        """Where the moved tumor cuts a slice view, as lines (vtkPolyData) in pixels of the view; may be empty.

        ``pixelToWorld``: 4x4, (x, y, 0) of the view -> RAS mm; ``size``: its width and height in pixels. What the head
        or brain will clip away is part of the outline.
        """
        # Takes a sample (column, row, 0) of the view to an index of the grid.
        pull = np.linalg.inv(motionMatrix(motion, self.centroid) @ self.affine) @ pixelToWorld
        pull = pull @ np.diag([PIXEL_STEP, PIXEL_STEP, 1.0, 1.0])
        reached = mapped_box(self.box, np.linalg.inv(pull))
        width, height = (n // PIXEL_STEP + 2 for n in size)
        flat = Box((reached.low[0] - 1, reached.low[1] - 1, 0), (reached.high[0] + 1, reached.high[1] + 1, 1))
        target = flat.clipped((width, height, 1))
        # Too small for a line, or the slice does not cut the tumor at all.
        if reached.low[2] > 0 or reached.high[2] < 1 or min(target.shape[:2]) < 2:
            return vtk.vtkPolyData()
        field = resample(self.distance, self.box, pull, target, FAR)[:, :, 0]
        image = vtk.vtkImageData()
        image.SetDimensions(field.shape[0], field.shape[1], 1)
        image.SetSpacing(PIXEL_STEP, PIXEL_STEP, 1)
        image.SetOrigin(target.low[0] * PIXEL_STEP, target.low[1] * PIXEL_STEP, 0)
        image.GetPointData().SetScalars(numpy_to_vtk(field.ravel(order="F"), deep=True))
        squares = vtk.vtkMarchingSquares()
        squares.SetInputData(image)
        # Distances inside grow with the scale, so growth in mm is a smaller level in the unscaled field.
        squares.SetValue(0, motion.grow / (motion.scale / 100))
        squares.Update()
        return squares.GetOutput()


def makeGhost(opened: OpenedMask, at: Point | None, grow: float = 0.0) -> Ghost:
    """The surface of the whole tumor, or of the lesion at ``at``, with room to grow it by ``grow`` mm.

    Raises InputError where there is no tumor, or none at ``at``.
    """
    tumor = tumorAt(opened, at)
    affine = opened.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    inner = bounding_box(tumor)
    box = inner.padded(np.ceil(max(0.0, grow) / spacing).astype(int) + PAD_VOXELS)
    inside = np.zeros(box.shape, bool)
    inside[inner.within(box)] = tumor[inner.slices]
    return Ghost(smooth_distance(inside, spacing), box, affine, centroid_mm(tumor, affine))


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
        key = (stampOf(segmentationNode), scheme, at, room)
        if key != self._key or self._ghost is None:
            self._ghost = makeGhost(openMask(segmentationNode, scheme), at, room)
            self._key = key
        return self._ghost

    def clear(self) -> None:
        """Forget the outline and what it needed memory for."""
        self._key = self._ghost = None


def motionMatrix(motion: Motion, pivot: np.ndarray) -> np.ndarray:
    """4x4, RAS mm -> RAS mm: scaled and turned about ``pivot`` (about R, then A, then S), then shifted. No growth."""
    turnR, turnA, turnS = (rotation(axis, degrees) for axis, degrees in enumerate(motion.degrees))
    matrix = np.eye(4)
    matrix[:3, :3] = motion.scale / 100 * turnS @ turnA @ turnR
    matrix[:3, 3] = pivot + motion.shift - matrix[:3, :3] @ pivot
    return matrix


def circle(center: tuple[float, float], radius: float) -> Any:
    """A circle (vtkPolyData) in pixels of a view."""
    source = vtk.vtkRegularPolygonSource()
    source.SetCenter(*center, 0.0)
    source.SetRadius(radius)
    source.SetNumberOfSides(CIRCLE_SIDES)
    source.GeneratePolygonOff()
    source.Update()
    return source.GetOutput()


class SliceOverlays:
    """One set of lines for each slice view; ``scriptedEffect`` knows the renderers of the views."""

    def __init__(self, scriptedEffect: Any) -> None:
        self._effect = scriptedEffect
        self._actors: dict[Any, Any] = {}

    def show(self, viewWidget: Any, lines: Any) -> None:
        """Draw ``lines`` (vtkPolyData, pixels of the view) instead of what was there."""
        actor = self._actors.get(viewWidget)
        if actor is None:
            if lines.GetNumberOfCells() == 0:
                return
            actor = self._actors[viewWidget] = newActor()
            self._effect.addActor2D(viewWidget, actor)
        actor.GetMapper().SetInputData(lines)
        actor.VisibilityOn()
        self._effect.scheduleRender(viewWidget)

    def hide(self, viewWidget: Any) -> None:
        """Draw nothing over one view."""
        actor = self._actors.get(viewWidget)
        if actor is not None and actor.GetVisibility():
            actor.VisibilityOff()
            self._effect.scheduleRender(viewWidget)

    def hideAll(self) -> None:
        """Draw nothing."""
        for viewWidget in self._actors:
            self.hide(viewWidget)

    def remove(self) -> None:
        """Take the lines out of all views; they come back with the next ``show``."""
        for viewWidget, actor in self._actors.items():
            self._effect.removeActor2D(viewWidget, actor)
        self._actors = {}

    def views(self) -> Iterator[Any]:
        """The slice views of the current layout."""
        manager = slicer.app.layoutManager()
        for name in manager.sliceViewNames() if manager is not None else ():
            yield manager.sliceWidget(name)


def newActor() -> Any:
    """A vtkActor2D that draws lines given in pixels."""
    mapper = vtk.vtkPolyDataMapper2D()
    mapper.SetInputData(vtk.vtkPolyData())
    # The numbers that lines carry along are distances, not colors.
    mapper.ScalarVisibilityOff()
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*COLOR)
    actor.GetProperty().SetLineWidth(LINE_WIDTH)
    return actor


def pixelToWorld(sliceNode: Any) -> np.ndarray:
    """4x4, (x, y, 0) in pixels of a slice view -> RAS mm of the world."""
    return toArray(sliceNode.GetXYToRAS())


def sizeOf(sliceNode: Any) -> tuple[int, int]:
    """Width and height of a slice view in pixels."""
    width, height, _ = sliceNode.GetDimensions()
    return int(width), int(height)


def pointAt(sliceNode: Any, pixel: tuple[int, int]) -> tuple[float, float, float]:
    """RAS mm of the world at a pixel of a slice view."""
    r, a, s = (pixelToWorld(sliceNode) @ [*pixel, 0.0, 1.0])[:3].tolist()
    return r, a, s


def pixelSize(sliceNode: Any) -> float:
    """Millimeters from one pixel of a slice view to the next."""
    return float(np.linalg.norm(pixelToWorld(sliceNode)[:3, 0]))

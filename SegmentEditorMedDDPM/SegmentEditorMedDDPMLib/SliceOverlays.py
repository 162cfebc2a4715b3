"""Lines drawn over slice views: where a lesion will be, or where the tumor goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import slicer
import vtk
from MedDDPMSlicerLib.Lattice import toArray

COLOR = (1.0, 0.9, 0.2)
LINE_WIDTH = 2.0


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

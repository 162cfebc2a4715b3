"""Runs the effect in the application, as "Reload and Test" does: a click, a drag and Apply, with undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import LabelScheme, load_scheme
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels

EVENTS = vtk.vtkCommand
SHAPE, SPACING = (60, 72, 50), 3.0


def runSelfTest(say: Callable[[str], None]) -> None:
    """Place a lesion by a click, drag it, scale it, and undo it all. Raises AssertionError where one fails."""
    scheme = load_scheme("brats")
    node = ballOfBrain(scheme)
    editor = openEditor(node)
    editor.setActiveEffectByName("MedDDPM")
    effect = editor.activeEffect()
    assert effect is not None, "The effect MedDDPM is not registered."
    python = effect.self()
    empty = tumorVoxels(node, scheme)
    assert empty == 0
    say("A click places a lesion")
    python.frame.tabs.currentIndex = 0
    clickAt("Red", (10.0, 0.0, 0.0))
    placed = tumorVoxels(node, scheme)
    assert placed > 0, python.frame.status.text
    say("A drag moves it")
    python.frame.tabs.currentIndex = 1
    dragFrom("Red", (10.0, 0.0, 0.0), (-10.0, 0.0, 0.0))
    assert np.mean(tumorRight(node, scheme)) < 0, python.frame.status.text
    say("Apply makes it larger")
    effect.setParameter("Scale", "120")
    python.onApply()
    assert tumorVoxels(node, scheme) > 1.3 * placed, python.frame.status.text
    say("Undo takes it all back")
    for _step in range(3):
        editor.undo()
    assert tumorVoxels(node, scheme) == 0
    editor.setActiveEffect(None)
    slicer.mrmlScene.RemoveNode(node)


def ballOfBrain(scheme: LabelScheme) -> Any:
    """A segmentation with an ellipsoid of brain around the origin."""
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = [-SPACING * (n - 1) / 2 for n in SHAPE]
    points = [2 * p / (n - 1) - 1 for p, n in zip(np.indices(SHAPE), SHAPE, strict=True)]
    labels = np.where(sum(p**2 for p in points) < 0.9, np.uint8(scheme.surround), np.uint8(0))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Self-test")
    node.CreateDefaultDisplayNodes()
    applyLabels(node, scheme, Volume(labels, affine))
    return node


def openEditor(node: Any) -> Any:
    """The widget of the module Segment Editor, at work on ``node``."""
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(node)
    slicer.util.resetSliceViews()
    slicer.app.processEvents()
    return editor


def clickAt(viewName: str, ras: tuple[float, float, float]) -> None:
    """Press and release the left button in a slice view at a point (RAS mm)."""
    dragFrom(viewName, ras, ras)


def dragFrom(viewName: str, start: tuple[float, float, float], end: tuple[float, float, float]) -> None:
    """Drag with the left button in a slice view, from point to point (RAS mm)."""
    widget = slicer.app.layoutManager().sliceWidget(viewName)
    interactor = widget.sliceView().interactorStyle().GetInteractor()
    pixels = [pixelOf(widget.mrmlSliceNode(), point) for point in (start, end)]
    events = (EVENTS.MouseMoveEvent, EVENTS.LeftButtonPressEvent, EVENTS.MouseMoveEvent, EVENTS.LeftButtonReleaseEvent)
    for event, pixel in zip(events, (pixels[0], pixels[0], pixels[1], pixels[1]), strict=True):
        interactor.SetEventInformation(*pixel, 0, 0, "\0", 0, None)
        interactor.InvokeEvent(event)
        slicer.app.processEvents()


def pixelOf(sliceNode: Any, ras: tuple[float, float, float]) -> tuple[int, int]:
    """The pixel of a slice view that shows a point (RAS mm)."""
    inverse = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(sliceNode.GetXYToRAS(), inverse)
    x, y, _, _ = inverse.MultiplyPoint((*ras, 1.0))
    return round(x), round(y)


def tumorVoxels(node: Any, scheme: LabelScheme) -> int:
    """Voxels of tumor in the mask."""
    return len(tumorRight(node, scheme))


def tumorRight(node: Any, scheme: LabelScheme) -> np.ndarray:
    """How far to the right (mm) the tumor's voxels lie."""
    volume = composeLabels(node, scheme)
    indices = np.argwhere(np.isin(volume.data, scheme.tumor_values))
    return indices @ volume.affine[0, :3] + volume.affine[0, 3]

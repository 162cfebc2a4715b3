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
from MedDDPMSlicerLib.VolumeNodes import volumeNodeFromArray

EVENTS = vtk.vtkCommand
SHAPE, SPACING = (60, 72, 50), 3.0


def runSelfTest(say: Callable[[str], None]) -> None:
    """Place a lesion by a click, drag it, scale it, and undo it all. Raises AssertionError where one fails."""
    scheme = load_scheme("brats")
    node, volume = ballOfBrain(scheme)
    editor = openEditor(node, volume)
    effect = activateEffect(editor)
    assert tumorVoxels(node, scheme) == 0
    say("A click places a lesion")
    effect.frame.tabs.currentIndex = 0
    clickAt("Red", (20.0, 0.0, 0.0))
    placed = tumorVoxels(node, scheme)
    assert placed > 0, effect.frame.status.text
    say("A drag moves it")
    effect.frame.tabs.currentIndex = 1
    dragFrom("Red", (20.0, 0.0, 0.0), (-20.0, 0.0, 0.0))
    assert np.mean(tumorRight(node, scheme)) < 0, effect.frame.status.text
    say("Apply makes it larger")
    effect.scriptedEffect.setParameter("Scale", "120")
    press(effect, "Apply")
    assert tumorVoxels(node, scheme) > 1.3 * placed, effect.frame.status.text
    assert effect.parameter("Scale") == "100"
    say("The mirror brings it back to its side")
    press(effect, "Mirror")
    assert np.mean(tumorRight(node, scheme)) > 0, effect.frame.status.text
    say("Undo takes it all back")
    for _step in range(4):
        editor.undo()
    assert tumorVoxels(node, scheme) == 0
    editor.setActiveEffect(None)
    for made in (node, volume):
        slicer.mrmlScene.RemoveNode(made)


def activateEffect(editor: Any) -> Any:
    """Choose the effect in an editor; returns its Python object."""
    editor.setActiveEffectByName("MedDDPM")
    scripted = editor.activeEffect()
    assert scripted is not None, "The effect MedDDPM is not registered."
    return scripted.self()


def press(effect: Any, name: str) -> None:
    """Click a button of the effect, which must be enabled."""
    (button,) = slicer.util.findChildren(effect.frame.widget, name=f"MedDDPM{name}Button")
    assert button.enabled, button.toolTip
    button.click()
    slicer.app.processEvents()


def ballOfBrain(scheme: LabelScheme) -> tuple[Any, Any]:
    """A segmentation with an ellipsoid of brain around the origin, and an image of it to edit on."""
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = [-SPACING * (n - 1) / 2 for n in SHAPE]
    points = [2 * p / (n - 1) - 1 for p, n in zip(np.indices(SHAPE), SHAPE, strict=True)]
    labels = np.where(sum(p**2 for p in points) < 0.9, np.uint8(scheme.surround), np.uint8(0))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Self-test")
    node.CreateDefaultDisplayNodes()
    applyLabels(node, scheme, Volume(labels, affine))
    volume = volumeNodeFromArray(slicer.mrmlScene, "Self-test image", labels, affine)
    return node, volume


def openEditor(node: Any, volume: Any) -> Any:
    """The widget of the module Segment Editor, at work on a segmentation with its source volume."""
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(volume)
    slicer.util.setSliceViewerLayers(background=volume)
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

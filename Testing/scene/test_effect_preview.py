"""Outlines in slice views, the drag and the mouse, on real slice nodes and interactors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import vtk
from effect_phantom import (
    BRATS,
    CENTER,
    TUMOR,
    UndoCounter,
    changeTumor,
    motionOf,
    paint,
    phantom,
    segmentationOf,
    tumorPoints,
)
from effect_view import SIZE, axialSlice, worldOf
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels
from scene_phantoms import GEOMETRIES
from SegmentEditorMedDDPMLib.Ghost import (
    Ghost,
    GhostCache,
    circle,
    makeGhost,
    motionMatrix,
    newActor,
    pixelSize,
    pixelToWorld,
    pointAt,
    sizeOf,
)
from SegmentEditorMedDDPMLib.Lesions import openMask
from SegmentEditorMedDDPMLib.Options import Motion


@pytest.fixture
def sliceNode(scene: Any) -> Any:
    """An axial slice view through the tumor."""
    return axialSlice(scene)


@pytest.fixture
def node(scene: Any, affine: np.ndarray) -> Any:
    """The phantom in every geometry."""
    return segmentationOf(scene, phantom(affine))


def outlined(ghost: Ghost, motion: Motion, sliceNode: Any) -> np.ndarray:
    """Where the outline of a moved ghost lies, RAS mm."""
    return worldOf(ghost.outline(motion, pixelToWorld(sliceNode), sizeOf(sliceNode)), sliceNode)


def test_pixels_and_points_of_a_view_agree(sliceNode: Any) -> None:
    np.testing.assert_allclose(pointAt(sliceNode, (SIZE[0] // 2, SIZE[1] // 2)), TUMOR, atol=0.5)
    assert pixelSize(sliceNode) == pytest.approx(0.5)


def test_the_outline_of_the_tumor_is_its_border(node: Any, sliceNode: Any) -> None:
    ghost = makeGhost(openMask(node, BRATS), None)
    border = outlined(ghost, motionOf(), sliceNode)
    spacing = np.linalg.norm(composeLabels(node, BRATS).affine[:3, :3], axis=0).max()
    np.testing.assert_allclose(np.linalg.norm(border - TUMOR, axis=1), 12.0, atol=0.5 + spacing / 2)
    assert np.ptp(border[:, 2]) < 1e-6


def test_the_outline_goes_where_the_tumor_goes(node: Any, sliceNode: Any) -> None:
    motion = motionOf(80.0, (-9.0, -7.0, 0.0), (0.0, 0.0, 30.0), 2.0)
    border = outlined(makeGhost(openMask(node, BRATS), None, 2.0), motion, sliceNode)
    changeTumor(node, BRATS, motion)
    thickness = np.linalg.norm(composeLabels(node, BRATS).affine[:3, :3], axis=0).max()
    inPlane = tumorPoints(node)[np.abs(tumorPoints(node)[:, 2] - TUMOR[2]) < thickness]
    for axis in (0, 1):
        assert border[:, axis].min() == pytest.approx(inPlane[:, axis].min(), abs=thickness + 0.5)
        assert border[:, axis].max() == pytest.approx(inPlane[:, axis].max(), abs=thickness + 0.5)


def test_a_slice_beside_the_tumor_has_no_outline(node: Any, sliceNode: Any) -> None:
    ghost = makeGhost(openMask(node, BRATS), None)
    assert len(outlined(ghost, motionOf(shift=(0.0, 0.0, 60.0)), sliceNode)) == 0
    assert len(outlined(ghost, motionOf(shift=(300.0, 0.0, 0.0)), sliceNode)) == 0


def test_the_ghost_of_one_lesion_is_that_lesion(scene: Any, sliceNode: Any) -> None:
    volume = phantom(GEOMETRIES["lps"])
    paint(volume.data, volume.affine, np.add(CENTER, [-14.0, -6.0, -4.0]))
    node = segmentationOf(scene, volume)
    alone = outlined(makeGhost(openMask(node, BRATS), tuple(TUMOR)), motionOf(), sliceNode)
    assert np.linalg.norm(alone - TUMOR, axis=1).max() < 14
    both = outlined(makeGhost(openMask(node, BRATS), None), motionOf(), sliceNode)
    assert np.linalg.norm(both - TUMOR, axis=1).max() > 20


def test_motion_turns_right_handed_about_the_pivot() -> None:
    matrix = motionMatrix(motionOf(200.0, (1.0, 2.0, 3.0), (0.0, 0.0, 90.0)), np.array([5.0, 0.0, 0.0]))
    np.testing.assert_allclose(matrix @ [6.0, 0.0, 0.0, 1.0], [6.0, 4.0, 3.0, 1.0], atol=1e-12)


def test_a_ghost_is_kept_until_the_mask_changes(scene: Any) -> None:
    node = segmentationOf(scene, phantom(GEOMETRIES["lps"]))
    cache, undo = GhostCache(), UndoCounter(node)
    ghost = cache.get(node, BRATS, None)
    assert cache.get(node, BRATS, None) is ghost
    assert cache.get(node, BRATS, None, 6.0) is cache.get(node, BRATS, None, 7.0)
    changeTumor(node, BRATS, motionOf(shift=(-8.0, 0.0, 0.0)), None, undo)
    np.testing.assert_allclose(cache.get(node, BRATS, None).centroid, TUMOR - [8, 0, 0], atol=0.5)
    undo.history.RestorePreviousState()
    np.testing.assert_allclose(cache.get(node, BRATS, None).centroid, TUMOR, atol=0.5)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(1, 3, 20.0)
    transform.SetMatrixTransformToParent(matrix)
    np.testing.assert_allclose(cache.get(node, BRATS, None).centroid, np.add(TUMOR, [0, 20, 0]), atol=0.5)


def test_a_circle_has_its_radius() -> None:
    lines = circle((30.0, 20.0), 7.0)
    assert lines.GetNumberOfLines() == 1
    points = np.array([lines.GetPoint(i)[:2] for i in range(lines.GetNumberOfPoints())])
    np.testing.assert_allclose(np.hypot(*(points - (30, 20)).T), 7.0, atol=1e-6)


@pytest.fixture
def mask(scene: Any) -> Any:
    """The phantom in one geometry."""
    return segmentationOf(scene, phantom(GEOMETRIES["lps"]))


def test_lines_are_drawn_in_their_color_over_the_view(sliceNode: Any) -> None:
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(60, 60)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    actor = newActor()
    actor.GetMapper().SetInputData(circle((30.0, 30.0), 20.0))
    renderer.AddViewProp(actor)
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.Update()
    image = grabber.GetOutput()
    bright = [(x, y) for x in range(60) for y in range(60) if image.GetScalarComponentAsDouble(x, y, 0, 0) > 200]
    assert bright
    assert all(17 < np.hypot(x - 30, y - 30) < 23 for x, y in bright)


def test_a_change_by_others_is_seen(mask: Any) -> None:
    cache = GhostCache()
    cache.get(mask, BRATS, None)
    volume = composeLabels(mask, BRATS)
    applyLabels(mask, BRATS, Volume(np.where(volume.data > 0, np.uint8(4), volume.data), volume.affine))
    with pytest.raises(InputError, match="no tumor yet"):
        cache.get(mask, BRATS, None)

"""Operations of the effect under transforms, on incomplete masks, and where they cannot be done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from effect_phantom import (
    BRATS,
    CENTER,
    HEAD,
    TUMOR,
    UndoCounter,
    changeTumor,
    contents,
    mirrorTumor,
    motionOf,
    paint,
    phantom,
    placeLesion,
    points,
    segmentationOf,
    segmentOf,
    tumorMl,
    tumorPoints,
    voxelsOf,
    writeSegment,
)
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import load_scheme
from MedDDPMSlicerLib.Background import finish
from MedDDPMSlicerLib.Lattice import toMatrix
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels
from MedDDPMSlicerLib.Segments import createSegments
from scene_phantoms import GEOMETRIES
from SegmentEditorMedDDPMLib import Lesions
from SegmentEditorMedDDPMLib.Lesions import Outcome, partsFor
from SegmentEditorMedDDPMLib.Options import LesionOptions

Operation = Callable[[Any, Any], Outcome]
FREE = tuple(np.add(CENTER, [-14.0, -8.0, 6.0]))
NO_PART = LesionOptions(necrotic=False, enhancing=False, edema=False)
END = object()
LESION = LesionOptions(diameter=14.0, edemaWidth=4.0, rimWidth=2.0)


@pytest.fixture
def node(scene: Any, affine: np.ndarray) -> Any:
    """The phantom in every geometry."""
    return segmentationOf(scene, phantom(affine))


@pytest.fixture
def plain(scene: Any) -> Any:
    """The phantom in one geometry: anisotropic and turned, as the most awkward."""
    return segmentationOf(scene, phantom(GEOMETRIES["oblique"]))


def moved(node: Any) -> np.ndarray:
    """How far (mm) the centroid of the tumor is from where the phantom has it."""
    return tumorPoints(node).mean(axis=0) - TUMOR


@pytest.mark.parametrize("scale", [1.0, 0.9])
def test_under_a_linear_transform_points_and_millimeters_are_those_of_the_world(node: Any, scale: float) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = scale * np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    matrix[:3, 3] = (5, -20, 40)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(toMatrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    volume = tumorMl(node)
    changeTumor(node, BRATS, motionOf(shift=(6.0, -5.0, 4.0)))
    np.testing.assert_allclose(matrix[:3, :3] @ moved(node), (6.0, -5.0, 4.0), atol=0.5)
    old = voxelsOf(node, segmentOf(node, 3))
    placed = matrix[:3, :3] @ FREE + matrix[:3, 3]
    placeLesion(node, BRATS, tuple(placed), LESION)
    new = np.array(list(voxelsOf(node, segmentOf(node, 3)) - old))
    assert np.linalg.norm(new.mean(axis=0) - FREE) < 5
    assert tumorMl(node) > volume


def test_under_a_warp_a_sentence_says_what_to_do(plain: Any) -> None:
    warp = vtk.vtkThinPlateSplineTransform()
    corners = vtk.vtkPoints()
    bent = vtk.vtkPoints()
    for corner in ((0, 0, 0), (60, 0, 0), (0, 60, 0), (0, 0, 60), (30, 30, 30)):
        corners.InsertNextPoint(corner)
        bent.InsertNextPoint([c + (4 if corner == (30, 30, 30) else 0) for c in corner])
    warp.SetSourceLandmarks(corners)
    warp.SetTargetLandmarks(bent)
    warp.SetBasisToR()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
    transform.SetAndObserveTransformToParent(warp)
    plain.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(InputError, match=r"nonlinear transform 'Warp'.*Harden"):
        mirrorTumor(plain, BRATS)


def test_a_mask_whose_brain_excludes_the_tumor_gets_no_hole(plain: Any) -> None:
    volume = composeLabels(plain, BRATS)
    writeSegment(plain, segmentOf(plain, BRATS.surround), volume.data == BRATS.surround, volume.affine)
    np.testing.assert_array_equal(composeLabels(plain, BRATS).data, volume.data)
    changeTumor(plain, BRATS, motionOf(shift=(-8.0, 0.0, 0.0)))
    np.testing.assert_array_equal(composeLabels(plain, BRATS).data > 0, volume.data > 0)


def test_missing_segments_are_made_and_undone(scene: Any) -> None:
    node = segmentationOf(scene, phantom(GEOMETRIES["oblique"], tumor=False))
    before = contents(node)
    undo = UndoCounter(node)
    placeLesion(node, BRATS, FREE, LESION, undo)
    assert {segmentOf(node, value) for value in (1, 2, 3)} <= set(node.GetSegmentation().GetSegmentIDs())
    undo.history.RestorePreviousState()
    assert contents(node) == before


def test_a_whole_head_mask_gets_a_lesion_of_one_part(scene: Any) -> None:
    node = segmentationOf(scene, phantom(GEOMETRIES["lps"], HEAD), HEAD)
    # Scalp, skull and fluid take 14 mm of this small head.
    outcome = placeLesion(node, HEAD, tuple(np.add(CENTER, [-8.0, 0.0, 0.0])), LesionOptions(diameter=8.0))
    assert outcome.changed == [segmentOf(node, 2, HEAD)]
    assert partsFor(HEAD, ("necrotic",)) is None
    changeTumor(node, HEAD, motionOf(shift=(-5.0, 0.0, 0.0)))
    np.testing.assert_array_equal(composeLabels(node, HEAD).data > 0, phantom(GEOMETRIES["lps"], HEAD).data > 0)


def test_tumors_move_and_arise_in_tissues_and_not_in_fluid(scene: Any) -> None:
    scheme = load_scheme("glioma-anatomy")
    volume = phantom(GEOMETRIES["oblique"])
    distance = np.linalg.norm(points(volume.data.shape, volume.affine) - CENTER, axis=-1)
    layers = np.select([distance < 5, distance > 29], [6, 5], default=9)
    labels = np.where(volume.data == 4, layers, volume.data).astype(np.uint8)
    node = segmentationOf(scene, Volume(labels, volume.affine), scheme)
    before = composeLabels(node, scheme).data
    with pytest.raises(InputError, match="'Ventricles' is fluid"):
        placeLesion(node, scheme, tuple(np.subtract(CENTER, [1.0, 1.0, 1.0])), LESION)
    placeLesion(node, scheme, FREE, LESION)
    after = composeLabels(node, scheme).data
    assert set(np.unique(before[before != after])) == {9}
    other = tuple(np.add(FREE, 0.5))
    changeTumor(node, scheme, motionOf(shift=(3.0, 0.0, 0.0)), other)
    moved = composeLabels(node, scheme).data
    np.testing.assert_array_equal(moved > 0, before > 0)
    assert set(np.unique(moved[moved != after])) <= {1, 2, 3, 4}
    assert not np.isin(before[np.isin(moved, (1, 2, 3)) & (moved != after)], (1, 2, 3)).any(), "not over another lesion"


REFUSED: dict[str, tuple[Operation, str]] = {
    "outside": (lambda node, undo: placeLesion(node, BRATS, (900.0, 0.0, 0.0), LESION, undo), "outside of the brain"),
    "on a tumor": (lambda node, undo: placeLesion(node, BRATS, tuple(TUMOR), LESION, undo), "at this point already"),
    "no room": (
        lambda node, undo: placeLesion(node, BRATS, FREE, LesionOptions(diameter=79.0), undo),
        "Choose a smaller diameter",
    ),
    "no part": (
        lambda node, undo: placeLesion(
            node, BRATS, FREE, LesionOptions(necrotic=False, enhancing=False, edema=False), undo
        ),
        "at least one part",
    ),
    "nothing to do": (lambda node, undo: changeTumor(node, BRATS, motionOf(), None, undo), "nothing to apply"),
    "far away": (
        lambda node, undo: changeTumor(node, BRATS, motionOf(shift=(140.0, 0.0, 0.0)), None, undo),
        "Choose a smaller movement",
    ),
    "shrunk away": (lambda node, undo: changeTumor(node, BRATS, motionOf(grow=-19.0), None, undo), "smaller distance"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_said_and_changes_nothing(plain: Any, name: str) -> None:
    operation, sentence = REFUSED[name]
    before, undo = contents(plain), UndoCounter(plain)
    with pytest.raises(InputError, match=sentence):
        operation(plain, undo)
    assert contents(plain) == before
    assert undo.count == 0


def test_masks_that_lack_something_get_a_sentence(scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Case")
    createSegments(node, BRATS)
    with pytest.raises(InputError, match="empty"):
        placeLesion(node, BRATS, FREE, LESION)
    volume = phantom(GEOMETRIES["lps"])
    applyLabels(node, BRATS, Volume(np.where(volume.data == 4, np.uint8(0), volume.data), volume.affine))
    with pytest.raises(InputError, match="'Brain' is missing or empty"):
        mirrorTumor(node, BRATS)
    applyLabels(node, BRATS, phantom(GEOMETRIES["lps"], tumor=False))
    with pytest.raises(InputError, match="no tumor yet"):
        mirrorTumor(node, BRATS)


def test_a_change_smaller_than_a_voxel_is_no_step_of_undo(scene: Any) -> None:
    node = segmentationOf(scene, phantom(np.diag([2.0, 2.0, 2.0, 1.0])))
    undo = UndoCounter(node)
    outcome = changeTumor(node, BRATS, motionOf(shift=(0.01, 0.0, 0.0)), None, undo)
    assert outcome.changed == [] and undo.count == 0
    assert "smaller than a voxel" in outcome.message


@pytest.mark.slow
def test_an_operation_on_a_mask_of_brats_size_is_short(scene: Any) -> None:
    labels = np.zeros((240, 240, 155), np.uint8)
    labels[40:200, 20:220, 20:140] = BRATS.surround
    paint(labels, np.eye(4), np.array([100.0, 100.0, 70.0]))
    node = segmentationOf(scene, Volume(labels, np.eye(4)))
    changeTumor(node, BRATS, motionOf(shift=(1.0, 0.0, 0.0)))  # the first one imports SimpleITK
    started = time.process_time()
    for direction in (1, -1, 1):
        changeTumor(node, BRATS, motionOf(shift=(4.0 * direction, 0.0, 0.0)))
    # Time of all threads of this process, which other programs on the machine do not lengthen.
    assert (time.process_time() - started) / 3 < 1.0


@pytest.mark.parametrize("change", ["painted", "renamed", "deleted"])
def test_what_changes_the_mask_meanwhile_stays(scene: Any, plain: Any, change: str) -> None:
    steps = Lesions.placeLesion(plain, BRATS, FREE, LESION)
    next(steps)
    before = contents(plain)
    if change == "painted":
        slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(plain, segmentOf(plain, 1))
    elif change == "renamed":
        plain.GetSegmentation().GetSegment(segmentOf(plain, 1)).SetName("Renamed")
    else:
        scene.RemoveNode(plain)
    changed = contents(plain)
    with pytest.raises(InputError, match="changed meanwhile"):
        finish(steps)
    assert contents(plain) == changed
    assert (changed == before) == (change == "deleted")


def test_the_application_goes_on_while_a_lesion_is_computed(plain: Any) -> None:
    stretches: list[float] = []
    steps = Lesions.placeLesion(plain, BRATS, FREE, LESION)
    ended = False
    while not ended:
        began = time.thread_time()
        ended = next(steps, END) is END
        stretches.append(time.thread_time() - began)
    assert len(stretches) > 2
    assert max(stretches) < 0.1

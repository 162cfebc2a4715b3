"""What the effect does to a mask, on real segmentations of every geometry; each operation is one step of undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import slicer
from effect_phantom import (
    BRATS,
    CENTER,
    RADIUS,
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
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels
from scene_phantoms import GEOMETRIES
from SegmentEditorMedDDPMLib.Lesions import Outcome
from SegmentEditorMedDDPMLib.Options import LesionOptions

Operation = Callable[[Any, Any], Outcome]
FREE = tuple(np.add(CENTER, [-14.0, -8.0, 6.0]))
LESION = LesionOptions(diameter=14.0, edemaWidth=4.0, rimWidth=2.0)
OPERATIONS: dict[str, Operation] = {
    "place": lambda node, undo: placeLesion(node, BRATS, FREE, LESION, undo),
    "shift": lambda node, undo: changeTumor(node, BRATS, motionOf(shift=(6.0, -5.0, 4.0)), None, undo),
    "scale": lambda node, undo: changeTumor(node, BRATS, motionOf(scale=130.0), None, undo),
    "turn": lambda node, undo: changeTumor(
        node, BRATS, motionOf(shift=(4.0, 0.0, 0.0), degrees=(20, 0, 40)), None, undo
    ),
    "grow": lambda node, undo: changeTumor(node, BRATS, motionOf(grow=3.0), None, undo),
    "shrink": lambda node, undo: changeTumor(node, BRATS, motionOf(grow=-2.5), None, undo),
    "one lesion": lambda node, undo: changeTumor(node, BRATS, motionOf(shift=(-6.0, 0.0, 6.0)), tuple(TUMOR), undo),
    "mirror": lambda node, undo: mirrorTumor(node, BRATS, None, undo),
}


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


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_keeps_head_and_foreign_segments_and_is_one_step_of_undo(node: Any, name: str) -> None:
    foreign = node.GetSegmentation().AddEmptySegment("", "Electrode")
    volume = composeLabels(node, BRATS)
    writeSegment(node, foreign, (volume.data == 3) | (volume.data == 2), volume.affine)
    before, outline = contents(node), composeLabels(node, BRATS).data > 0
    undo = UndoCounter(node)

    outcome = OPERATIONS[name](node, undo)

    after = contents(node)
    differing = {key for key in after["voxels"] if after["voxels"][key] != before["voxels"][key]}
    tumor = {segmentOf(node, value) for value in BRATS.tumor_values}
    assert differing == set(outcome.changed)
    assert differing and differing <= tumor
    np.testing.assert_array_equal(composeLabels(node, BRATS).data > 0, outline)
    assert undo.count == 1
    undo.history.RestorePreviousState()
    assert contents(node) == before
    undo.history.RestoreNextState()
    assert contents(node) == after


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_segment_editor_logic_undoes_an_operation(scene: Any, plain: Any, name: str) -> None:
    editorNode = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editorNode.SetAndObserveSegmentationNode(plain)
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(scene)
    logic.SetSegmentEditorNode(editorNode)
    before = contents(plain)
    OPERATIONS[name](plain, logic.SaveStateForUndo)
    after = contents(plain)
    assert after != before
    logic.Undo()
    assert contents(plain) == before
    assert not logic.CanUndo()
    logic.Redo()
    assert contents(plain) == after


def test_a_lesion_lies_where_it_was_placed_with_its_size_and_parts(node: Any) -> None:
    old = {value: voxelsOf(node, segmentOf(node, value)) for value in BRATS.tumor_values}
    outcome = placeLesion(node, BRATS, FREE, LESION)
    core = np.array([p for v in (1, 3) for p in voxelsOf(node, segmentOf(node, v)) - old[v]])
    edema = np.array(list(voxelsOf(node, segmentOf(node, 2)) - old[2]))
    voxel = abs(np.linalg.det(composeLabels(node, BRATS).affine[:3, :3]))
    assert np.linalg.norm(core.mean(axis=0) - FREE) < 5
    assert len(core) * voxel == pytest.approx(np.pi / 6 * 14**3, rel=0.2)
    assert len(edema) * voxel > 500
    assert np.linalg.norm(edema - CENTER, axis=1).max() < RADIUS
    assert "Enhancing tumor" in outcome.message


@pytest.mark.slow
def test_the_seed_decides_the_shape(plain: Any) -> None:
    undo = UndoCounter(plain)
    shapes = []
    for seed in (1, 1, 2):
        placeLesion(plain, BRATS, FREE, LesionOptions(diameter=14.0, edemaWidth=4.0, seed=seed), undo)
        shapes.append(contents(plain)["voxels"])
        undo.history.RestorePreviousState()
    assert shapes[0] == shapes[1] != shapes[2]


def test_only_the_chosen_parts_are_placed(plain: Any) -> None:
    outcome = placeLesion(plain, BRATS, FREE, LesionOptions(diameter=14.0, necrotic=False, edema=False))
    assert outcome.changed == [segmentOf(plain, 3)]


def test_a_tumor_is_shifted_by_millimeters_of_the_patient(node: Any) -> None:
    volume = tumorMl(node)
    changeTumor(node, BRATS, motionOf(shift=(6.0, -5.0, 4.0)))
    np.testing.assert_allclose(moved(node), (6.0, -5.0, 4.0), atol=0.5)
    assert tumorMl(node) == pytest.approx(volume, rel=0.02)


def test_scale_and_growth_change_the_volume_as_they_say(node: Any) -> None:
    volume = tumorMl(node)
    changeTumor(node, BRATS, motionOf(scale=120.0))
    assert tumorMl(node) == pytest.approx(volume * 1.2**3, rel=0.05)
    changeTumor(node, BRATS, motionOf(grow=2.0))
    assert tumorMl(node) == pytest.approx(volume * (1.2 + 2 / 12) ** 3, rel=0.1)


def test_a_tumor_turns_about_its_centroid_right_handed(node: Any) -> None:
    bar = composeLabels(node, BRATS)
    grid = points(bar.shape, bar.affine) - CENTER
    bar.data[:] = np.where(bar.data > 0, 4, 0)
    bar.data[(np.abs(grid) < (20, 5, 5)).all(axis=-1)] = 3
    applyLabels(node, BRATS, bar)
    changeTumor(node, BRATS, motionOf(degrees=(0.0, 0.0, 90.0)))
    spread = tumorPoints(node).std(axis=0)
    assert spread[1] > 2.5 * spread[0] and spread[1] > 2.5 * spread[2]


def test_a_mirrored_tumor_lies_on_the_other_side(node: Any) -> None:
    mirrorTumor(node, BRATS)
    np.testing.assert_allclose(moved(node), (2 * (CENTER - TUMOR)[0], 0.0, 0.0), atol=0.7)


def test_several_values_are_applied_at_once_and_clipped_once(plain: Any) -> None:
    # Scaled in place the tumor would reach out of the brain; shifted inward first it does not.
    volume = tumorMl(plain)
    outcome = changeTumor(plain, BRATS, motionOf(scale=190.0, shift=tuple(CENTER - TUMOR)))
    assert tumorMl(plain) == pytest.approx(volume * 1.9**3, rel=0.03)
    assert "cut off" not in outcome.message


def test_what_leaves_the_brain_is_cut_off_and_said(node: Any) -> None:
    outline = composeLabels(node, BRATS).data > 0
    outcome = changeTumor(node, BRATS, motionOf(shift=(16.0, 8.0, -5.0)))
    after = composeLabels(node, BRATS).data
    assert "outside of the brain" in outcome.message and "cut off" in outcome.message
    np.testing.assert_array_equal(after > 0, outline)
    assert len(tumorPoints(node)) > 0


def test_one_lesion_is_changed_and_others_are_neither_moved_nor_overwritten(node: Any) -> None:
    volume = composeLabels(node, BRATS)
    other = np.add(CENTER, [-14.0, -6.0, 4.0])
    labels = volume.data.copy()
    paint(labels, volume.affine, other)
    applyLabels(node, BRATS, Volume(labels, volume.affine))
    near = np.linalg.norm(points(labels.shape, volume.affine) - other, axis=-1) < 12
    outcome = changeTumor(node, BRATS, motionOf(shift=tuple(0.6 * (other - TUMOR))), tuple(TUMOR))
    after = composeLabels(node, BRATS).data
    np.testing.assert_array_equal(after[near], labels[near])
    assert (after != labels).any()
    assert "another lesion" in outcome.message
    # The whole tumor takes both along.
    changeTumor(node, BRATS, motionOf(shift=(0.0, 0.0, 3.0)))
    assert (composeLabels(node, BRATS).data[near] != labels[near]).any()


def test_a_click_beside_a_lesion_finds_it_and_one_further_off_does_not(node: Any) -> None:
    changeTumor(node, BRATS, motionOf(shift=(1.0, 0.0, 0.0)), tuple(np.add(TUMOR, [0.0, 0.0, 13.5])))
    with pytest.raises(InputError, match="no tumor at this point"):
        changeTumor(node, BRATS, motionOf(shift=(1.0, 0.0, 0.0)), tuple(TUMOR - [30.0, 0.0, 0.0]))

"""Segmentation nodes as label maps and back, on real segmentations of every geometry."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import load_scheme
from MedDDPMSlicerLib.Lattice import Lattice, newImage, toMatrix, voxelView
from MedDDPMSlicerLib.SegmentMasks import applyInSteps, applyLabels, composeLabels
from MedDDPMSlicerLib.Segments import createSegments, segmentReading, segmentValues, setSegmentValue
from MedDDPMSlicerLib.SegmentVoxels import parameterLattice
from MedDDPMSlicerLib.Volumes import saveVolume
from scene_phantoms import GEOMETRIES, brain, placed, volumeNodeFromArray

BRATS = load_scheme("brats")
ANATOMY = load_scheme("glioma-anatomy")
GRID = (0, 2, 0, 3, 0, 4)


def addSegment(
    node: Any, name: str, mask: np.ndarray, affine: np.ndarray, first: tuple[int, int, int] = (0, 0, 0)
) -> str:
    """A segment from a mask (X, Y, Z) whose first voxel has the index ``first`` on the lattice of ``affine``."""
    extent = [value for f, n in zip(first, mask.shape, strict=True) for value in (f, f + n - 1)]
    image = newImage(Lattice(affine, tuple(extent)))  # type: ignore[arg-type]
    voxelView(image)[:] = mask.transpose(2, 1, 0)
    segmentId = node.GetSegmentation().AddEmptySegment("", name)
    assert slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, segmentId)
    return segmentId


def exported(node: Any, segmentId: str) -> tuple[np.ndarray, np.ndarray]:
    """A segment's own voxels (X, Y, Z) and affine, read by Slicer's export."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segmentId, image)
    return voxelView(image).transpose(2, 1, 0), Lattice.ofImage(image).affine


def centers(mask: np.ndarray, affine: np.ndarray) -> set[tuple[float, ...]]:
    """RAS positions (mm) of the voxels of a mask, rounded."""
    points = affine[:3, :3] @ np.argwhere(mask).T + affine[:3, 3:]
    return {tuple(point) for point in np.round(points.T, 3).tolist()}


def test_overlapping_regions_are_what_the_next_has_not(segmentationNode: Any) -> None:
    whole, core, enhancing = (np.zeros((6, 6, 6), np.uint8) for _ in range(3))
    whole[1:], core[2:], enhancing[3:4] = 1, 1, 1
    for name, layer in (("ET", enhancing), ("WT", whole), ("TC", core), ("Brain", np.ones_like(whole))):
        addSegment(segmentationNode, name, layer, np.eye(4))
    assert list(segmentValues(segmentationNode, BRATS).values()) == [3, 2, 1, 4]
    composed = composeLabels(segmentationNode, BRATS).data
    assert composed[:, 0, 0].tolist() == [4, 2, 1, 3, 1, 1]
    assert "'WT' -> Peritumoral edema" in segmentReading(segmentationNode, BRATS)


def test_what_is_applied_is_composed_again(paintedSegmentation: Any, affine: np.ndarray) -> None:
    volume = composeLabels(paintedSegmentation, BRATS)
    np.testing.assert_array_equal(volume.data, brain())
    assert volume.data.dtype == np.uint8
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)


shapes = arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)
labelArrays = arrays.arrays(np.uint8, shapes, elements=st.sampled_from([0, 1, 2, 3, 4, 6, 9]))
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)
orientations = st.sampled_from(["RAS", "LPS", "LAS", "PIR", "SAL", "ARI"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=labelArrays, second=labelArrays, codes=orientations, spacing=spacings, degrees=st.floats(-180, 180))
def test_composing_is_the_inverse_of_applying(
    scene: Any, first: np.ndarray, second: np.ndarray, codes: str, spacing: tuple[float, float, float], degrees: float
) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    matrix = placed(codes, spacing, degrees)
    for data in (first, second):
        if data.shape != first.shape:
            data = np.resize(data, first.shape)
        applyLabels(node, ANATOMY, Volume(data, matrix))
        if data.any():
            found = composeLabels(node, ANATOMY)
            np.testing.assert_array_equal(found.data, data)
            np.testing.assert_allclose(found.affine, matrix, rtol=1e-9, atol=1e-6)
    scene.RemoveNode(node)


def test_an_unchanged_map_changes_no_segment(segmentationNode: Any, affine: np.ndarray) -> None:
    labels = brain()
    for value, name in ((4, "Brain"), (1, "Necrosis"), (3, "Enhancing"), (2, "Edema")):
        addSegment(segmentationNode, name, labels == value, affine)
    modified = segmentationNode.GetSegmentation().GetMTime()
    assert applyLabels(segmentationNode, BRATS, composeLabels(segmentationNode, BRATS)) == []
    assert segmentationNode.GetSegmentation().GetMTime() == modified


def test_only_changed_segments_are_written_and_keep_their_identity(paintedSegmentation: Any) -> None:
    segmentation = paintedSegmentation.GetSegmentation()
    ids = {value: key for key, value in segmentValues(paintedSegmentation, BRATS).items()}
    segmentation.GetSegment(ids[2]).SetColor(0.1, 0.2, 0.3)
    segmentation.GetSegment(ids[2]).SetName("my swelling")
    volume = composeLabels(paintedSegmentation, BRATS)
    labels = volume.data.copy()
    labels[labels == 3] = 2
    changed = applyLabels(paintedSegmentation, BRATS, Volume(labels, volume.affine))
    assert set(changed) == {ids[2], ids[3]}
    assert segmentation.GetSegment(ids[2]).GetColor() == (0.1, 0.2, 0.3)
    assert segmentation.GetSegment(ids[2]).GetName() == "my swelling"
    assert list(segmentation.GetSegmentIDs()) == [ids[value] for value in BRATS.values]
    np.testing.assert_array_equal(composeLabels(paintedSegmentation, BRATS).data, labels)


def test_erasing_tumor_leaves_brain_and_no_hole(paintedSegmentation: Any) -> None:
    ids = {value: key for key, value in segmentValues(paintedSegmentation, BRATS).items()}
    for value in (1, 2, 3):
        paintedSegmentation.GetSegmentation().ClearSegment(ids[value])
    np.testing.assert_array_equal(composeLabels(paintedSegmentation, BRATS).data, np.where(brain() > 0, 4, 0))


def test_inner_parts_lie_over_outer_ones_over_the_brain(segmentationNode: Any, affine: np.ndarray) -> None:
    whole, outer, inner = (np.zeros((9, 8, 7), bool) for _ in range(3))
    whole[1:8, 1:7, 1:6], outer[2:6, 2:6, 2:5], inner[3:5, 3:5, 3:4] = True, True, True
    # The order of the segments does not matter.
    for name, mask in (("Necrosis", inner), ("Brain", whole), ("Enhancing", inner | outer), ("Edema", outer)):
        addSegment(segmentationNode, name, mask, affine)
    expected = np.where(inner, 1, np.where(outer, 3, np.where(whole, 4, 0)))[1:8, 1:7, 1:6]
    volume = composeLabels(segmentationNode, BRATS)
    np.testing.assert_array_equal(volume.data, expected)
    np.testing.assert_allclose(volume.affine[:3, 3], affine[:3, 3] + affine[:3, :3] @ (1, 1, 1))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(arrays.arrays(bool, (3, 4, 5)), min_size=3, max_size=3))
def test_of_tissues_that_overlap_the_first_of_the_scheme_counts(scene: Any, parts: list[np.ndarray]) -> None:
    """So ventricles can be painted into white matter where nothing is overwritten; the tumor lies over both."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    names = ("White matter", "Peritumoral edema", "Ventricles")
    for name, mask in zip(names, parts, strict=True):
        addSegment(node, name, mask, np.eye(4))
    white, edema, ventricles = parts
    if np.any(parts):
        expected = np.where(edema, 2, np.where(ventricles, 6, np.where(white, 9, 0)))
        np.testing.assert_array_equal(composeLabels(node, ANATOMY, newImage(Lattice(np.eye(4), GRID))).data, expected)


def test_only_the_wanted_labels_are_written(segmentationNode: Any, affine: np.ndarray) -> None:
    applyLabels(segmentationNode, ANATOMY, Volume(brain(), affine))
    labels = brain()
    labels[labels == 4] = 9
    labels[labels == 3] = 6
    changed = list(applyInSteps(segmentationNode, ANATOMY, Volume(labels, affine), (9,)))
    assert len(changed) == 2, "a step a label, and one before"
    values = segmentValues(segmentationNode, ANATOMY)
    assert 6 not in values.values() and 9 in values.values()
    found = composeLabels(segmentationNode, ANATOMY).data
    np.testing.assert_array_equal(found, np.where(brain() == 4, 9, brain()))


def test_segments_beyond_the_reference_geometry_are_covered(segmentationNode: Any, affine: np.ndarray) -> None:
    reference = newImage(Lattice(affine, (0, 9, 0, 9, 0, 9)))
    converter = slicer.vtkSegmentationConverter
    segmentationNode.GetSegmentation().SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(reference)
    )
    addSegment(segmentationNode, "Brain", np.ones((4, 4, 4), bool), affine, first=(2, 2, 2))
    outside = addSegment(segmentationNode, "Edema", np.ones((2, 3, 2), bool), affine, first=(-5, 8, 12))
    volume = composeLabels(segmentationNode, BRATS)
    assert volume.shape == (15, 11, 14)
    assert centers(volume.data == 2, volume.affine) == centers(*exported(segmentationNode, outside))
    # Written back with an edit, everything stays where it was.
    labels = volume.data.copy()
    labels[0, 0, 0] = 4
    applyLabels(segmentationNode, BRATS, Volume(labels, volume.affine))
    again = composeLabels(segmentationNode, BRATS)
    np.testing.assert_array_equal(again.data, labels)
    assert segmentationNode.GetSegmentation().GetConversionParameter(
        converter.GetReferenceImageGeometryParameterName()
    ) == converter.SerializeImageGeometry(reference)


def test_a_map_of_a_part_leaves_the_rest_alone(paintedSegmentation: Any) -> None:
    whole = composeLabels(paintedSegmentation, BRATS)
    part = np.zeros((6, 6, 6), np.uint8)
    part[2:4, 2:4, 2:4] = 1
    moved = whole.affine.copy()
    moved[:3, 3] += moved[:3, :3] @ (10, 12, 8)
    applyLabels(paintedSegmentation, BRATS, Volume(part, moved))
    expected = whole.data.copy()
    expected[10:16, 12:18, 8:14] = part
    np.testing.assert_array_equal(composeLabels(paintedSegmentation, BRATS).data, expected)


@pytest.mark.parametrize("layers", ["own", "shared"])
def test_a_map_on_another_lattice_is_kept_exactly(scene: Any, segmentationNode: Any, layers: str) -> None:
    affine, other = GEOMETRIES["anisotropic"], placed("LPS", (0.9, 0.8, 3.0), degrees=8.0)
    if layers == "shared":
        importLabels(scene, segmentationNode, brain(), affine, 1)
    else:
        applyLabels(segmentationNode, BRATS, Volume(brain(), affine))
    labels = np.flip(brain((20, 24, 16))).copy()
    applyLabels(segmentationNode, BRATS, Volume(labels, other))
    grid = newImage(Lattice(other, (0, 19, 0, 23, 0, 15)))
    np.testing.assert_array_equal(composeLabels(segmentationNode, BRATS, grid).data, labels)


def test_several_segments_of_one_label_keep_their_parts(segmentationNode: Any) -> None:
    affine = GEOMETRIES["oblique"]
    left, right = np.zeros((8, 6, 4), bool), np.zeros((8, 6, 4), bool)
    left[:4], right[4:] = True, True
    ids = [
        addSegment(segmentationNode, "Left brain", left, affine),
        addSegment(segmentationNode, "Right brain", right, affine),
    ]
    volume = composeLabels(segmentationNode, BRATS)
    labels = volume.data.copy()
    labels[3:6, 1:4, 1:3] = 2
    labels[7] = 0
    applyLabels(segmentationNode, BRATS, Volume(labels, volume.affine))
    assert centers(*exported(segmentationNode, ids[0])) == centers(left, affine)
    right[7] = False
    assert centers(*exported(segmentationNode, ids[1])) == centers(right, affine)
    np.testing.assert_array_equal(composeLabels(segmentationNode, BRATS).data, labels[:8])


def test_other_segments_are_left_alone(paintedSegmentation: Any, affine: np.ndarray) -> None:
    electrode = addSegment(paintedSegmentation, "Electrode", np.ones((3, 2, 5), bool), affine, first=(40, 0, 0))
    before = exported(paintedSegmentation, electrode)
    assert composeLabels(paintedSegmentation, BRATS).shape == brain().shape
    volume = composeLabels(paintedSegmentation, BRATS)
    assert electrode not in applyLabels(paintedSegmentation, BRATS, Volume(np.flip(volume.data), volume.affine))
    after = exported(paintedSegmentation, electrode)
    assert centers(*before) == centers(*after)


def test_an_explicit_geometry_is_taken_exactly(paintedSegmentation: Any, affine: np.ndarray) -> None:
    fine = affine.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] -= fine[:3, :3] @ (0.5, 0.5, 0.5)
    volume = composeLabels(paintedSegmentation, BRATS, newImage(Lattice(fine, (0, 51, 0, 59, 0, 43))))
    np.testing.assert_allclose(volume.affine, fine)
    np.testing.assert_array_equal(volume.data[::2, ::2, ::2], brain())
    np.testing.assert_array_equal(volume.data[1::2, 1::2, 1::2], brain())


def test_a_volume_gives_the_geometry_under_its_transform(
    scene: Any, paintedSegmentation: Any, affine: np.ndarray
) -> None:
    volumeNode = volumeNodeFromArray(scene, "MRI", np.zeros((26, 30, 22), np.float32), affine)
    np.testing.assert_array_equal(composeLabels(paintedSegmentation, BRATS, volumeNode).data, brain())
    shift = np.eye(4)
    shift[:3, 3] = affine[:3, :3] @ (2, 0, 0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(toMatrix(shift))
    paintedSegmentation.SetAndObserveTransformNodeID(transform.GetID())
    moved = composeLabels(paintedSegmentation, BRATS, volumeNode)
    np.testing.assert_array_equal(moved.data[2:], brain()[:-2])
    # Without a reference the parent transform does not matter: node coordinates.
    np.testing.assert_allclose(composeLabels(paintedSegmentation, BRATS).affine, affine)


def test_surfaces_are_composed_without_changing_the_node(paintedSegmentation: Any) -> None:
    segmentation = paintedSegmentation.GetSegmentation()
    segmentation.SetConversionParameter("Smoothing factor", "0.0")
    assert paintedSegmentation.CreateClosedSurfaceRepresentation()
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation.SetSourceRepresentationName(surface)
    segmentation.RemoveRepresentation(binary)
    volume = composeLabels(paintedSegmentation, BRATS)
    assert not segmentation.ContainsRepresentation(binary)
    assert volume.shape == brain().shape
    for value in BRATS.values:
        ours, theirs = volume.data == value, brain() == value
        assert np.count_nonzero(ours ^ theirs) < 0.1 * np.count_nonzero(theirs), value
    assert np.count_nonzero((volume.data > 0) ^ (brain() > 0)) < 0.1 * np.count_nonzero(brain())
    # Editing makes it a segmentation of voxels.
    applyLabels(paintedSegmentation, BRATS, Volume(brain(), volume.affine))
    np.testing.assert_array_equal(composeLabels(paintedSegmentation, BRATS).data, brain())


@pytest.mark.parametrize("order", [1, -1])
def test_surfaces_without_a_reference_geometry_share_one_grid(scene: Any, order: int) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for name, radius in (("Brain", 70.0), ("Enhancing tumor", 12.0))[::order]:
        sphere = vtk.vtkSphereSource()
        sphere.SetRadius(radius)
        sphere.SetThetaResolution(60)
        sphere.SetPhiResolution(60)
        sphere.Update()
        node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), name, [1.0, 0.0, 0.0])
    volume = composeLabels(node, BRATS)
    assert min(volume.spacing) > 0.5 and max(volume.shape) < 300
    for labels, radius in ((volume.data > 0, 70.0), (volume.data == 3, 12.0)):
        size = np.count_nonzero(labels) * np.prod(volume.spacing)
        assert size == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.04)


def importLabels(scene: Any, node: Any, labels: np.ndarray, affine: np.ndarray, factor: int) -> None:
    """All segments in one layer, by Slicer's import of a label map of values times ``factor``."""
    labelmap = volumeNodeFromArray(scene, "seg", labels, affine, "vtkMRMLLabelMapVolumeNode")
    assert slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labelmap, node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfLayers() == 1
    for segmentId in segmentation.GetSegmentIDs():
        setSegmentValue(node, segmentId, BRATS, segmentation.GetSegment(segmentId).GetLabelValue() // factor)


def test_shared_layers_and_odd_values_are_read(segmentationNode: Any, scene: Any) -> None:
    affine = GEOMETRIES["permuted"]
    importLabels(scene, segmentationNode, brain() * np.uint8(7), affine, 7)
    volume = composeLabels(segmentationNode, BRATS)
    assert centers(volume.data > 0, volume.affine) == centers(brain() > 0, affine)
    flipped = np.flip(volume.data).copy()
    applyLabels(segmentationNode, BRATS, Volume(flipped, volume.affine))
    np.testing.assert_array_equal(composeLabels(segmentationNode, BRATS).data, flipped)


def test_undo_brings_every_voxel_back(paintedSegmentation: Any) -> None:
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(paintedSegmentation.GetSegmentation())
    before = composeLabels(paintedSegmentation, BRATS)
    assert history.SaveState()
    applyLabels(paintedSegmentation, BRATS, Volume(np.flip(before.data).copy(), before.affine))
    assert not np.array_equal(composeLabels(paintedSegmentation, BRATS).data, before.data)
    assert history.RestorePreviousState()
    after = composeLabels(paintedSegmentation, BRATS)
    np.testing.assert_array_equal(after.data, before.data)
    np.testing.assert_allclose(after.affine, before.affine)
    assert history.RestoreNextState()
    np.testing.assert_array_equal(composeLabels(paintedSegmentation, BRATS).data, np.flip(before.data))


def test_undo_through_the_segment_editor_logic(scene: Any, paintedSegmentation: Any) -> None:
    editor = slicer.vtkSlicerSegmentEditorLogic()
    editor.SetMRMLScene(scene)
    parameters = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetSegmentEditorNode(parameters)
    editor.SetSegmentationNode(paintedSegmentation)
    before = composeLabels(paintedSegmentation, BRATS)
    editor.SaveStateForUndo()
    applyLabels(paintedSegmentation, BRATS, Volume(np.flip(before.data).copy(), before.affine))
    assert editor.CanUndo()
    editor.Undo()
    np.testing.assert_array_equal(composeLabels(paintedSegmentation, BRATS).data, before.data)


def test_a_saved_map_lies_where_the_segments_lie(paintedSegmentation: Any, affine: np.ndarray, tmp_path: Path) -> None:
    saveVolume(composeLabels(paintedSegmentation, BRATS), tmp_path / "mask.nrrd")
    mask = read_mask(tmp_path / "mask.nrrd")
    np.testing.assert_allclose(mask.volume.affine, affine, atol=1e-5)
    np.testing.assert_array_equal(mask.volume.data, brain())


def test_slicers_own_segmentation_file_agrees(paintedSegmentation: Any, scene: Any, tmp_path: Path) -> None:
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "case.seg.nrrd"))
    assert storage.WriteData(paintedSegmentation)
    mask = read_mask(tmp_path / "case.seg.nrrd")
    volume = composeLabels(paintedSegmentation, BRATS)
    assert centers(mask.volume.data > 0, mask.volume.affine) == centers(volume.data > 0, volume.affine)
    assert {segment.code for segment in mask.segments} == {label.code for label in BRATS.labels}


def test_nothing_to_compose_is_said_in_a_sentence(segmentationNode: Any) -> None:
    segmentationNode.GetSegmentation().AddEmptySegment("", "Electrode")
    with pytest.raises(InputError, match="None of the 1 segments is a label of the model"):
        composeLabels(segmentationNode, BRATS)
    createSegments(segmentationNode, BRATS)
    with pytest.raises(InputError, match="no voxel is painted"):
        composeLabels(segmentationNode, BRATS)


def test_strange_values_and_far_segments_are_refused(segmentationNode: Any) -> None:
    with pytest.raises(InputError, match=r"has the values 9; the model's labels are 1, 2, 3, 4"):
        applyLabels(segmentationNode, BRATS, Volume(np.full((2, 2, 2), 9, np.uint8), np.eye(4)))
    addSegment(segmentationNode, "Brain", np.ones((2, 2, 2), bool), np.eye(4))
    far = newImage(Lattice(np.eye(4), (900000, 900001, 900000, 900001, 900000, 900001)))
    voxelView(far)[:] = 1
    segment = slicer.vtkSegment()
    segment.SetName("Edema")
    segment.AddRepresentation(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName(), far)
    segmentationNode.GetSegmentation().AddSegment(segment)
    with pytest.raises(InputError, match="more than can be worked with"):
        composeLabels(segmentationNode, BRATS)


def test_a_damaged_reference_geometry_is_not_used(paintedSegmentation: Any) -> None:
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    for text in ("nonsense", "0;0;0;0;0;0;0;0;0;0;0;0;0;0;0;1;0;5;0;5;0;5;"):
        paintedSegmentation.GetSegmentation().SetConversionParameter(name, text)
        assert parameterLattice(paintedSegmentation.GetSegmentation()) is None
        volume = composeLabels(paintedSegmentation, BRATS)
        assert np.count_nonzero(volume.data) == np.count_nonzero(brain())


@pytest.mark.parametrize("layers", ["own", "shared"])
def test_a_whole_head_is_composed_in_time(scene: Any, segmentationNode: Any, layers: str) -> None:
    labels = brain((240, 240, 155))
    if layers == "shared":
        importLabels(scene, segmentationNode, labels, GEOMETRIES["oblique"], 1)
    else:
        applyLabels(segmentationNode, BRATS, Volume(labels, GEOMETRIES["oblique"]))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        volume = composeLabels(segmentationNode, BRATS)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.15  # of all threads; other programs do not lengthen it
    # Slicer's import keeps the voxels that are not 0.
    used = [np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    cropped = labels[tuple(slice(indices[0], indices[-1] + 1) for indices in used)]
    np.testing.assert_array_equal(volume.data, cropped if layers == "shared" else labels)


def test_lattices_shifted_by_whole_voxels_are_one() -> None:
    matrix = GEOMETRIES["oblique"]
    moved = matrix.copy()
    moved[:3, 3] += moved[:3, :3] @ (3, -2, 5)
    a, b = Lattice(matrix, (0, 9, 0, 9, 0, 9)), Lattice(moved, (0, 9, 0, 9, 0, 9))
    assert b.offsetFrom(a) == (3, -2, 5)
    np.testing.assert_allclose(b.on(a).affine, b.affine)
    moved[:3, 3] += moved[:3, :3] @ (0.5, 0, 0)
    assert Lattice(moved, b.extent).offsetFrom(a) is None
    assert vtk.vtkMatrix4x4().Determinant() == 1

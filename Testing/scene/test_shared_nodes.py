"""Volume nodes, the subject hierarchy and the marks of synthetic volumes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask, read_volume
from medddpm.geometry.volume import Volume
from MedDDPMSlicerLib import Nodes
from MedDDPMSlicerLib.Lattice import toMatrix
from MedDDPMSlicerLib.Volumes import (
    affineOf,
    loadVolume,
    saveVolume,
    transformToSame,
    volumeOf,
)
from scene_phantoms import GEOMETRIES, placed, volumeNodeFromArray


def ramp(shape: tuple[int, int, int] = (5, 6, 7), dtype: str = "float32") -> np.ndarray:
    """Every voxel has its own number."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_arrays_become_nodes_and_come_back(scene: Any, affine: np.ndarray, dtype: str) -> None:
    node = volumeNodeFromArray(scene, "T1", ramp(dtype=dtype), affine)
    volume = volumeOf(node)
    np.testing.assert_array_equal(volume.data, ramp(dtype=dtype))
    assert volume.data.dtype == np.dtype(dtype)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-12)
    assert node.GetName() == "T1"
    assert node.GetScene() is scene
    assert node.GetDisplayNode() is not None
    # Slicer's own reading of the same node: (Z, Y, X).
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), ramp(dtype=dtype).transpose(2, 1, 0))


def test_a_voxel_lies_where_slicer_says(scene: Any, affine: np.ndarray) -> None:
    node = volumeNodeFromArray(scene, "T1", ramp(), affine)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    point = matrix.MultiplyPoint((1, 2, 3, 1))[:3]
    np.testing.assert_allclose(point, affine[:3, :3] @ (1, 2, 3) + affine[:3, 3])


def test_a_node_without_voxels_or_with_colors_is_refused(scene: Any) -> None:
    with pytest.raises(InputError, match="no voxels"):
        volumeOf(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))
    image = vtk.vtkImageData()
    image.SetDimensions(2, 2, 2)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    colors = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode")
    colors.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="'VectorVolume' has 3 components per voxel"):
        volumeOf(colors)


def test_sheared_voxels_are_not_written_as_straight_ones(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.2
    with pytest.raises(InputError, match=r"shears the voxels of an image or mask by 11\.3 degrees"):
        saveVolume(Volume(ramp(), affine), tmp_path / "image.nrrd")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_saved_files_lie_in_the_same_place_for_the_core(tmp_path: Path, affine: np.ndarray, dtype: str) -> None:
    path = tmp_path / "a folder with ümlauts" / "image.nrrd"
    saveVolume(Volume(ramp(dtype=dtype), affine), path)
    read = read_mask(path).volume if dtype == "uint8" else read_volume(path)
    np.testing.assert_array_equal(read.data, ramp(dtype=dtype))
    np.testing.assert_allclose(read.affine, affine, atol=1e-5)
    assert [item.name for item in path.parent.iterdir()] == ["image.nrrd"]
    assert b"encoding: raw" in path.read_bytes()[:500]


def test_loaded_files_lie_in_the_same_place_and_can_be_deleted(scene: Any, tmp_path: Path, affine: np.ndarray) -> None:
    saveVolume(Volume(ramp(), affine), tmp_path / "image.nrrd")
    node = loadVolume(tmp_path / "image.nrrd", "T1ce", scene)
    (tmp_path / "image.nrrd").unlink()
    expected, place = ramp(), affine.copy()
    if np.linalg.det(affine) < 0:  # Slicer reads left-handed axes as right-handed ones; the voxels stay in place
        expected = expected[:, :, ::-1]
        place[:3, 3] += place[:3, 2] * (expected.shape[2] - 1)
        place[:3, 2] *= -1
    np.testing.assert_array_equal(volumeOf(node).data, expected)
    np.testing.assert_allclose(affineOf(node), place, atol=1e-5)
    assert node.GetName() == "T1ce"
    assert node.GetStorageNode() is None
    assert node.GetModifiedSinceRead()
    assert node.GetDisplayNode().GetScene() is scene


def test_neighboring_files_are_not_taken_for_a_series(scene: Any, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        saveVolume(Volume(ramp() + number, np.eye(4)), tmp_path / f"image_{number}.nrrd")
    node = loadVolume(tmp_path / "image_2.nrrd", "second", scene)
    np.testing.assert_array_equal(volumeOf(node).data, ramp() + 2)


@pytest.mark.parametrize("content", [None, b"", b"NRRD0004\ntype: float\n", b"nonsense"])
def test_unreadable_files_are_told_and_leave_no_node(scene: Any, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "image.nrrd").write_bytes(content)
    before = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="could not be read as an image"):
        loadVolume(tmp_path / "image.nrrd", "T1", scene)
    assert scene.GetNumberOfNodes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_is_told_and_nothing_of_the_file_stays(tmp_path: Path) -> None:
    import resource

    former, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, former[1]))
    try:
        with pytest.raises(InputError, match="Free space"):
            saveVolume(Volume(np.zeros((20, 20, 20), np.float32), np.eye(4)), tmp_path / "v.nrrd")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_writing_into_a_file_instead_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="could not be written"):
        saveVolume(Volume(ramp(), np.eye(4)), tmp_path / "file" / "image.nrrd")


def linear(scene: Any, matrix: np.ndarray, parent: Any = None) -> Any:
    """A linear transform node."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(toMatrix(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def test_coordinates_are_brought_from_one_transform_to_another(scene: Any) -> None:
    a, b = placed("RAS", (1, 1, 1), 30.0), placed("LPS", (1, 1, 1), -11.0)
    outer = linear(scene, placed("RAS", (1, 1, 1), 70.0))
    volume = volumeNodeFromArray(scene, "T1", ramp(), np.eye(4))
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    np.testing.assert_array_equal(transformToSame(volume, segmentation), np.eye(4))
    volume.SetAndObserveTransformNodeID(linear(scene, a, outer).GetID())
    np.testing.assert_allclose(transformToSame(volume, segmentation), placed("RAS", (1, 1, 1), 70.0) @ a, atol=1e-9)
    segmentation.SetAndObserveTransformNodeID(linear(scene, b, outer).GetID())
    np.testing.assert_allclose(transformToSame(volume, segmentation), np.linalg.inv(b) @ a, atol=1e-9)


def test_a_bent_transform_between_is_refused_but_a_common_one_is_not(scene: Any) -> None:
    bent = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    spline = slicer.vtkOrientedBSplineTransform()
    grid = vtk.vtkImageData()
    grid.SetDimensions(5, 5, 5)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    spline.SetCoefficientData(grid)
    bent.SetAndObserveTransformFromParent(spline)
    volume = volumeNodeFromArray(scene, "T1", ramp(), np.eye(4))
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    volume.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(InputError, match=r"'T1' lies under the nonlinear transform 'BSplineTransform'.*Harden"):
        transformToSame(volume, segmentation)
    segmentation.SetAndObserveTransformNodeID(bent.GetID())
    np.testing.assert_array_equal(transformToSame(volume, segmentation), np.eye(4))


def test_folders_are_made_once_and_told_apart_by_key(scene: Any) -> None:
    tree = Nodes.hierarchyOf()
    folder = Nodes.folderFor("Case – synthetic")
    assert Nodes.folderFor("Case – synthetic") == folder
    other = Nodes.folderFor("Case – synthetic", key="vtkMRMLSegmentationNode2")
    assert other != folder
    assert Nodes.folderFor("Case – synthetic", key="vtkMRMLSegmentationNode2") == other
    sample = Nodes.folderFor("Sample 01 (seed 7)", folder)
    assert tree.GetItemParent(sample) == folder
    assert Nodes.folderFor("Sample 01 (seed 7)", other) != sample


def test_nodes_lie_under_their_folder_and_are_found_there(scene: Any) -> None:
    folder = Nodes.folderFor("Case")
    sample = Nodes.folderFor("Sample", folder)
    volumes = [volumeNodeFromArray(scene, name, ramp(), np.eye(4)) for name in ("T1", "FLAIR")]
    for node in volumes:
        Nodes.putUnder(node, sample)
        assert Nodes.parentOf(node) == sample
    assert Nodes.nodesUnder(folder) == volumes
    assert Nodes.nodesUnder(folder, recursive=False) == []
    assert not Nodes.removeIfEmpty(folder)
    for node in volumes:
        scene.RemoveNode(node)
    assert Nodes.removeIfEmpty(folder)
    assert Nodes.hierarchyOf().GetItemByName("Sample") == 0
    assert not Nodes.removeIfEmpty(Nodes.hierarchyOf().GetSceneItemID())


FIELDS = {
    "model": "demo",
    "modelSha256": "ab" * 32,
    "seed": 7,
    "sampler": None,
    "steps": 20,
    "modality": "T1ce",
    "sample": 1,
}


def test_marks_and_hierarchy_survive_saving_the_scene(scene: Any, tmp_path: Path) -> None:
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Case")
    synthetic = volumeNodeFromArray(scene, "T1ce", ramp(), GEOMETRIES["oblique"])
    real = volumeNodeFromArray(scene, "real", ramp(), np.eye(4))
    Nodes.markSynthetic(synthetic, segmentation, FIELDS, {"seed": 7, "name": 'Ümlaut "quoted" <x> & ;|'})
    Nodes.putUnder(synthetic, Nodes.folderFor("Case – synthetic", key="k"))
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(1)
    assert Nodes.syntheticVolumes() == []
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Connect()
    found = Nodes.syntheticVolumes()
    assert [node.GetName() for node in found] == ["T1ce"]
    assert Nodes.isSynthetic(found[0])
    assert Nodes.provenanceOf(found[0]) == {"seed": 7, "name": 'Ümlaut "quoted" <x> & ;|'}
    assert Nodes.segmentationOf(found[0]).GetName() == "Case"
    assert Nodes.field(found[0], "seed") == "7"
    assert Nodes.field(found[0], "sampler") is None
    assert Nodes.nodesUnder(Nodes.folderFor("Case – synthetic", key="k")) == found
    assert not Nodes.isSynthetic(scene.GetFirstNodeByName("real"))
    assert real is not None


def test_volumes_of_several_segmentations_do_not_mix(scene: Any) -> None:
    first, second = (scene.AddNewNodeByClass("vtkMRMLSegmentationNode") for _ in range(2))
    volumes = [volumeNodeFromArray(scene, "T1", ramp(), np.eye(4)) for _ in range(3)]
    for node, segmentation in zip(volumes, (first, second, first), strict=True):
        Nodes.markSynthetic(node, segmentation, {"seed": 1})
    assert Nodes.syntheticVolumes(first) == [volumes[0], volumes[2]]
    assert Nodes.syntheticVolumes(second) == [volumes[1]]
    assert len(Nodes.syntheticVolumes()) == 3


def test_the_scan_that_a_view_shows_is_found(scene: Any) -> None:
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    blank, synthetic, real = (volumeNodeFromArray(scene, "T1", ramp(), np.eye(4)) for _ in range(3))
    blank.SetHideFromEditors(True)
    Nodes.markSynthetic(synthetic, None, {"seed": 1})
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    found = []
    for volume in (None, blank, synthetic, labels, real):
        view.SetBackgroundVolumeID(volume.GetID() if volume is not None else None)
        found.append(Nodes.shownVolume())
    assert found == [None, None, None, None, real]


def test_unknown_fields_and_damaged_records(scene: Any) -> None:
    node = volumeNodeFromArray(scene, "T1", ramp(), np.eye(4))
    with pytest.raises(KeyError):
        Nodes.markSynthetic(node, None, {"patient": "x"})
    assert not Nodes.isSynthetic(node)
    for text in ("{", "[1]", "[" * 100000):
        node.SetAttribute("MedDDPM.provenance", text)
        assert Nodes.provenanceOf(node) == {}
    assert Nodes.segmentationOf(node) is None
    assert not Nodes.isSynthetic(None)

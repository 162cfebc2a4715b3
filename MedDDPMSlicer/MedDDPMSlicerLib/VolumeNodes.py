"""Volume nodes as arrays with affines, and as files, through MRML's own storage nodes (which need no Qt)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import vtk
from medddpm.errors import FREE_SPACE, InputError
from medddpm.files import atomic_path
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from .Lattice import toArray, toMatrix, voxelView

if TYPE_CHECKING:
    from medddpm.geometry.volume import Volume

# Kinds of numbers that VTK's images and the file formats know.
_KINDS = {"b": np.uint8, "f": np.float32}


def affineOf(volumeNode: Any) -> np.ndarray:
    """4x4 float64, voxel index (i, j, k) -> RAS mm in the node's own coordinates (parent transforms left out)."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return toArray(matrix)


def volumeOf(volumeNode: Any) -> Volume:
    """The voxels (X, Y, Z) and affine of a scalar volume node. The array shares the node's memory: copy to change it.

    Raises InputError where the node has no voxels, or several numbers a voxel.
    """
    from medddpm.geometry.volume import Volume

    image = volumeNode.GetImageData()
    if image is None or voxelCount(volumeNode) == 0:
        raise InputError("The volume has no voxels. Choose another, or load it again.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"The volume has {image.GetNumberOfScalarComponents()} components per voxel, but one is needed. Choose a "
            "scalar volume (the module 'Vector to scalar volume' makes one)."
        )
    return Volume(voxelView(image).transpose(2, 1, 0), affineOf(volumeNode))


def voxelCount(volumeNode: Any) -> int:
    """Voxels of a volume node; 0 where it has no image."""
    image = volumeNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return 0
    x, y, z = image.GetDimensions()
    return int(x) * int(y) * int(z)


def volumeNodeFromArray(
    scene: Any, name: str, data: np.ndarray, affine: np.ndarray, className: str = "vtkMRMLScalarVolumeNode"
) -> Any:
    """A new volume node in ``scene`` with a copy of ``data`` (X, Y, Z) and ``affine`` (voxel -> RAS mm).

    It gets its default display nodes. Raises InputError for an array that is not a non-empty 3D one.
    """
    node = scene.CreateNodeByClass(className)
    node.UnRegister(None)
    node.SetName(name)
    _fill(node, data, affine)
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    return node


def saveVolume(volume: Volume, path: Path) -> None:
    """Write a Volume through MRML, whole or not at all, uncompressed (for speed); the name says the format (.nrrd).

    Raises InputError where it cannot be written.
    """
    import slicer

    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    _fill(node, volume.data, volume.affine)
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetUseCompression(False)
    with atomic_path(Path(path)) as temporary:
        storage.SetFileName(str(temporary))
        written = storage.WriteData(node)
        if not written or not temporary.exists():
            _removeRemains(temporary)
            raise InputError(f"{path} could not be written. {FREE_SPACE}", path=path)


def _removeRemains(path: Path) -> None:
    """Delete what MRML, which writes into a folder beside ``path`` first, leaves there when the disk is full."""
    beside = path.parent / "TempWrite"
    with contextlib.suppress(OSError):
        (beside / path.name).unlink(missing_ok=True)
        beside.rmdir()


def loadVolume(path: Path, name: str, scene: Any = None, className: str = "vtkMRMLScalarVolumeNode") -> Any:
    """A new node in ``scene`` (by default Slicer's) with the image of a file (NRRD, NIfTI, ...) and display nodes.

    The node is not tied to the file: Slicer asks to save it with the scene, and the file can be deleted. As with every
    image that Slicer reads, axes that form a left-handed system are turned into a right-handed one: each voxel stays in
    its place, but the third index may run the other way. Raises InputError where the file cannot be read.
    """
    import slicer

    scene = slicer.mrmlScene if scene is None else scene
    path = Path(path)
    node = _readNode(path, className)
    node.SetName(name)
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    # What was just read counts as changed, since no storage node of this scene holds it.
    node.StorableModified()
    return node


def transformToSame(node: Any, otherNode: Any) -> np.ndarray:
    """The 4x4 matrix that brings the coordinates of ``node`` (mm) into those of ``otherNode`` (None: the world).

    The identity where both lie under the same transform or none. Raises InputError where a transform that is not linear
    lies between them.
    """
    import slicer

    own = node.GetParentTransformNode()
    other = None if otherNode is None else otherNode.GetParentTransformNode()
    if own is other:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(own, other, matrix):
        raise InputError(
            "The volume and the segmentation lie under different transforms, and one of these is not linear. Harden it "
            "first (Data module, right click on the transform, Harden transform)."
        )
    return toArray(matrix)


def _readNode(path: Path, className: str) -> Any:
    import slicer

    scene = slicer.vtkMRMLScene()
    read = scene.AddNewNodeByClass(className)
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    # Without this a lone image would be taken for a slice of a series of files with similar names.
    storage.SetSingleFile(True)
    if not path.is_file() or not storage.ReadData(read) or voxelCount(read) == 0:
        raise InputError(
            f"{path} could not be read as an image. It may be damaged or deleted: make it again.", path=path
        )
    node = slicer.vtkMRMLScene().CreateNodeByClass(className)
    node.UnRegister(None)
    node.SetAndObserveImageData(read.GetImageData())
    matrix = vtk.vtkMatrix4x4()
    read.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    return node


def _fill(node: Any, data: np.ndarray, affine: np.ndarray) -> None:
    node.SetAndObserveImageData(_newImageData(_asImageArray(data)))
    node.SetIJKToRASMatrix(toMatrix(affine))


def _asImageArray(data: np.ndarray) -> np.ndarray:
    """(X, Y, Z) as a (Z, Y, X) array of a type that images and files can hold."""
    data = np.asarray(data)
    if data.ndim != 3 or 0 in data.shape:
        raise InputError(f"An image needs three axes with voxels along each, not the shape {data.shape}.")
    if data.dtype == np.bool_ or data.dtype == np.float16:
        data = data.astype(_KINDS[data.dtype.kind])
    return data.transpose(2, 1, 0)


def _newImageData(array: np.ndarray) -> Any:
    image = vtk.vtkImageData()
    z, y, x = array.shape
    image.SetDimensions(x, y, z)
    image.AllocateScalars(get_vtk_array_type(array.dtype), 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z, y, x)[:] = array
    return image

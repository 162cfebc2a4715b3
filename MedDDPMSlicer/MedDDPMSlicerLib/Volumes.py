"""Volume nodes as arrays with affines and as files, and volumes of any size in steps that each take milliseconds.

Files go through MRML's own storage nodes (which need no Qt), but for those of our own jobs, which are read in steps:
they have one number a voxel, plain ``.nii`` is mapped into memory, ``.nii.gz`` unpacked; anything but what the core
writes is refused.
"""

from __future__ import annotations

import contextlib
import gzip
import struct
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from medddpm.errors import FREE_SPACE, InputError
from medddpm.files import atomic_path
from medddpm.geometry.checks import MAX_SHEAR, shear_degrees
from medddpm.geometry.volume import Volume
from vtk.util.numpy_support import get_vtk_array_type

from .Lattice import toArray, toMatrix, voxelView

HEADER_BYTES = 348
# NIfTI-1 data type codes of what the core writes.
_TYPES = {2: "<u1", 4: "<i2", 16: "<f4", 64: "<f8"}
MAX_AXIS, MAX_VOXELS = 4096, 1 << 30
# Unpacked between two pauses: some milliseconds.
CHUNK_BYTES = 1 << 20
# Voxels that are copied or computed between two pauses: 1 to 10 milliseconds.
SLAB_VOXELS = 1_500_000


def affineOf(volumeNode: Any) -> np.ndarray:
    """4x4 float64, voxel index (i, j, k) -> RAS mm in the node's own coordinates (parent transforms left out)."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return toArray(matrix)


def volumeOf(volumeNode: Any) -> Volume:
    """The voxels (X, Y, Z) and affine of a scalar volume node. The array shares the node's memory: copy to change it.

    Raises InputError where the node has no voxels, or several numbers a voxel.
    """
    image, name = volumeNode.GetImageData(), volumeNode.GetName()
    if _isEmpty(image):
        raise InputError(f"The volume '{name}' has no voxels. Choose another, or load it again.")
    count = image.GetNumberOfScalarComponents()
    if count != 1 and volumeNode.IsA("vtkMRMLMultiVolumeNode"):
        raise InputError(
            f"The volume '{name}' is a 4D series of {count} images, but one is needed. Extract one, or load the file "
            "as a sequence and choose a frame."
        )
    if count != 1:
        raise InputError(
            f"The volume '{name}' has {count} components per voxel, but one is needed. Choose a scalar volume (the "
            "module 'Vector to scalar volume' makes one of a color image)."
        )
    return Volume(voxelView(image).transpose(2, 1, 0), affineOf(volumeNode))


def _isEmpty(image: Any) -> bool:
    return image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0


def saveVolume(volume: Volume, path: Path) -> None:
    """Write a Volume through MRML, whole or not at all, uncompressed (for speed); the name says the format (.nrrd).

    Raises InputError where it cannot be written, and where its axes are sheared, which the format cannot say.
    """
    shear = shear_degrees(volume.affine)
    if shear > MAX_SHEAR:
        raise InputError(
            f"A transform, or the geometry itself, shears the voxels of an image or mask by {shear:.1f} degrees. Use a "
            "transform without shear, or resample the volume (module Resample Scalar/Vector/DWI Volume)."
        )
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    image, voxels = newImage(volume.shape, volume.data.dtype)
    voxels[:] = volume.data.transpose(2, 1, 0)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(toMatrix(volume.affine))
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetUseCompression(False)
    with atomic_path(Path(path)) as temporary:
        storage.SetFileName(str(temporary))
        if not storage.WriteData(node) or not temporary.exists():
            # MRML, which writes into a folder beside the file first, leaves it there when the disk is full.
            beside = temporary.parent / "TempWrite"
            with contextlib.suppress(OSError):
                (beside / temporary.name).unlink(missing_ok=True)
                beside.rmdir()
            raise InputError(f"{path} could not be written. {FREE_SPACE}", path=path)


def loadVolume(path: Path, name: str, scene: Any = None) -> Any:
    """A new node in ``scene`` (by default Slicer's) with the image of a file (NRRD, NIfTI, ...) and display nodes.

    The node is not tied to the file: Slicer asks to save it with the scene, and the file can be deleted. As with every
    image that Slicer reads, axes that form a left-handed system are turned into a right-handed one: each voxel stays in
    its place, but the third index may run the other way. Raises InputError where the file cannot be read.
    """
    aside = slicer.vtkMRMLScene()
    read = aside.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = aside.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    # Without this a lone image would be taken for a slice of a series of files with similar names.
    storage.SetSingleFile(True)
    image = read.GetImageData() if Path(path).is_file() and storage.ReadData(read) else None
    if _isEmpty(image):
        raise InputError(
            f"{path} could not be read as an image. It may be damaged or deleted: make it again.", path=path
        )
    node = (slicer.mrmlScene if scene is None else scene).AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(toMatrix(affineOf(read)))
    node.CreateDefaultDisplayNodes()
    # What was just read counts as changed, since no storage node of this scene holds it.
    node.StorableModified()
    return node


def transformToSame(node: Any, otherNode: Any) -> np.ndarray:
    """The 4x4 matrix that brings the coordinates of ``node`` (mm) into those of ``otherNode`` (None: the world).

    The identity where both lie under the same transform or none. Raises InputError where a transform that is not linear
    lies between them.
    """
    own = node.GetParentTransformNode()
    other = None if otherNode is None else otherNode.GetParentTransformNode()
    if own is other:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(own, other, matrix):
        nodes = [n for n in (node, otherNode) if n is not None and n.GetParentTransformNode() is not None]
        warped = next(n for n in nodes if not n.GetParentTransformNode().IsTransformToWorldLinear())
        raise InputError(
            f"'{warped.GetName()}' lies under the nonlinear transform '{warped.GetParentTransformNode().GetName()}', "
            "in which distances are not the same everywhere. Harden the transform first (Data module, right click on "
            "the transform, Harden transform)."
        )
    return toArray(matrix)


@dataclass(frozen=True)
class MappedVolume:
    """``voxels`` (Z, Y, X), mapped read-only, and the affine voxel index (x, y, z) -> RAS mm."""

    voxels: np.ndarray
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        z, y, x = self.voxels.shape
        return x, y, z


def openPlainNifti(path: Path) -> MappedVolume:
    """Map an uncompressed, little-endian NIfTI-1 file with an sform. Raises InputError naming what is wrong."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    shape, dtype, offset = _layout(path, header)
    if size < offset + _bytes(shape, dtype):
        raise _incomplete(path, size)
    voxels = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape[::-1])
    return MappedVolume(voxels, _affine(header))


def unpackNifti(path: Path) -> Generator[None, None, MappedVolume]:
    """Steps that read a compressed file (``.nii.gz``) of the same kind; they return its voxels, read-only.

    Raises InputError naming what is wrong. What is beyond the size that the header tells is never unpacked.
    """
    path = Path(path)
    try:
        with gzip.open(path, "rb") as stream:
            header = stream.read(HEADER_BYTES)
            shape, dtype, offset = _layout(path, header)
            stream.seek(offset)
            data = np.empty(_bytes(shape, dtype), np.uint8)
            for start in range(0, data.size, CHUNK_BYTES):
                part = data[start : start + CHUNK_BYTES]
                if stream.readinto(part) < part.size:
                    raise _incomplete(path, start)
                yield
    except (OSError, EOFError, zlib.error) as exc:
        raise _unreadable(path, exc) from exc
    data.flags.writeable = False
    return MappedVolume(data.view(dtype).reshape(shape[::-1]), _affine(header))


def _layout(path: Path, header: bytes) -> tuple[tuple[int, int, int], np.dtype, int]:
    if len(header) < HEADER_BYTES or struct.unpack_from("<i", header)[0] != HEADER_BYTES or header[344:347] != b"n+1":
        raise InputError(f"{path} is not a NIfTI file written by MedDDPM. Generate it again.", path=path)
    axes, x, y, z, *more = struct.unpack_from("<8h", header, 40)
    code = struct.unpack_from("<h", header, 70)[0]
    offset, slope, intercept = struct.unpack_from("<3f", header, 108)
    sform = struct.unpack_from("<h", header, 254)[0]
    single = axes == 3 or (axes == 4 and more[0] == 1)
    plain = intercept == 0 and (slope in (0.0, 1.0) or slope != slope)
    good = single and plain and code in _TYPES and sform > 0 and HEADER_BYTES <= offset < 1 << 20
    sides = all(1 <= n <= MAX_AXIS for n in (x, y, z))
    if not good or not sides or x * y * z > MAX_VOXELS:
        raise InputError(f"{path} is not a volume written by MedDDPM. Generate it again.", path=path)
    return (x, y, z), np.dtype(_TYPES[code]), int(offset)


def _affine(header: bytes) -> np.ndarray:
    affine = np.eye(4)
    affine[:3] = np.array(struct.unpack_from("<12f", header, 280)).reshape(3, 4)
    return affine


def _bytes(shape: tuple[int, int, int], dtype: np.dtype) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or "it is damaged"
    return InputError(f"The result {path} cannot be read: {reason}. Generate it again.", path=path)


def _incomplete(path: Path, size: int) -> InputError:
    return InputError(f"{path} is incomplete: it ends after {size} bytes. Generate it again.", path=path)


def slabs(slices: int, voxelsPerSlice: int, voxels: int = SLAB_VOXELS) -> list[slice]:
    """The slices of a volume in groups of about ``voxels`` voxels."""
    step = max(1, voxels // max(1, voxelsPerSlice))
    return [slice(start, min(start + step, slices)) for start in range(0, slices, step)]


def newImage(shape: tuple[int, int, int], dtype: Any) -> tuple[Any, np.ndarray]:
    """A vtkImageData of ``shape`` (X, Y, Z) with voxels not yet set, and its array (Z, Y, X) to fill."""
    image = vtk.vtkImageData()
    image.SetDimensions(*shape)
    image.AllocateScalars(get_vtk_array_type(np.dtype(dtype)), 1)
    return image, voxelView(image)


def copied(source: np.ndarray) -> Generator[None, None, Any]:
    """Steps that copy ``source`` (Z, Y, X) into a new vtkImageData, which they return."""
    z, y, x = source.shape
    image, target = newImage((x, y, z), source.dtype.newbyteorder("="))
    for part in slabs(z, x * y):
        target[part] = source[part]
        yield
    return image

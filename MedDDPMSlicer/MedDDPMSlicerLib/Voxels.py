"""Volumes of any size in steps that each take milliseconds: files of our own jobs, and image data slab by slab.

Files have one number a voxel: plain ``.nii`` is mapped into memory, ``.nii.gz`` unpacked; anything but what the core
writes is refused.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import vtk
from medddpm.errors import InputError
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

HEADER_BYTES = 348
# NIfTI-1 data type codes of what the core writes.
_TYPES = {2: "<u1", 4: "<i2", 16: "<f4", 64: "<f8"}
MAX_AXIS, MAX_VOXELS = 4096, 1 << 30
# Unpacked between two pauses: some milliseconds.
CHUNK_BYTES = 1 << 20
# Voxels that are copied or computed between two pauses: 1 to 10 milliseconds.
SLAB_VOXELS = 1_500_000


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


def newImage(shape: tuple[int, int, int], dtype: np.dtype) -> tuple[Any, np.ndarray]:
    """A vtkImageData of ``shape`` (X, Y, Z) with voxels not yet set, and its array (Z, Y, X) to fill."""
    image = vtk.vtkImageData()
    image.SetDimensions(*shape)
    image.AllocateScalars(get_vtk_array_type(np.dtype(dtype)), 1)
    array = vtk_to_numpy(image.GetPointData().GetScalars())
    return image, array.reshape(shape[::-1])


def copied(source: np.ndarray) -> Generator[None, None, Any]:
    """Steps that copy ``source`` (Z, Y, X) into a new vtkImageData, which they return."""
    z, y, x = source.shape
    image, target = newImage((x, y, z), source.dtype.newbyteorder("="))
    for part in slabs(z, x * y):
        target[part] = source[part]
        yield
    return image

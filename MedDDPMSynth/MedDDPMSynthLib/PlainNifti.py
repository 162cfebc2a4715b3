"""Result files of our own jobs, mapped into memory: plain ``.nii`` with one number a voxel.

A volume of any size is so read in slabs that each take milliseconds. Anything but what the core writes is refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from medddpm.errors import InputError

HEADER_BYTES = 348
# NIfTI-1 data type codes of what the core writes.
_TYPES = {2: "<u1", 4: "<i2", 16: "<f4", 64: "<f8"}
MAX_AXIS = 4096


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
        raise InputError(f"The result {path} cannot be read: {exc.strerror or exc}. Generate it again.") from exc
    if len(header) < HEADER_BYTES or struct.unpack_from("<i", header)[0] != HEADER_BYTES or header[344:347] != b"n+1":
        raise InputError(f"{path} is no NIfTI file as MedDDPM writes it. Generate it again.")
    shape, dtype, offset = _layout(path, header)
    if size < offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize:
        raise InputError(f"{path} is incomplete: it has {size} bytes. Generate it again.")
    voxels = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape[::-1])
    return MappedVolume(voxels, _affine(header))


def _layout(path: Path, header: bytes) -> tuple[tuple[int, int, int], np.dtype, int]:
    axes, x, y, z, *more = struct.unpack_from("<8h", header, 40)
    code = struct.unpack_from("<h", header, 70)[0]
    offset, slope, intercept = struct.unpack_from("<3f", header, 108)
    sform = struct.unpack_from("<h", header, 254)[0]
    single = axes == 3 or (axes == 4 and more[0] == 1)
    plain = intercept == 0 and (slope in (0.0, 1.0) or slope != slope)
    good = single and plain and code in _TYPES and sform > 0 and HEADER_BYTES <= offset < 1 << 20
    if not good or not all(1 <= n <= MAX_AXIS for n in (x, y, z)):
        raise InputError(f"{path} is no volume as MedDDPM writes it. Generate it again.")
    return (x, y, z), np.dtype(_TYPES[code]), int(offset)


def _affine(header: bytes) -> np.ndarray:
    affine = np.eye(4)
    affine[:3] = np.array(struct.unpack_from("<12f", header, 280)).reshape(3, 4)
    return affine

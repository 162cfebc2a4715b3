"""Voxel lattices of Slicer's oriented images, and NumPy views of their voxels.

An oriented image has an affine (voxel index -> RAS mm) and an extent: the range of indices it stores, which need not
begin at 0. Arrays here are (Z, Y, X) as VTK keeps them; ``Volume`` is (X, Y, Z) and begins at index 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from medddpm.errors import InputError
from vtk.util.numpy_support import vtk_to_numpy

if TYPE_CHECKING:
    from medddpm.geometry.volume import Volume

Extent = tuple[int, int, int, int, int, int]
EMPTY: Extent = (0, -1, 0, -1, 0, -1)
# Two lattices are one when their voxels agree to this part of a voxel all over the image.
TOLERANCE = 0.02
MAX_VOXELS = 1024**3
# A vtkMatrix4x4 as a 4x4 array, and back; copies.
toArray, toMatrix = slicer.util.arrayFromVTKMatrix, slicer.util.vtkMatrixFromArray


@dataclass(frozen=True)
class Lattice:
    """``matrix``: 4x4, voxel index -> RAS mm; ``extent``: first and last index along i, j, k (as VTK writes it)."""

    matrix: np.ndarray
    extent: Extent

    @classmethod
    def ofImage(cls, image: Any) -> Lattice:
        """The lattice of a vtkOrientedImageData."""
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        return cls(toArray(matrix), tuple(image.GetExtent()))

    @classmethod
    def ofVolume(cls, volume: Volume) -> Lattice:
        """The lattice of a Volume; its first voxel has the index 0, 0, 0."""
        x, y, z = volume.shape
        return cls(np.asarray(volume.affine, np.float64), (0, x - 1, 0, y - 1, 0, z - 1))

    @property
    def empty(self) -> bool:
        """Whether it has no voxel."""
        return any(self.extent[2 * axis] > self.extent[2 * axis + 1] for axis in range(3))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        x, y, z = (max(0, self.extent[2 * axis + 1] - self.extent[2 * axis] + 1) for axis in range(3))
        return z, y, x

    @property
    def size(self) -> float:
        """What it spans, cubic mm."""
        return float(np.prod(self.shape) * abs(np.linalg.det(self.matrix[:3, :3])))

    @property
    def affine(self) -> np.ndarray:
        """Index counted from the first voxel of the extent -> RAS mm: the affine of a Volume."""
        affine = np.array(self.matrix, np.float64)
        affine[:3, 3] += affine[:3, :3] @ np.array(self.extent[::2], np.float64)
        return affine

    def toVolume(self, array: np.ndarray) -> Volume:
        """The Volume of a (Z, Y, X) array on this lattice, without copying."""
        from medddpm.geometry.volume import Volume

        return Volume(array.transpose(2, 1, 0), self.affine)

    def offsetFrom(self, other: Lattice) -> tuple[int, int, int] | None:
        """By how many voxels i, j, k of ours are above those of ``other``; None where they are different lattices."""
        change = np.linalg.inv(other.matrix) @ self.matrix
        size = max(1, *self.shape, *other.shape)
        offset = np.rint(change[:3, 3])
        turned = np.abs(change[:3, :3] - np.eye(3)).max() * size
        if turned > TOLERANCE or np.abs(change[:3, 3] - offset).max() > TOLERANCE:
            return None
        i, j, k = (int(number) for number in offset)
        return i, j, k

    def on(self, other: Lattice) -> Lattice:
        """The same voxels, counted as ``other`` counts them, where both are one lattice; else itself."""
        offset = self.offsetFrom(other)
        return self if offset is None else Lattice(other.matrix, _shifted(self.extent, offset))

    def covering(self, extent: Extent) -> Lattice:
        """The same lattice, large enough for ``extent`` too. Raises InputError beyond MAX_VOXELS."""
        if Lattice(self.matrix, extent).empty:
            return self
        first = [min(self.extent[n], extent[n]) for n in (0, 2, 4)]
        last = [max(self.extent[n], extent[n]) for n in (1, 3, 5)]
        joined: Extent = (first[0], last[0], first[1], last[1], first[2], last[2])
        grown = Lattice(self.matrix, extent if self.empty else joined)
        grown.check()
        return grown

    def check(self) -> None:
        """Raise InputError where it is too large to be the lattice of a brain."""
        z, y, x = self.shape
        if x * y * z > MAX_VOXELS:
            raise InputError(
                f"The segmentation spans {x} x {y} x {z} voxels, more than can be worked with. Remove segments that "
                "lie far from the head, or give it the geometry of the head's image (Segment Editor, Specify geometry)."
            )

    def slices(self, extent: Extent) -> tuple[slice, slice, slice]:
        """Where an ``extent`` inside ours lies in a (Z, Y, X) array of this lattice."""
        x, y, z = (
            slice(extent[2 * n] - self.extent[2 * n], extent[2 * n + 1] - self.extent[2 * n] + 1) for n in range(3)
        )
        return z, y, x

    def bounding(self, mask: np.ndarray) -> Extent:
        """The smallest extent that holds what is true in a (Z, Y, X) array of this lattice; EMPTY for nothing."""
        pairs = []
        for axis, first in ((2, self.extent[0]), (1, self.extent[2]), (0, self.extent[4])):
            used = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
            if not used.size:
                return EMPTY
            pairs += [int(used[0]) + first, int(used[-1]) + first]
        return tuple(pairs)  # type: ignore[return-value]

    def extentOf(self, other: Lattice) -> Extent:
        """The smallest extent of ours that contains all voxel centers of ``other``, whatever its directions."""
        offset = other.offsetFrom(self)
        if offset is not None:
            return _shifted(other.extent, offset)
        low, high = other.extent[::2], other.extent[1::2]
        corners = np.array([[(low, high)[(n >> axis) & 1][axis] for axis in range(3)] + [1] for n in range(8)]).T
        indices = (np.linalg.inv(self.matrix) @ other.matrix @ corners)[:3]
        first, last = np.floor(indices.min(axis=1)), np.ceil(indices.max(axis=1))
        if not np.isfinite([first, last]).all() or np.abs([first, last]).max() > 2**30:
            raise InputError("A segment lies far outside of all others. Remove it, or reset its transform.")
        return tuple(int(value) for pair in zip(first, last, strict=True) for value in pair)  # type: ignore[return-value]


def voxelView(image: Any) -> np.ndarray:
    """The voxels of a vtkImageData as a (Z, Y, X) array that shares its memory; of size 0 where it has none."""
    scalars = image.GetPointData().GetScalars()
    x, y, z = image.GetDimensions()
    if scalars is None or min(x, y, z) < 1:
        return np.zeros((0, 0, 0), np.uint8)
    return vtk_to_numpy(scalars).reshape(z, y, x)


def newImage(lattice: Lattice) -> Any:
    """A vtkOrientedImageData of unsigned char on ``lattice``; its voxels are not initialized."""
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(toMatrix(lattice.matrix))
    image.SetExtent(*lattice.extent)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    return image


def intersection(a: Extent, b: Extent) -> Extent | None:
    """What two extents share; None where that is nothing."""
    pairs = [(max(a[2 * n], b[2 * n]), min(a[2 * n + 1], b[2 * n + 1])) for n in range(3)]
    if any(first > last for first, last in pairs):
        return None
    return tuple(value for pair in pairs for value in pair)  # type: ignore[return-value]


def _shifted(extent: Extent, offset: tuple[int, int, int]) -> Extent:
    return tuple(extent[n] + offset[n // 2] for n in range(6))  # type: ignore[return-value]

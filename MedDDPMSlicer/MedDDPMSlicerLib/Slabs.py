"""Filling image data slab by slab, so that volumes of any size reach the scene without holding up the GUI."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import vtk

# Voxels that are copied or computed between two pauses: 1 to 10 milliseconds.
SLAB_VOXELS = 1_500_000


def slabs(slices: int, voxelsPerSlice: int, voxels: int = SLAB_VOXELS) -> list[slice]:
    """The slices of a volume in groups of about ``voxels`` voxels."""
    step = max(1, voxels // max(1, voxelsPerSlice))
    return [slice(start, min(start + step, slices)) for start in range(0, slices, step)]


def newImage(shape: tuple[int, int, int], dtype: np.dtype) -> tuple[Any, np.ndarray]:
    """A vtkImageData of ``shape`` (X, Y, Z) with voxels not yet set, and its array (Z, Y, X) to fill."""
    from vtk.util import numpy_support

    image = vtk.vtkImageData()
    image.SetDimensions(*shape)
    image.AllocateScalars(numpy_support.get_vtk_array_type(np.dtype(dtype)), 1)
    array = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return image, array.reshape(shape[::-1])


def copied(source: np.ndarray) -> Generator[None, None, Any]:
    """Steps that copy ``source`` (Z, Y, X) into a new vtkImageData, which they return."""
    z, y, x = source.shape
    image, target = newImage((x, y, z), source.dtype.newbyteorder("="))
    for part in slabs(z, x * y):
        target[part] = source[part]
        yield
    return image

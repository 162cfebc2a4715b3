"""Volumes of one case against each other in space."""

from __future__ import annotations

import numpy as np

from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether two volumes have the same voxels in the same places, within a thousandth of a millimeter."""
    return one.shape == other.shape and bool(np.allclose(one.affine, other.affine, atol=1e-3))


def on_grid(image: Volume, grid: Volume) -> np.ndarray:
    """The image at the voxels of ``grid``, float32; its smallest value where it does not reach."""
    if same_grid(image, grid):
        return image.data
    to_image = index_map(grid.affine, image.affine)
    return resample(image.data, to_image, grid.shape, float(image.data.min()))


def reached(image: Volume, grid: Volume) -> np.ndarray:
    """Which voxels of ``grid`` the image reaches, bool."""
    if same_grid(image, grid):
        return np.ones(grid.shape, bool)
    to_image = index_map(grid.affine, image.affine)
    return resample(np.ones(image.shape, np.uint8), to_image, grid.shape, 0.0) >= 0.5

"""A coarse lattice of points in world space around a brain, on which fields are computed, and maps between points.

Fields are arrays (..., X, Y, Z) with one value a lattice point; coordinates are RAS millimeters throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..geometry.resample import index_map, resample
from ..geometry.volume import bounding_box
from ..labels.morphology import row_ends

STEP_MM = 3.0
MARGIN = 5  # lattice points around the brain
FAR_MM = 24.0  # distances are not followed further than this


@dataclass(frozen=True)
class Lattice:
    """``shape`` points along R, A and S, ``step`` mm apart, the first at ``origin`` (RAS mm)."""

    origin: np.ndarray
    shape: tuple[int, int, int]
    step: float = STEP_MM

    @property
    def affine(self) -> np.ndarray:
        """4x4, lattice index -> RAS mm."""
        matrix = np.diag([self.step, self.step, self.step, 1.0])
        matrix[:3, 3] = self.origin
        return matrix

    def points(self) -> np.ndarray:
        """Position of each point, RAS mm, (3, X, Y, Z) float32."""
        index = np.indices(self.shape, dtype=np.float32)
        return index * np.float32(self.step) + self.origin.astype(np.float32)[:, None, None, None]

    def sample(self, field: np.ndarray, points: np.ndarray) -> np.ndarray:
        """``field`` (C, X, Y, Z) at ``points`` (3, ...) in RAS mm, trilinear: (C, ...); beyond the border as there."""
        place = (points.reshape(3, -1) - self.origin.astype(np.float32)[:, None]) / np.float32(self.step)
        found = interpolate(np.ascontiguousarray(np.moveaxis(field, 0, -1)), place)
        return found.T.reshape(len(field), *points.shape[1:])

    def from_grid(self, data: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """``data`` (X, Y, Z) of the grid of ``affine`` at the lattice's points: the mean over each cell, float32."""
        box = bounding_box(data != 0, 1)
        if box is None:
            return np.zeros(self.shape, np.float32)
        corner = np.eye(4)
        corner[:3, 3] = [-s.start for s in box]
        return resample(data[box], corner @ index_map(self.affine, affine), self.shape, 0.0)


def lattice_around(region: np.ndarray, affine: np.ndarray, step: float = STEP_MM) -> Lattice:
    """A lattice that holds the True voxels of ``region`` (X, Y, Z) with a margin; ``region`` must not be empty."""
    world = row_ends(region) @ affine[:3, :3].T + affine[:3, 3]
    low, high = world.min(axis=0), world.max(axis=0)
    shape = np.ceil((high - low) / step).astype(int) + 1 + 2 * MARGIN
    x, y, z = shape.tolist()
    return Lattice((low + high) / 2 - step * (shape - 1) / 2, (x, y, z), step)


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``points`` (3, ...) under an affine map ``matrix`` (3x4 or 4x4), float32.

    Not by ``@``: for matrices so small the threads of a linear algebra library cost more than the sums.
    """
    linear, shift = matrix[:3, :3].astype(np.float32), matrix[:3, 3].astype(np.float32)
    return np.einsum("ij,j...->i...", linear, points) + shift.reshape(3, *[1] * (points.ndim - 1))


def interpolate(field: np.ndarray, place: np.ndarray) -> np.ndarray:
    """``field`` (X, Y, Z, C) at ``place`` (3, N) in voxels, trilinear: (N, C) float32; beyond the border as there."""
    shape = field.shape[:3]
    place = np.clip(place, 0, np.array(shape, np.float32)[:, None] - np.float32(1.001)).astype(np.float32, copy=False)
    low = place.astype(np.int32)
    x, y, z = place - low.astype(np.float32)
    strides = (shape[1] * shape[2], shape[2], 1)
    start = low[0] * strides[0] + low[1] * strides[1] + low[2]
    flat = field.reshape(-1, field.shape[3])
    out = np.zeros((len(start), field.shape[3]), np.float32)
    for corner in range(8):
        i, j, k = corner >> 2 & 1, corner >> 1 & 1, corner & 1
        weight = (x if i else 1 - x) * (y if j else 1 - y) * (z if k else 1 - z)
        out += weight[:, None] * flat[start + (i * strides[0] + j * strides[1] + k)]
    return out


def smooth(field: np.ndarray, sigma_mm: float) -> np.ndarray:
    """``field`` (C, X, Y, Z) of a lattice after a Gaussian of ``sigma_mm``."""
    rows = np.ascontiguousarray(np.moveaxis(field, 0, -1), np.float32)
    found = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(rows, isVector=True), sigma_mm / STEP_MM)
    return np.moveaxis(sitk.GetArrayFromImage(found).reshape(rows.shape), -1, 0)


def distance(share: np.ndarray) -> np.ndarray:
    """Signed distance in mm to the surface where ``share`` (X, Y, Z; of each cell that is inside) is one half.

    Positive inside, up to ``FAR_MM``; the surface keeps its place between the lattice's points.
    """
    # The filter fails where a surface has no slope, as between two equal layers; a trace of noise gives it one.
    noise = np.random.default_rng(0).integers(-8, 9, share.shape)
    image = sitk.GetImageFromArray((np.rint(np.clip(share, 0, 1) * 10000) + noise).astype(np.int16))
    found = sitk.GetArrayFromImage(sitk.ApproximateSignedDistanceMap(image, 10000, 0))
    return np.clip(found * -STEP_MM, -FAR_MM, FAR_MM).astype(np.float32)


def jacobian(points: np.ndarray) -> np.ndarray:
    """Determinant of the derivative of a map given by the ``points`` (3, X, Y, Z) that lattice points go to, (X, Y, Z).

    Relative volume: below 1 where the map shrinks, not above 0 where it folds.
    """
    rows = [np.gradient(component, STEP_MM) for component in points]
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)

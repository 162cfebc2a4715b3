"""A cube of world space on which lesions are drawn, and smooth random fields in it.

A lesion is computed on a lattice that depends on the lesion alone and is then resampled to the voxels of the label map.
So the same seed gives the same lesion on any grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from .fields import Box, resample, to_array, to_image


@dataclass(frozen=True)
class Lattice:
    """``size``^3 points, ``step`` mm apart along R, A and S, around ``center`` (RAS mm)."""

    center: tuple[float, float, float]
    step: float
    size: int

    @property
    def affine(self) -> np.ndarray:
        """4x4, lattice index -> RAS mm."""
        matrix = np.diag([self.step, self.step, self.step, 1.0])
        matrix[:3, 3] = np.array(self.center) - self.step * (self.size - 1) / 2
        return matrix

    @property
    def box(self) -> Box:
        """All points of the lattice."""
        return Box((0, 0, 0), (self.size, self.size, self.size))

    @property
    def spacing(self) -> np.ndarray:
        """Millimeters along the three axes, (3,)."""
        return np.full(3, self.step)

    def offsets(self) -> np.ndarray:
        """Coordinates along one axis relative to the center, mm, (size,), float32."""
        return ((np.arange(self.size) - (self.size - 1) / 2) * self.step).astype(np.float32)

    def from_grid(self, field: np.ndarray, affine: np.ndarray, outside: float = 0.0) -> np.ndarray:
        """``field`` on the voxels of ``affine``, at the points of the lattice, trilinear."""
        pull = np.linalg.inv(affine) @ self.affine
        corners = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]) * (self.size - 1)
        reached = corners @ pull[:3, :3].T + pull[:3, 3]
        low = np.clip(np.floor(reached.min(axis=0)) - 1, 0, np.array(field.shape) - 1).astype(int)
        high = np.clip(np.ceil(reached.max(axis=0)) + 2, low + 1, field.shape).astype(int)
        source = Box(tuple(low.tolist()), tuple(high.tolist()))
        return resample(field[source.slices].astype(np.float32), source, pull, self.box, outside)

    def to_grid(self, field: np.ndarray, affine: np.ndarray, target: Box, outside: float) -> np.ndarray:
        """``field`` on the lattice, at the voxels ``target`` of the grid of ``affine``, trilinear."""
        return resample(field, self.box, np.linalg.inv(self.affine) @ affine, target, outside)


def noise(rng: np.random.Generator, lattice: Lattice, scale_mm: float, reach_mm: float) -> np.ndarray:
    """A smooth random field at the lattice's points: mean about 0, standard deviation about 1, float32.

    ``scale_mm`` is the width (sigma) of its blobs. The field is the same around the center whatever the lattice, and
    lasts up to ``reach_mm`` from it, beyond which it is 0.
    """
    cell = scale_mm / 2
    size = int(np.clip(np.ceil(2 * reach_mm / cell), 8, 72))
    white = rng.standard_normal((size, size, size)).astype(np.float32)
    smooth = to_array(sitk.SmoothingRecursiveGaussian(to_image(white), 2.0))
    smooth = smooth / max(float(smooth.std()), 1e-6)
    coarse = Lattice(lattice.center, cell, size)
    return coarse.to_grid(smooth, lattice.affine, lattice.box, 0.0)

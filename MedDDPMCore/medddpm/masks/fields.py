"""Boxes, signed distances and resampling on small pieces of a label map.

Arrays are (X, Y, Z) in the voxel order of the label map. Resampling works in index space through 4x4 matrices, so any
affine (anisotropic, oblique, left-handed) is handled by matrix algebra alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..errors import InputError
from ..geometry.volume import bounding_box as box_of
from ..labels.scheme import LabelScheme

FAR = 1e4  # mm; stands for "outside of what was looked at" in a signed distance


@dataclass(frozen=True)
class Box:
    """A half-open block of voxel indices: ``low`` inclusive, ``high`` exclusive; may reach beyond the grid."""

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of this block in an array; valid once clipped to the array."""
        x, y, z = (slice(a, b) for a, b in zip(self.low, self.high, strict=True))
        return x, y, z

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three axes."""
        x, y, z = (b - a for a, b in zip(self.low, self.high, strict=True))
        return x, y, z

    def padded(self, margin: np.ndarray) -> Box:
        """Larger by ``margin`` voxels (3,) on each side."""
        return make_box(np.array(self.low) - margin, np.array(self.high) + margin)

    def clipped(self, shape: tuple[int, ...]) -> Box:
        """The part inside a grid of ``shape``; empty (a zero side) where there is none."""
        low = np.clip(self.low, 0, shape)
        return make_box(low, np.maximum(low, np.clip(self.high, 0, shape)))

    def union(self, other: Box) -> Box:
        """The smallest block that holds both."""
        return make_box(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def within(self, outer: Box) -> tuple[slice, slice, slice]:
        """Index of this block in an array that covers ``outer``."""
        return make_box(np.subtract(self.low, outer.low), np.subtract(self.high, outer.low)).slices


def make_box(low: np.ndarray, high: np.ndarray) -> Box:
    """A Box from two (3,) integer arrays."""
    a, b, c = (int(v) for v in low)
    d, e, f = (int(v) for v in high)
    return Box((a, b, c), (d, e, f))


def bounding_box(inside: np.ndarray) -> Box:
    """The smallest block that holds all True voxels; an empty Box at the origin where there are none."""
    box = box_of(inside) or (slice(0, 0), slice(0, 0), slice(0, 0))
    return make_box(np.array([s.start for s in box]), np.array([s.stop for s in box]))


def mapped_box(box: Box, matrix: np.ndarray) -> Box:
    """The smallest block of output voxels that holds ``box`` moved by ``matrix`` (4x4, index -> index)."""
    corners = np.array([[(box.low, box.high)[i >> a & 1][a] - (i >> a & 1) for a in range(3)] for i in range(8)])
    moved = corners @ matrix[:3, :3].T + matrix[:3, 3]
    return make_box(np.floor(moved.min(axis=0)), np.ceil(moved.max(axis=0)) + 1)


def centroid_mm(inside: np.ndarray, affine: np.ndarray, low: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """Mean position of the True voxels, RAS mm, (3,); ``low`` is the index of the array's first voxel in the grid."""
    total = np.count_nonzero(inside)
    mean = np.empty(3)
    for axis in range(3):
        profile = np.count_nonzero(inside, axis=tuple(i for i in range(3) if i != axis))
        mean[axis] = profile @ np.arange(inside.shape[axis]) / total + low[axis]
    return affine[:3, :3] @ mean + affine[:3, 3]


def to_image(array: np.ndarray, spacing: np.ndarray | None = None) -> sitk.Image:
    """A SimpleITK image whose index (i, j, k) is ``array[i, j, k]``, at the origin with identity direction."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    if spacing is not None:
        image.SetSpacing([float(s) for s in spacing])
    return image


def to_array(image: sitk.Image) -> np.ndarray:
    """The inverse of ``to_image``: (X, Y, Z)."""
    return sitk.GetArrayFromImage(image).T


def _distance_to(inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance in mm from each voxel center to the nearest True voxel center; 0 on True voxels."""
    image = to_image(inside.astype(np.uint8), spacing)
    return np.maximum(to_array(sitk.SignedMaurerDistanceMap(image, False, False, True)), 0)


def signed_distance(inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance in mm to the surface of ``inside`` (X, Y, Z), negative within, float32.

    The surface lies halfway between the centers of neighboring voxels, along each axis also where spacing differs. The
    border of the array is not a surface. All ``FAR`` where nothing is inside, all ``-FAR`` where everything is.
    """
    if not inside.any():
        return np.full(inside.shape, FAR, np.float32)
    if inside.all():
        return np.full(inside.shape, -FAR, np.float32)
    distance = _distance_to(inside, spacing) - _distance_to(~inside, spacing)
    # Distances between centers are half a voxel too long on either side of the surface.
    return distance - np.sign(distance) * np.minimum(_half_voxel(distance, spacing), 0.5 * np.abs(distance))


def smooth_distance(inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """As ``signed_distance``, for a smooth surface through the steps between voxels; negative on the same voxels.

    So a shape keeps its sub-voxel position when it is moved by a part of a voxel, and has no stairs when enlarged.
    """
    distance = signed_distance(inside, spacing)
    if min(distance.shape) < 4:
        return distance
    smooth = to_array(sitk.SmoothingRecursiveGaussian(to_image(distance), 0.8))
    smooth = np.where(distance < 0, np.minimum(smooth, 0.3 * distance), np.maximum(smooth, 0.3 * distance))
    # Away from the surface distances are right as they are; smoothing would flatten the middle of small parts.
    near = np.clip(2 - np.abs(distance) / np.float32(spacing.mean()), 0, 1)
    return distance + near * (smooth - distance)


def _half_voxel(distance: np.ndarray, spacing: np.ndarray) -> np.ndarray | np.float32:
    """Half of the voxel size in the direction in which ``distance`` grows, mm."""
    if np.ptp(spacing) < 0.05 * spacing.min() or min(distance.shape) < 2:
        return np.float32(spacing.mean() / 2)
    squares = [g**2 for g in np.gradient(distance, *(float(s) for s in spacing))]
    total = np.maximum(sum(squares), np.float32(1e-6))
    weighted = sum(np.float32(s / 2) * g for s, g in zip(spacing, squares, strict=True))
    return (weighted / total).astype(np.float32)


def resample(field: np.ndarray, source: Box, pull: np.ndarray, target: Box, outside: float) -> np.ndarray:
    """``field`` (covering the block ``source``) at the voxels of ``target``, trilinear, float32.

    ``pull`` (4x4) takes a target index to a source index; ``outside`` is the value beyond ``source``.
    """
    image = to_image(field.astype(np.float32, copy=False))
    image.SetOrigin([float(v) for v in source.low])
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([float(v) for v in pull[:3, :3].ravel()])
    transform.SetTranslation([float(v) for v in pull[:3, 3]])
    identity = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    origin = tuple(float(v) for v in target.low)
    result = sitk.Resample(
        image, target.shape, transform, sitk.sitkLinear, origin, (1.0, 1.0, 1.0), identity, outside, sitk.sitkFloat32
    )
    return to_array(result)


def largest_component(inside: np.ndarray) -> np.ndarray:
    """The largest face-connected piece of ``inside``; all False where there is none."""
    if not inside.any():
        return inside
    pieces = sitk.ConnectedComponent(to_image(inside.astype(np.uint8)))
    counts = np.bincount(to_array(pieces).ravel())
    counts[0] = 0
    return to_array(pieces) == counts.argmax()


def require_label_map(labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """``labels`` as uint8, checked: 3D, whole numbers of the scheme, with surround or tissue; the affine invertible.

    Raises InputError with a sentence and the remedy otherwise.
    """
    labels, affine = np.asarray(labels), np.asarray(affine)
    if labels.ndim != 3 or labels.dtype.kind not in "bui" or 0 in labels.shape:
        raise InputError(
            f"A label map of three axes with whole numbers is needed, not {labels.ndim} axes of {labels.dtype}. "
            "Check and fix the mask first."
        )
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError("The mask's affine cannot be inverted, so its voxels have no place in space. Export it again.")
    if not _known_values(labels, scheme) & {scheme.surround, *scheme.tissue_values}:
        name = scheme.label(scheme.surround).name
        raise InputError(
            f"The mask has no '{name}' label ({scheme.surround}), so it is not known where the tumor may be. "
            "Check and fix the mask first."
        )
    return labels.astype(np.uint8, copy=False)


def _known_values(labels: np.ndarray, scheme: LabelScheme) -> set[int]:
    """The values present. Raises InputError where one of them is not of ``scheme``."""
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > 255:
        raise InputError(f"The mask has values from {lowest} to {highest}; labels are 0 to 255. Use a label map.")
    counts = np.bincount(labels.astype(np.uint8, copy=False).ravel(order="K"), minlength=256)
    present = set(np.flatnonzero(counts).tolist())
    unknown = sorted(present - {0, *scheme.values})
    if unknown:
        raise InputError(
            f"The mask has the value {unknown[0]}, which label scheme '{scheme.name}' does not have (0, "
            f"{', '.join(map(str, scheme.values))}). Check and fix the mask first."
        )
    return present


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

"""3D arrays with their place in space: their grids, boxes of voxels, and grids that show more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InputError
from .checks import MAX_VOXELS

Window = tuple[slice, slice, slice]
# Of the range from dark to bright, what counts as something rather than air; and how many voxels are looked at.
BRIGHT, LOOKED_AT = 0.1, 20_000
# A mask that shows less of what is bright was cropped.
WHOLE = 0.98


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Distance between voxel centers along each array axis, millimeters."""
    x, y, z = np.sqrt((np.asarray(affine, np.float64)[:3, :3] ** 2).sum(axis=0))
    return float(x), float(y), float(z)


def voxel_ml(affine: np.ndarray) -> float:
    """Volume of one voxel, milliliters."""
    return abs(float(np.linalg.det(np.asarray(affine, np.float64)[:3, :3]))) / 1000


@dataclass(frozen=True)
class Volume:
    """A scalar 3D array and the affine that places its voxel centers in the patient.

    ``data`` has shape (X, Y, Z) in the voxel order of the file, as nibabel gives it; the network's (D, H, W) is its
    reverse. ``affine`` is 4x4, float64, voxel index -> RAS+ millimeters. ``notes``: what reading its
    file had to guess or to change, in sentences.
    """

    data: np.ndarray
    affine: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three array axes."""
        x, y, z = self.data.shape
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centers along each array axis, millimeters."""
        return spacing_of(self.affine)


@dataclass(frozen=True)
class Stored:
    """What a file holds: ``layers`` (X, Y, Z, L) with its scaling applied, None where only the header was read; its
    ``shape``, the ``affine`` to RAS+ mm, ``notes`` as those of a Volume, and ``metadata``: the header's key-value pairs
    or, of a NIfTI file, its fields that say how it lies.
    """

    layers: np.ndarray | None
    shape: tuple[int, int, int]
    affine: np.ndarray
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def centered_affine(shape: tuple[int, int, int], spacing: tuple[float, float, float], orientation: str) -> np.ndarray:
    """The affine (voxel index -> RAS+ mm) of a grid whose middle is the origin of the world.

    ``orientation`` names the direction in which each array axis grows, as ``axis_codes`` does. For volumes that have no
    place in a scanner.
    """
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(orientation):
        world, positive = ("RL", "AP", "SI").index(next(p for p in ("RL", "AP", "SI") if code in p)), code in "RAS"
        affine[world, axis] = spacing[axis] if positive else -spacing[axis]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def axis_codes(affine: np.ndarray) -> str:
    """The direction in which each array axis grows, as one of R/L, A/P, S/I each: "RAS", "LPS".

    Oblique axes count as the patient axis that they are nearest to; each patient axis is given away once.
    """
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    codes = [""] * 3
    left = np.abs(cosines)
    for _ in range(3):
        world, axis = np.unravel_index(int(left.argmax()), left.shape)
        codes[axis] = ("LR", "PA", "IS")[world][int(cosines[world, axis] > 0)]
        left[world, :], left[:, axis] = -1, -1
    return "".join(codes)


@dataclass(frozen=True)
class Segment:
    """One named segment of a segmentation file: its value in the label map and its terminology code, if any."""

    value: int
    name: str
    code: str = ""


@dataclass(frozen=True)
class Mask:
    """A mask as read from a file, before its labels are understood.

    ``volume.data`` keeps the numbers of the file (integer or float). ``segments`` is filled from formats that carry
    names (``.seg.nrrd``) and empty otherwise.
    """

    volume: Volume
    segments: tuple[Segment, ...] = ()


def bounding_box(region: np.ndarray, margin: int = 0) -> Window | None:
    """The smallest box that holds all true voxels of ``region`` (X, Y, Z), None where there are none.

    ``margin`` widens it by so many voxels on each side, inside the array.
    """
    inside: np.ndarray = np.asarray(region, bool)
    across: np.ndarray = np.any(inside, axis=2)
    if not across.any():
        return None
    x = _range(np.flatnonzero(across.any(axis=1)), margin, inside.shape[0])
    y = _range(np.flatnonzero(across.any(axis=0)), margin, inside.shape[1])
    return x, y, _range(np.flatnonzero(inside[x, y].any(axis=(0, 1))), margin, inside.shape[2])


def _range(hits: np.ndarray, margin: int, length: int) -> slice:
    return slice(max(int(hits[0]) - margin, 0), min(int(hits[-1]) + 1 + margin, length))


def corners(volume: Volume) -> np.ndarray:
    """The centers of the eight outermost voxels, (8, 3) RAS mm."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1).T
    return ends @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def whole_view(mask: Volume, image: Volume) -> Volume:
    """``mask`` on its grid extended to that of ``image``, where this shows the same place, and more of it."""
    if not _inside(corners(mask).mean(axis=0, keepdims=True), image).all():
        return mask
    low, high = float(image.data.min()), float(np.percentile(image.data, 99.5))
    spots = np.argwhere(image.data > low + BRIGHT * (high - low))
    spots = spots[:: max(1, len(spots) // LOOKED_AT)]
    bright = spots @ image.affine[:3, :3].T + image.affine[:3, 3]
    return mask if not len(bright) or _inside(bright, mask).mean() >= WHOLE else extended(mask, corners(image))


def extended(volume: Volume, points: np.ndarray) -> Volume:
    """``volume`` with as many voxels of 0 around it as it takes to hold ``points``, (N, 3) RAS mm, on the same lattice.

    Raises InputError where these would be too many.
    """
    at = np.rint(_indices(points, volume)).astype(np.int64)
    before = np.maximum(0, -at.min(axis=0))
    after = np.maximum(0, at.max(axis=0) - np.array(volume.shape) + 1)
    shape = before + volume.shape + after
    if np.prod(shape.astype(np.float64)) > MAX_VOXELS:
        size = " x ".join(map(str, shape))
        raise InputError(f"The mask would have to be extended to {size} voxels to show a head. Check its spacing.")
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ before
    return Volume(np.pad(volume.data, list(zip(before, after, strict=True))), affine, volume.notes)


def _inside(points: np.ndarray, volume: Volume) -> np.ndarray:
    at = np.rint(_indices(points, volume))
    return ((at >= 0) & (at < volume.shape)).all(axis=1)


def _indices(points: np.ndarray, volume: Volume) -> np.ndarray:
    back = np.linalg.inv(volume.affine)
    return points @ back[:3, :3].T + back[:3, 3]

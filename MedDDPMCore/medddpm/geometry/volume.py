"""A 3D array with its place in space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


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
    ``shape``, the ``affine`` to RAS+ mm, the header's key-value pairs where the format has some, and ``notes`` as those
    of a Volume.
    """

    layers: np.ndarray | None
    shape: tuple[int, int, int]
    affine: np.ndarray
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


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

"""What every volume must satisfy before its voxels are read: bounded size, and axes that place it in space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError

# A header is a stranger's word, and some kilobytes of gzip can hold what it says: 2**28 voxels (512 x 512 x 1024) are
# beyond almost any clinical scan, and so is 1 GiB of them.
MAX_VOXELS, MAX_BYTES = 2**28, 2**30
MIN_SPACING, MAX_SPACING = 0.01, 100.0  # mm
MAX_SHEAR = 0.5  # degrees by which two voxel axes may miss a right angle
MAX_OFFSET = 1e5  # mm from the scanner's origin


def check_shape(path: Path, shape: Sequence[int]) -> tuple[int, int, int]:
    """The three spatial sizes of a volume whose header says ``shape``; trailing axes of size 1 are dropped.

    Raises InputError for 2D and 4D arrays, axes without voxels and more than ``MAX_VOXELS`` voxels.
    """
    sizes = [int(n) for n in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    text = " x ".join(str(n) for n in sizes)
    if len(sizes) < 3:
        raise InputError(f"{path} is {len(sizes)}D ({text}), but a 3D volume is needed. Give the whole volume.")
    if len(sizes) > 3:
        raise InputError(f"{path} is {len(sizes)}D ({text}), but one 3D volume is needed. Split it and give one part.")
    if min(sizes) < 1:
        raise InputError(f"{path} has no voxels: its size is {text}. Export it again.")
    if sizes[0] * sizes[1] * sizes[2] > MAX_VOXELS:
        raise InputError(
            f"{path} claims to hold {text} voxels, more than the {MAX_VOXELS} that are accepted. "
            "Its header is damaged, or it must be cropped or resampled first."
        )
    return sizes[0], sizes[1], sizes[2]


def check_thickness(path: Path, shape: tuple[int, int, int], remedy: str = "") -> None:
    """Raises InputError, with a ``remedy``, where there is a single slice only."""
    if min(shape) == 1:
        size = " x ".join(map(str, shape))
        raise InputError(f"{path} is a single slice ({size}), but 3D is needed. Give the whole volume{remedy}.")


def check_bytes(path: Path, count: int) -> None:
    """Raises InputError where the voxels of a volume take more than ``MAX_BYTES``."""
    if count > MAX_BYTES:
        raise InputError(
            f"{path} claims {count / 2**30:.1f} GB of voxels, more than the {MAX_BYTES / 2**30:g} GB accepted. "
            "Store it with fewer bytes a voxel, crop it or resample it."
        )


def check_spacing(path: Path, spacing: Sequence[float]) -> None:
    """Raises InputError unless all three spacings (mm) are finite, positive and of a plausible size."""
    for axis, value in zip("xyz", spacing, strict=False):
        if not np.isfinite(value) or not MIN_SPACING <= value <= MAX_SPACING:
            raise InputError(
                f"{path} has a voxel spacing of {value:g} mm along its {axis} axis, but it must be between "
                f"{MIN_SPACING:g} and {MAX_SPACING:g} mm. Correct the spacing in the file's header."
            )


def check_affine(path: Path, affine: np.ndarray) -> None:
    """Raises InputError unless ``affine`` (4x4, voxel to mm) is finite, of plausible spacing, its axes orthogonal."""
    if not np.isfinite(affine).all():
        raise InputError(f"{path} has a value that is not a number in its orientation or origin. Export it again.")
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    check_spacing(path, spacing.tolist())
    shear = shear_degrees(affine)
    if shear > MAX_SHEAR:
        raise InputError(
            f"{path} has voxel axes that are not at right angles (shear of {shear:.1f} degrees). "
            "Resample it to a plain grid first."
        )
    if np.abs(affine[:3, 3]).max() > MAX_OFFSET:
        raise InputError(
            f"{path} lies {np.abs(affine[:3, 3]).max():g} mm from the origin, which no scanner does. "
            "Correct the origin in the file's header."
        )


def shear_degrees(affine: np.ndarray) -> float:
    """The largest angle, degrees, by which two columns of ``affine`` miss being orthogonal."""
    axes = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    cosines = np.abs(axes.T @ axes)[np.triu_indices(3, 1)]
    return float(np.degrees(np.arcsin(min(1.0, float(cosines.max())))))

"""What of an image a mask's grid shows, and grids that show more."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .checks import MAX_VOXELS
from .volume import Volume

# Of the range from dark to bright, what counts as something rather than air; and how many voxels are looked at.
BRIGHT, LOOKED_AT = 0.1, 20_000
# A mask that shows less of what is bright was cropped.
WHOLE = 0.98


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

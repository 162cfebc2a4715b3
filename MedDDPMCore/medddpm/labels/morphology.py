"""Binary morphology in millimeters on (X, Y, Z) arrays, through SimpleITK.

All functions take boolean arrays with the spacing of their axes in millimeters and return boolean arrays.
"""

from __future__ import annotations

import itertools

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..geometry.volume import Window
from ..geometry.volume import bounding_box as box_of

Spacing = tuple[float, float, float]
HULL_DIRECTIONS = 256


def _image(mask: np.ndarray, spacing: Spacing) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask, dtype=np.uint8))
    image.SetSpacing(spacing[::-1])  # SimpleITK counts its axes from the fastest, the array's last
    return image


def bounding_box(mask: np.ndarray, margin: int = 0) -> Window:
    """Slices around the true voxels, widened by ``margin`` voxels inside the array; the mask must not be empty."""
    box = box_of(mask, margin)
    if box is None:
        raise ValueError("an empty mask has no bounding box")
    return box


def distance_to(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Distance of each voxel center to the nearest true voxel center, mm, float32; 0 inside, infinite if all false."""
    if not mask.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    image = sitk.SignedMaurerDistanceMap(_image(mask, spacing), squaredDistance=False, useImageSpacing=True)
    return np.maximum(sitk.GetArrayFromImage(image), 0)


def solid(labels: np.ndarray) -> np.ndarray:
    """Voxels of which all neighbors by face, within the array, have the same value."""
    result = np.ones(labels.shape, bool)
    for axis in range(3):
        along, planes = np.moveaxis(result, axis, 0), np.moveaxis(labels, axis, 0)
        same = planes[1:] == planes[:-1]
        along[1:] &= same
        along[:-1] &= same
    return result


def touching(mask: np.ndarray) -> np.ndarray:
    """The mask and all voxels that touch it by face."""
    grown = mask.copy()
    for axis in range(3):
        near, source = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        near[1:] |= source[:-1]
        near[:-1] |= source[1:]
    return grown


def dilate(mask: np.ndarray, radius: float, spacing: Spacing) -> np.ndarray:
    """Grow by ``radius`` mm, within the array."""
    grown = mask.copy()
    if mask.any():
        box = bounding_box(mask, int(np.ceil(radius / min(spacing))) + 1)
        grown[box] = distance_to(mask[box], spacing) <= radius
    return grown


def erode(mask: np.ndarray, radius: float, spacing: Spacing, padding: bool = False) -> np.ndarray:
    """Shrink by ``radius`` mm. The array's border counts as the mask going on, or with ``padding`` as outside."""
    if not padding:
        return mask & (distance_to(~mask, spacing) > radius)
    return erode(np.pad(mask, 1), radius, spacing)[1:-1, 1:-1, 1:-1]


def close(mask: np.ndarray, radius: float, spacing: Spacing) -> np.ndarray:
    """Fill gaps and notches narrower than twice ``radius`` mm; nothing of ``mask`` is lost."""
    closed = mask.copy()
    if not mask.any():
        return closed
    box = bounding_box(mask)  # a closing never reaches beyond it
    margin = tuple(int(np.ceil(radius / s)) + 1 for s in spacing)
    padded = np.pad(mask[box], [(m, m) for m in margin])
    whole = erode(dilate(padded, radius, spacing), radius, spacing)
    closed[box] |= whole[tuple(slice(m, n - m) for m, n in zip(margin, whole.shape, strict=True))]
    return closed


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill cavities that no path of face-neighbors joins to the border of the array."""
    parts = sitk.ConnectedComponent(_image(~mask, (1.0, 1.0, 1.0)), False)
    air = sitk.GetArrayViewFromImage(parts)
    enclosed = np.ones(int(air.max(initial=0)) + 1, dtype=bool)
    for axis in range(3):
        for side in (0, -1):
            enclosed[np.unique(air.take(side, axis=axis))] = False
    enclosed[0] = False  # the mask itself
    return mask | enclosed[air] if enclosed.any() else mask.copy()


def components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected parts (26 neighbors): an int array 1 = largest, 2 = next, ... and the voxel count of each."""
    finder = sitk.ConnectedComponentImageFilter()
    finder.FullyConnectedOn()
    parts = finder.Execute(_image(mask, (1.0, 1.0, 1.0)))
    if finder.GetObjectCount() <= 1:  # nothing to sort, which is the rule
        return sitk.GetArrayFromImage(parts), np.array([np.count_nonzero(mask)] * finder.GetObjectCount())
    labels = sitk.GetArrayFromImage(sitk.RelabelComponent(parts, sortByObjectSize=True))
    return labels, np.bincount(labels[mask])[1:]


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part."""
    return components(mask)[0] == 1


def otsu(data: np.ndarray) -> float:
    """Otsu's threshold of an image's intensities."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(data, dtype=np.float32))
    threshold = sitk.OtsuThresholdImageFilter()
    threshold.Execute(image)
    return float(threshold.GetThreshold())


def _directions(count: int) -> np.ndarray:
    """``count`` unit vectors spread evenly over the sphere (Fibonacci lattice), shape (count, 3)."""
    index = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
    return np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)


def row_ends(mask: np.ndarray) -> np.ndarray:
    """The first and last true voxels of all rows along the last axis, (N, 3) indices: what is convex and holds these
    holds the whole mask.
    """
    first, last = mask.argmax(axis=2), mask.shape[2] - 1 - mask[:, :, ::-1].argmax(axis=2)
    x, y = np.nonzero(mask.any(axis=2))
    return np.concatenate([np.stack([x, y, first[x, y]], 1), np.stack([x, y, last[x, y]], 1)])


def inside_hull(points: np.ndarray, mask: np.ndarray, spacing: Spacing, margin: float = 0.0) -> np.ndarray:
    """Which of ``points`` ((N, 3) voxel indices) lie in the convex hull of ``mask`` widened by ``margin`` mm, (N,).

    The hull is the meeting of half-spaces in evenly spread directions, which encloses the exact one within about one
    percent of its size; half a voxel is added on each side, so that it holds whole voxels.
    """
    normals = _directions(HULL_DIRECTIONS) * np.asarray(spacing)
    # The ends of every row of voxels hold all corners of the hull; the rest need not be looked at.
    reach = np.max(row_ends(mask) @ normals.T, axis=0) + 0.5 * np.abs(normals).sum(axis=1) + margin
    inside = np.ones(len(points), dtype=bool)
    if not len(points):
        return inside
    # Half-spaces that hold the whole box of the points cut nothing off.
    corners = np.array(list(itertools.product(*zip(points.min(axis=0), points.max(axis=0), strict=True))))
    cutting = np.max(corners @ normals.T, axis=0) > reach
    # Single precision and blocks that stay in the cache: ten times as fast as one half-space after the other.
    toward, limit = normals[cutting].T.astype(np.float32), reach[cutting].astype(np.float32)
    for start in range(0, len(points), 4096):
        block = slice(start, start + 4096)
        inside[block] = (points[block].astype(np.float32) @ toward <= limit).all(axis=1)
    return inside


def convex_hull(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """All voxels of the array in the convex hull of ``mask`` (see ``inside_hull``)."""
    box = bounding_box(mask, 1)
    part = mask[box]
    points = np.argwhere(np.ones(part.shape, dtype=bool))
    hull = mask.copy()
    hull[box] = part | inside_hull(points, part, spacing).reshape(part.shape)
    return hull

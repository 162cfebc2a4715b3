"""Whether a label map was resampled like an image and rounded: its borders then step through the numbers between.

Between 0 and 4, linear, B-spline and Gaussian interpolation leave thin shells of 1, 2 and 3, which are whole numbers
and mean nothing. A border drawn by a person steps where a thin part lies between two others, but not all along.
"""

from __future__ import annotations

import numpy as np

from .morphology import bounding_box, solid

# From one solid voxel to the next along an axis it is a few voxels.
REACH = 5
# Fewer crossings prove nothing.
LEAST = 200
# Of 51 expert masks of BraTS, at 1 and 2 mm and with thick slices, at most this share of the crossings from one number
# to another that is not its neighbor step through what lies between; of the same masks interpolated at least this.
STEPPED = 0.3
# Where 1 lies around the rest, as edema in some numberings, thin rims of it are the rule: then only in masks with more
# numbers than those have, and this share. Between 0 and 2 alone there is but 1, so chance does more.
OUTER, STEPPED_OUTER, STEPPED_TWO = 0.4, 0.5, 0.6
# After strong smoothing nothing jumps any more: the share of borders between numbers that are no neighbors.
SMOOTH = 0.002


def is_interpolated(labels: np.ndarray, spacing: tuple[float, float, float]) -> bool:
    """Whether the numbers of a tumor mask (X, Y, Z) were interpolated; ``spacing`` in mm.

    Not for maps of tissues, which lie in shells by nature. Masks of 0, 1 and 2 in which 1 surrounds 2 cannot be told.
    """
    padded = np.pad(labels[bounding_box(labels > 0)], REACH)
    borders = [np.abs(np.diff(padded, axis=axis)) for axis in range(3)]
    faces, jumps = (sum(int(np.count_nonzero(step > least)) for step in borders) for least in (0, 1))
    if padded.max() > 2 and faces >= LEAST and jumps < SMOOTH * faces:
        return True
    inner = solid(padded)
    crossings = [_crossings(padded, inner, axis) for axis in range(3) if spacing[axis] < 2 * min(spacing)]
    low, high, stepped = (np.concatenate(parts) for parts in zip(*crossings, strict=True))
    far = high - low > 1
    outside = low == 0
    outer = float((high[outside] == 1).mean()) if outside.any() else 0.0
    last = int(padded.max())
    if np.count_nonzero(far) < LEAST or (outer >= OUTER and last < 4):
        return False
    limit = STEPPED_OUTER if outer >= OUTER else STEPPED if last > 2 else STEPPED_TWO
    return bool(stepped[far].mean() >= limit)


def _crossings(labels: np.ndarray, inner: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ways along ``axis`` between solid voxels of two values: the lower, the higher, whether it is stepped."""
    line, spots = np.moveaxis(labels, axis, -1).ravel(), np.flatnonzero(np.moveaxis(inner, axis, -1).ravel())
    near = np.diff(spots) <= REACH
    first, last = spots[:-1][near], spots[1:][near]
    ways = line[first] != line[last]
    first, last = first[ways], last[ways]
    low, high = np.minimum(line[first], line[last]), np.maximum(line[first], line[last])
    stepped = np.zeros(len(first), bool)
    for step in range(1, REACH):
        between = line[np.minimum(first + step, last)]
        stepped |= (between > low) & (between < high)
    return low, high, stepped

"""Boxes of voxels."""

from __future__ import annotations

import numpy as np

Window = tuple[slice, slice, slice]


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

"""Single lesions among the tumors of a mask: connected pieces of tumor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from medddpm.errors import InputError
from medddpm.labels.scheme import Label, LabelScheme
from medddpm.masks.fields import Box, bounding_box, make_box, to_array, to_image
from medddpm.masks.stack import one_of

from .OpenedMask import OpenedMask
from .Options import Point

# A click this near to a tumor means it, so that a lesion of a few voxels can be hit.
REACH_MM = 3.0

NO_TUMOR = "The mask has no tumor yet. Place a lesion first: choose 'New lesion' and click in a slice view."
NO_TUMOR_HERE = "There is no tumor at this point. Point at the tumor that you want to change."


def tumorAt(opened: OpenedMask, point: Point | None) -> np.ndarray:
    """Where the tumor is, (X, Y, Z) bool: all of it, or the connected lesion at or near ``point`` (RAS mm, world).

    Raises InputError where the mask has no tumor, or none lies within 3 mm of ``point``.
    """
    tumor = one_of(opened.labels, opened.scheme.tumor_values)
    if not tumor.any():
        raise InputError(NO_TUMOR)
    return tumor if point is None else _connected(tumor, opened.affine, point)


def othersHidden(opened: OpenedMask, lesion: np.ndarray) -> tuple[np.ndarray, LabelScheme]:
    """Labels and scheme in which the tumor outside of ``lesion`` has a label of its own that is no tumor.

    So the core neither moves it nor lets the lesion overwrite it. ``shown`` is the way back.
    """
    spare = _spareValue(opened.scheme)
    others = one_of(opened.labels, opened.scheme.tumor_values) & ~lesion
    if not others.any():
        return opened.labels, opened.scheme
    labels = np.where(others, np.uint8(spare), opened.labels)
    other = Label(spare, "Another lesion", (0, 0, 0), "")
    return labels, replace(opened.scheme, labels=(*opened.scheme.labels, other))


def shown(opened: OpenedMask, labels: np.ndarray) -> np.ndarray:
    """``labels`` with the lesions that ``othersHidden`` set aside."""
    return np.where(labels == _spareValue(opened.scheme), opened.labels, labels)


def _spareValue(scheme: LabelScheme) -> int:
    free = set(range(1, 256)) - set(scheme.values)
    if not free:
        raise InputError("The label scheme uses all 255 values, so one lesion alone cannot be changed.")
    return max(free)


def _connected(tumor: np.ndarray, affine: np.ndarray, point: Point) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813

    box = bounding_box(tumor)
    block = tumor[box.slices]
    seed = _nearest(block, box, affine, point)
    # Face-connected, as a person sees it in a slice.
    pieces = to_array(sitk.ConnectedComponent(to_image(block.astype(np.uint8))))
    result = np.zeros(tumor.shape, bool, order="F")
    result[box.slices] = pieces == pieces[seed]
    return result


def _nearest(block: np.ndarray, box: Box, affine: np.ndarray, point: Point) -> tuple[int, int, int]:
    """Index in ``block`` of the tumor voxel nearest to ``point``, at most ``REACH_MM`` away."""
    index = (np.linalg.inv(affine) @ [*point, 1.0])[:3] - box.low
    # Along index axis i, the distance between planes of voxels is 1 / |row i of the inverse|.
    reach = 1 + np.ceil(REACH_MM * np.linalg.norm(np.linalg.inv(affine)[:3, :3], axis=1))
    near = make_box(np.floor(index - reach), np.ceil(index + reach) + 1).clipped(block.shape)
    candidates = np.argwhere(block[near.slices]) + near.low
    if not len(candidates):
        raise InputError(NO_TUMOR_HERE)
    distances = np.linalg.norm((candidates - index) @ affine[:3, :3].T, axis=1)
    best = int(distances.argmin())
    # Half a diagonal: a click on a voxel is nearer to its center than that.
    if distances[best] > REACH_MM + np.linalg.norm(affine[:3, :3], axis=0).max() / 2:
        raise InputError(NO_TUMOR_HERE)
    x, y, z = candidates[best].tolist()
    return x, y, z

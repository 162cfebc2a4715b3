"""Scale, shift, rotate, grow and mirror the tumor of a label map inside the head or brain outline.

All functions take ``labels`` (X, Y, Z), whole numbers of ``scheme``, and ``affine`` (4x4, voxel index -> RAS+ mm), and
return an ``Edit`` with a new uint8 label map; the input is not changed. Lengths are millimeters, whatever the grid.

The tumor is a stack of nested outlines: necrosis within necrosis + enhancing within the whole tumor. ``parts`` (label
values, default all) says which outlines move: with the parts 1 and 3 of BraTS the core moves inside an edema that
stays. What an outline leaves behind becomes the next part around it, outside of all the scheme's surround label.
Outlines are moved as signed distances, so a rim thinner than a voxel keeps its volume. A tumor may cover surround and
tissues of the brain; what was under it is not known where it leaves. All other voxels never change, and the tumor is
clipped to where it may be.

Every function raises InputError where the mask has no tumor, nothing would be left inside, or the mask is not one of
``scheme``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..geometry.volume import spacing_of
from ..labels.scheme import LabelScheme
from .fields import FAR, Box, centroid_mm, mapped_box, resample, smooth_distance
from .stack import Edit, Stack, open_stack, paint

SCALE_LIMITS = (0.05, 4.0)


def transform_tumor(
    labels: np.ndarray,
    affine: np.ndarray,
    scheme: LabelScheme,
    factor: float = 1.0,
    degrees: Sequence[float] = (0.0, 0.0, 0.0),
    offset_mm: Sequence[float] = (0.0, 0.0, 0.0),
    parts: Sequence[int] | None = None,
) -> Edit:
    """The tumor scaled, turned about its centroid and moved, in one step. See the module docstring.

    ``factor``: 0.05 to 4, in each direction about the centroid. ``degrees``: right-handed angles about the R, A and S
    axes of the patient, applied in that order. ``offset_mm``: right, anterior, superior. One after the other these
    would clip the tumor at places that it only passes through.
    """
    low, high = SCALE_LIMITS
    if not low <= factor <= high:
        raise InputError(f"A tumor cannot be scaled by {factor:g}; choose a factor from {low:g} to {high:g}.")
    about_r, about_a, about_s = (rotation(axis, angle) for axis, angle in enumerate(_three(degrees, "A rotation")))
    offset = _three(offset_mm, "An offset")
    stack = open_stack(labels, affine, scheme, parts)
    return _move(stack, factor * about_s @ about_a @ about_r, stack.centroid, offset)


def mirror_tumor(
    labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme, parts: Sequence[int] | None = None
) -> Edit:
    """The tumor on the other side of the head. See the module docstring.

    The mirror is the mid-sagittal plane of the outline: through the centroid of all labeled voxels, normal to the
    patient's R axis. A head that is turned in the scanner has another plane of symmetry; align it first.
    """
    stack = open_stack(labels, affine, scheme, parts)
    return _move(stack, np.diag([-1.0, 1.0, 1.0]), centroid_mm(stack.labels != 0, stack.affine))


def grow_tumor(
    labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme, distance_mm: float, parts: Sequence[int] | None = None
) -> Edit:
    """The surface of each outline moved outward by ``distance_mm`` (negative: inward). See the module docstring.

    Inward, a part that would vanish keeps its deepest voxel as long as the outline around it has room. Raises
    InputError where nothing of the tumor would be left.
    """
    if not math.isfinite(distance_mm) or abs(distance_mm) > 100:
        raise InputError(f"A tumor cannot be grown by {distance_mm:g} mm; choose a distance from -100 to 100 mm.")
    stack = open_stack(labels, affine, scheme, parts)
    spacing = np.array(spacing_of(stack.affine))
    margin = np.ceil(max(distance_mm, 0.0) / spacing) + 2
    target = stack.box.padded(margin).clipped(stack.labels.shape)
    room = stack.room(target)
    regions: list[np.ndarray | None] = [None] * len(stack.values)
    around: np.ndarray | None = None
    reserved = 0
    for i in _chosen_from_outside(stack):
        field = smooth_distance(_spread(stack.outlines[i], stack.box, target), spacing)
        if around is None:
            around = field <= distance_mm
            if not around.any():
                _raise_nothing_left(distance_mm, field)
        else:
            around = _grown_within(field, distance_mm, around, room, reserved)
        regions[i] = around
        reserved = stack.part_size(i)
    return paint(stack, target, regions)


def _raise_nothing_left(distance_mm: float, field: np.ndarray) -> None:
    deepest = -float(field.min())
    raise InputError(
        f"Shrinking by {-distance_mm:g} mm leaves nothing of the tumor; its deepest point is {deepest:.1f} mm "
        "below its surface. Choose a smaller distance."
    )


def _grown_within(
    field: np.ndarray, distance_mm: float, around: np.ndarray, room: np.ndarray, reserved: int
) -> np.ndarray:
    """The outline with signed distance ``field`` moved outward by ``distance_mm``, inside the outline ``around``.

    A growing outline leaves ``reserved`` voxels of ``around`` to the part between the two (in a mottled core the inner
    part would else swallow it); a shrinking one keeps its deepest voxel.
    """
    free = np.where(around & room, field, FAR)
    region = around & (field <= distance_mm)
    available = np.count_nonzero(free < FAR)
    most = available - reserved
    if distance_mm > 0 and 0 < most < np.count_nonzero(region & room):
        region = around & (free < max(0.0, float(np.partition(free, most, axis=None)[most])))
    if not region.any() and available > 1:
        region = free == free.min()
    return region


def _three(numbers: Sequence[float], what: str) -> np.ndarray:
    vector = np.asarray(numbers, dtype=float)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise InputError(f"{what} needs three finite numbers (right, anterior, superior), not {list(numbers)}.")
    return vector


def rotation(axis: int, degrees: float) -> np.ndarray:
    """3x3 rotation about a coordinate axis, right-handed."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return matrix


def _chosen_from_outside(stack: Stack) -> list[int]:
    return [i for i in reversed(range(len(stack.values))) if stack.chosen[i]]


def _spread(inside: np.ndarray, source: Box, target: Box) -> np.ndarray:
    """``inside`` of ``source`` in the larger block ``target``."""
    result = np.zeros(target.shape, bool)
    result[source.within(target)] = inside
    return result


def _move(stack: Stack, linear: np.ndarray, pivot: np.ndarray, offset: np.ndarray | float = 0.0) -> Edit:
    """All chosen outlines under x -> linear (x - pivot) + pivot + offset (RAS mm)."""
    motion = np.eye(4)
    motion[:3, :3] = linear
    motion[:3, 3] = pivot + offset - linear @ pivot
    push = np.linalg.inv(stack.affine) @ motion @ stack.affine
    source = stack.box.padded(np.full(3, 2))
    whole = mapped_box(stack.box.padded(np.ones(3)), push)
    target = whole.clipped(stack.labels.shape)
    if 0 in target.shape:
        raise InputError("The moved tumor lies wholly outside the image. Choose a smaller movement.")
    growth = abs(float(np.linalg.det(linear)))
    regions: list[np.ndarray | None] = [None] * len(stack.values)
    around: np.ndarray | None = None
    for i in _chosen_from_outside(stack):
        distance = smooth_distance(_spread(stack.outlines[i], stack.box, source), np.array(spacing_of(stack.affine)))
        field = resample(distance, source, np.linalg.inv(push), target, FAR)
        volume = max(1, round(np.count_nonzero(stack.outlines[i]) * growth)) if target == whole else None
        around = regions[i] = _of_volume(field, volume, around)
    expected = max(1, round(np.count_nonzero(stack.outermost) * growth))
    return paint(stack, target, regions, expected)


def _of_volume(field: np.ndarray, volume: int | None, around: np.ndarray | None) -> np.ndarray:
    """The ``volume`` voxels of lowest ``field`` inside ``around``; all with negative values where volume is None.

    Counting keeps what a threshold at zero loses: nodules and rims about as small as a voxel.
    """
    if around is not None:
        field = np.where(around, field, FAR)
    if volume is None:
        return field <= 0
    # Ties (a flat face that falls midway between voxels) go to one side instead of being thickened.
    x, y, z = (np.arange(n) * step for n, step in zip(field.shape, (1.0e-6, 1.37e-6, 1.71e-6), strict=True))
    field = field + (x[:, None, None] + y[:, None] + z).astype(np.float32)
    room = field.size if around is None else np.count_nonzero(around)
    rank = min(volume, room) - 1
    return field <= np.partition(field, rank, axis=None)[rank]

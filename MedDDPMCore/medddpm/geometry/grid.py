"""The way to a model's voxel grid and back.

``place`` decides once where the grid lies around the head and records it as a ``Placement``; images and labels then go
to that grid and results come back to the source's own grid, both through resampling in index space.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from ..config import GridConfig
from ..errors import InputError
from .resample import LabelPart, copy_labels, index_map, is_copy, label_parts, labels_of_parts, resample
from .volume import Volume, Window, bounding_box, spacing_of

TOLERANCE = 1e-3  # of direction cosines, and relative of spacings, within which a source counts as aligned
EDGE = 0.5 + 1e-6  # of the grid, in voxels beyond the center of its outermost ones
Shape = tuple[int, int, int]
Matrix = tuple[tuple[float, ...], ...]
_WORLD = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_OPPOSITE = {"R": "left", "L": "right", "A": "back", "P": "front", "S": "lower", "I": "upper"}
_TOWARD = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "upper", "I": "lower"}


@dataclass(frozen=True)
class Placement:
    """Where a model grid lies relative to a source volume: all that is needed to go to the grid and back.

    Affines are 4x4, voxel index -> RAS+ mm, as nested tuples, so that the record compares and goes to JSON as it is.
    ``lost`` is the share of the foreground's voxels whose centers are outside the grid; ``sentence`` says so to a
    person and is empty where nothing is lost.
    """

    source_shape: Shape
    source_affine: Matrix
    grid_shape: Shape
    grid_affine: Matrix
    lost: float
    sentence: str

    @property
    def source_to_grid(self) -> np.ndarray:
        """4x4 map from voxel indices of the source to voxel indices of the grid."""
        return index_map(np.array(self.source_affine), np.array(self.grid_affine))


def place(
    volume_shape: Shape, affine: np.ndarray, foreground: np.ndarray, grid: GridConfig, steps: Sequence[int] = (0, 0, 0)
) -> Placement:
    """Lay the model's grid around ``foreground`` (bool, of ``volume_shape``: the head, or all labels).

    A volume that is on the model's grid already (shape, spacing, orientation) stays as it is. Otherwise the grid is
    centered on the bounding box of the foreground (of the volume, where that is empty), along the world's axes, or
    along the volume's where these agree within ``TOLERANCE``; a foreground too tall for the grid keeps its upper end,
    since what a tall head can do without is its neck. Along an axis on which the model's spacing is an integer
    multiple of the volume's, voxel boundaries coincide exactly, so that no interpolation takes place. Nothing is scaled
    to fit: what lies outside is counted in ``lost``. A side with a step other than 0 in ``steps`` grows by so many
    voxels at a time until it holds the foreground.
    """
    affine = np.asarray(affine, np.float64)
    if foreground.shape != tuple(volume_shape):
        raise ValueError(f"foreground of shape {foreground.shape} for a volume of {volume_shape}")
    shape = cast(Shape, tuple(int(n) for n in volume_shape))
    directions, spacing, source_axes = _grid_axes(affine, grid)
    same_spacing = np.allclose(spacing_of(affine), grid.spacing, rtol=TOLERANCE, atol=0)
    if shape == grid.shape and source_axes == [(0, 1), (1, 1), (2, 1)] and same_spacing:
        return Placement(shape, _as_tuples(affine), shape, _as_tuples(affine), 0.0, "")
    # Grid coordinates: mm along the grid's axes over its spacing, before the grid's origin is chosen.
    to_grid = np.eye(4)
    to_grid[:3] = np.linalg.inv(directions * spacing) @ affine[:3]
    low, high = _extent(foreground, to_grid)
    larger = _holding(grid, high - low, steps)
    grown = "" if larger == grid else _grown_sentence(grid, larger)
    grid = larger
    origin = _snapped(_origin(low, high, to_grid, grid), to_grid, source_axes)
    grid_affine = np.eye(4)
    grid_affine[:3, :3] = directions * spacing
    grid_affine[:3, 3] = (directions * spacing) @ origin
    inside = bool((low - origin >= -EDGE).all() and (high - origin <= np.array(grid.shape) - 1 + EDGE).all())
    lost = 0.0 if inside else _lost(foreground, to_grid, origin, grid.shape)
    sentence = grown or _lost_sentence(lost, low - origin, high - origin, grid)
    return Placement(shape, _as_tuples(affine), grid.shape, _as_tuples(grid_affine), lost, sentence)


def image_to_grid(volume: Volume, placement: Placement, fill: float) -> np.ndarray:
    """An image on the model's grid, (X, Y, Z) float32; ``fill`` where it does not reach.

    Linear; where the grid is coarser, the mean over each of its voxels. The image may have another grid than the
    placement's source, as long as it is in the same space (RAS+ mm).
    """
    return resample(volume.data, index_map(np.array(placement.grid_affine), volume.affine), placement.grid_shape, fill)


def labels_to_grid(
    label_array: np.ndarray, affine: np.ndarray, values: Sequence[int], placement: Placement
) -> np.ndarray:
    """The share of each model voxel that each label covers: (L, X, Y, Z) float32 in [0, 1], in the order of ``values``.

    Where the grid is coarser, the mean over each of its voxels: exact for aligned integer ratios up to 8. Where it is
    finer, linear. The sum over labels is at most 1 (within 1e-5); the rest is background or labels not asked for.
    """
    out = np.zeros((len(values), *placement.grid_shape), np.float32)
    to_input = index_map(np.array(placement.grid_affine), affine)
    for part in label_parts(label_array, values, to_input, placement.grid_shape):
        out[(list(values).index(part.value), *part.window)] = part.fractions
    return out


def labels_from_fractions(fractions: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """The label map, (X, Y, Z) uint8, of ``fractions`` (L, X, Y, Z) in [0, 1]; background is 1 minus their sum.

    Each voxel gets what covers most of it, but no label, and no connected piece of one, vanishes; the rules are those
    of ``fractions.labels_of_parts``. Raises InputError for values that are not from 1 to 255.
    """
    shape = cast(Shape, fractions.shape[1:])
    everywhere = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    pairs = zip(_checked(values), fractions, strict=True)
    return labels_of_parts([LabelPart(v, everywhere, f) for v, f in pairs if f.any()], shape)


def image_from_grid(data: np.ndarray, placement: Placement, fill: float) -> np.ndarray:
    """A result of the model, (X, Y, Z), on the source's own grid, float32; ``fill`` outside the model's grid.

    Linear, or the mean where the source is coarser; voxels are copied where the two grids coincide.
    """
    _require_shape(data, placement)
    return resample(data, placement.source_to_grid, placement.source_shape, fill)


def labels_from_grid(labels: np.ndarray, placement: Placement) -> np.ndarray:
    """A label map (X, Y, Z) of the model's grid on the source's own grid, uint8; 0 outside the model's grid.

    Each label goes as fractions, so that none vanishes; values are copied where the two grids coincide.
    """
    _require_shape(labels, placement)
    values = _checked(int(v) for v in np.unique(labels) if v != 0)
    if is_copy(placement.source_to_grid, placement.source_shape):
        return copy_labels(labels, placement.source_to_grid, placement.source_shape).astype(np.uint8)
    parts = label_parts(labels, values, placement.source_to_grid, placement.source_shape)
    return labels_of_parts(parts, placement.source_shape)


def to_network(data: np.ndarray) -> np.ndarray:
    """(..., X, Y, Z) -> (..., D, H, W): the network's axes are those of the volume, reversed. Contiguous."""
    return np.ascontiguousarray(np.swapaxes(data, -1, -3))


def from_network(data: np.ndarray) -> np.ndarray:
    """(..., D, H, W) -> (..., X, Y, Z), the inverse of ``to_network``. Contiguous."""
    return np.ascontiguousarray(np.swapaxes(data, -1, -3))


def _grid_axes(affine: np.ndarray, grid: GridConfig) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int] | None]]:
    """Unit directions (columns) and spacings of the grid, and the source axis and sign with which each coincides.

    The last is None for an axis whose voxel boundaries need not or cannot coincide with the source's.
    """
    directions = np.zeros((3, 3))
    for axis, code in enumerate(grid.orientation):
        world, sign = _WORLD[code]
        directions[world, axis] = sign
    spacing = np.array(grid.spacing, np.float64)
    source_spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    cosines = directions.T @ (affine[:3, :3] / source_spacing)
    signed = np.rint(cosines)
    if np.abs(cosines - signed).max() > TOLERANCE or not (np.abs(signed).sum(axis=0) == 1).all():
        return directions, spacing, [None] * 3
    axes: list[tuple[int, int] | None] = [None] * 3
    for axis in range(3):
        source = int(np.abs(signed[axis]).argmax())
        sign = int(signed[axis, source])
        directions[:, axis] = sign * affine[:3, source] / source_spacing[source]
        ratio = spacing[axis] / source_spacing[source]
        if round(ratio) >= 1 and abs(ratio / round(ratio) - 1) <= TOLERANCE:
            axes[axis] = (source, sign)
            spacing[axis] = round(ratio) * source_spacing[source]
    return directions, spacing, axes


def _extent(foreground: np.ndarray, to_grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest grid coordinates of the foreground's voxel centers; of the volume's where it is empty.

    A linear function is extreme at the first or last voxel of each line along the first axis.
    """
    box = bounding_box(foreground)
    if box is None:
        box, foreground = cast(Window, tuple(slice(0, n) for n in foreground.shape)), np.ones_like(foreground)
    part = foreground[box]
    j, k = np.nonzero(part.any(axis=0))
    first = box[0].start + part.argmax(axis=0)[j, k]
    last = box[0].stop - 1 - part[::-1].argmax(axis=0)[j, k]
    rest = to_grid[:3, 1:] @ np.vstack([j + box[1].start, k + box[2].start, np.ones(len(j))])
    ends = np.hstack([rest + np.outer(to_grid[:3, 0], first), rest + np.outer(to_grid[:3, 0], last)])
    return ends.min(axis=1), ends.max(axis=1)


def _origin(low: np.ndarray, high: np.ndarray, to_grid: np.ndarray, grid: GridConfig) -> np.ndarray:
    """Grid coordinates of the grid's first voxel: centered, or the crown at the upper end if the head is too tall."""
    shape = np.array(grid.shape)
    origin = (low + high) / 2 - (shape - 1) / 2
    half = np.abs(to_grid[:3, :3]).sum(axis=1) / 2  # half a source voxel along each grid axis
    for axis, code in enumerate(grid.orientation):
        if code in "SI" and high[axis] - low[axis] + 2 * half[axis] > shape[axis]:
            top = high[axis] + half[axis] - shape[axis] + 0.5
            origin[axis] = top if code == "S" else low[axis] - half[axis] + 0.5
    return origin


def _snapped(origin: np.ndarray, to_grid: np.ndarray, source_axes: list[tuple[int, int] | None]) -> np.ndarray:
    """The grid's origin moved by less than a source voxel, so that voxel boundaries coincide on the axes named."""
    snapped = origin.copy()
    for axis, source in enumerate(source_axes):
        if source is not None:
            step = abs(to_grid[axis, source[0]])  # a source voxel in grid voxels: 1 / ratio
            edge = to_grid[axis, 3] - step / 2  # an outer boundary of the source's first voxel
            count = round((origin[axis] - 0.5 - edge) / step)
            snapped[axis] = edge + count * step + 0.5
    return snapped


def _holding(grid: GridConfig, extent: np.ndarray, steps: Sequence[int]) -> GridConfig:
    """The grid with sides that hold ``extent`` (voxels between outermost centers) wherever its origin is snapped to."""
    sides = zip(grid.shape, extent, steps, strict=True)
    shape = tuple(max(n, step and int(np.ceil((k + 1) / step)) * step) for n, k, step in sides)
    return replace(grid, shape=cast(Shape, shape))


def _grown_sentence(grid: GridConfig, larger: GridConfig) -> str:
    times = np.prod(larger.shape) / np.prod(grid.shape)
    return (
        f"The mask does not fit the model's grid of {_millimeters(grid)} mm; one of {_millimeters(larger)} mm is used, "
        f"which takes {times:.1f} times the time and the memory."
    )


def _millimeters(grid: GridConfig) -> str:
    return " x ".join(f"{n * s:g}" for n, s in zip(grid.shape, grid.spacing, strict=True))


def _lost(foreground: np.ndarray, to_grid: np.ndarray, origin: np.ndarray, shape: Shape) -> float:
    """Share of the foreground's voxels whose centers are outside the grid."""
    total = int(np.count_nonzero(foreground))
    if total == 0:
        return 0.0
    rows, columns = np.meshgrid(*[np.arange(n) for n in foreground.shape[1:]], indexing="ij", sparse=True)
    limits = np.array(shape) - 1 + EDGE
    inside_count = 0
    for index, plane in enumerate(foreground):
        inside = plane.copy()
        for axis in range(3):
            offset = to_grid[axis, 3] - origin[axis] + index * to_grid[axis, 0]
            position = offset + rows * to_grid[axis, 1] + columns * to_grid[axis, 2]
            inside &= (position >= -EDGE) & (position <= limits[axis])
        inside_count += int(np.count_nonzero(inside))
    return 1.0 - inside_count / total


def _lost_sentence(lost: float, low: np.ndarray, high: np.ndarray, grid: GridConfig) -> str:
    if lost == 0:
        return ""
    cut = []
    for axis, code in enumerate(grid.orientation):
        before = (-0.5 - low[axis]) * grid.spacing[axis]
        after = (high[axis] - grid.shape[axis] + 0.5) * grid.spacing[axis]
        cut += [(before, _OPPOSITE[code])] if before > 0 else []
        cut += [(after, _TOWARD[code])] if after > 0 else []
    sides = ", ".join(f"{max(1, round(mm))} mm on the {side} side" for mm, side in cut)
    share = f"{lost:.1%}" if lost >= 0.001 else "less than 0.1%"
    remedy = "Crop the neck from the mask, or use" if any(side == "lower" for _, side in cut) else "Use"
    return (
        f"{share} of the mask lies outside the model's grid of {_millimeters(grid)} mm and is cut off ({sides}). "
        f"{remedy} a model with a larger grid."
    )


def _checked(values: Iterable[int]) -> list[int]:
    kept = [int(v) for v in values]
    bad = [v for v in kept if not 0 < v < 256]
    if bad:
        raise InputError(f"The label value {bad[0]} cannot be used: values are from 1 to 255. Renumber the labels.")
    return kept


def _require_shape(data: np.ndarray, placement: Placement) -> None:
    if data.shape != placement.grid_shape:
        raise ValueError(f"data of shape {data.shape} for a model grid of {placement.grid_shape}")


def _as_tuples(matrix: np.ndarray) -> Matrix:
    return tuple(tuple(float(v) for v in row) for row in matrix)

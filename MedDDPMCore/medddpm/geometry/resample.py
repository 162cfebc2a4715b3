"""Resampling between two voxel grids, in index space: a 4x4 map takes output voxel indices to input voxel indices.

Voxels are boxes around their centers: index 0 covers -0.5 to 0.5. Where output voxels are larger than input voxels,
each is the mean of up to ``MAX_SUBSAMPLES`` samples along each axis, spread evenly over its box; for an aligned integer
ratio up to that number these are exactly the input voxels inside it. Where no sample falls between input voxels,
nothing is interpolated: voxels are copied.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from .volume import Volume, Window, bounding_box

MAX_SUBSAMPLES = 8
_COPY_TOLERANCE = 1e-3  # input voxels by which a sample may miss a voxel center and still be that voxel
_SLAB_SAMPLES = 2**24  # samples held at a time: 64 MiB
THRESHOLD = 0.02  # smallest fraction that is taken for a structure; one voxel in a 3x3x3 block is 0.037
_FRAGILE = 8  # pieces of at most so many voxels are never painted over when lost pieces are put back


def index_map(output_affine: np.ndarray, input_affine: np.ndarray) -> np.ndarray:
    """The 4x4 map from voxel indices of the output grid to those of the input, both placed in the same mm space."""
    return np.linalg.solve(np.asarray(input_affine, np.float64), np.asarray(output_affine, np.float64))


def resample(data: np.ndarray, to_input: np.ndarray, shape: tuple[int, int, int], fill: float) -> np.ndarray:
    """``data`` (3D) on the output grid of ``shape``, float32; ``fill`` where the input does not reach."""
    out = np.full(shape, fill, np.float32)
    window, block = resample_window(data, to_input, shape, fill)
    out[window] = block
    return out


def reached(image: Volume, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Which voxels of the grid of ``affine`` and ``shape`` the image reaches, by half of them at least, bool."""
    return resample(np.ones(image.shape, np.uint8), index_map(affine, image.affine), shape, 0.0) >= 0.5


def resample_window(
    data: np.ndarray, to_input: np.ndarray, shape: tuple[int, int, int], fill: float
) -> tuple[Window, np.ndarray]:
    """Like ``resample``, but only the part of the output grid that the input reaches, and where that part is."""
    window = _reached(data.shape, to_input, shape)
    size = [s.stop - s.start for s in window]
    counts = _subsamples(to_input)
    fine = to_input @ _shifted([s.start for s in window]) @ _finer(counts)
    block = np.empty(size, np.float32)
    step = max(1, int(_SLAB_SAMPLES // max(1, size[1] * size[2] * np.prod(counts))))
    source = None if is_copy(fine, [n * k for n, k in zip(size, counts, strict=True)]) else _to_sitk(data)
    for start in range(0, size[0], step):
        rows = min(step, size[0] - start)
        samples = [n * k for n, k in zip((rows, size[1], size[2]), counts, strict=True)]
        slab = fine @ _shifted([start * counts[0], 0, 0])
        values = _copy(data, slab, samples, fill) if source is None else _interpolate(source, slab, samples, fill)
        block[start : start + rows] = _means(values, counts)
    return window, block


def is_copy(to_input: np.ndarray, shape: list[int] | tuple[int, ...]) -> bool:
    """Whether every output voxel center is an input voxel center, with axes permuted or flipped at most."""
    rounded = np.rint(to_input[:3])
    steps = np.abs(rounded[:, :3])
    if not (steps.sum(axis=0) == 1).all() or not (steps.sum(axis=1) == 1).all():
        return False
    corners = np.array([[*corner, 1] for corner in itertools.product(*[(0, max(0, n - 1)) for n in shape])])
    return bool(np.abs((to_input[:3] - rounded) @ corners.T).max() < _COPY_TOLERANCE)


def copy_labels(labels: np.ndarray, to_input: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """``labels`` on an output grid for which ``is_copy`` holds, same dtype, 0 outside."""
    return _copy(labels, to_input, list(shape), 0)


def _copy(data: np.ndarray, to_input: np.ndarray, shape: list[int], fill: float) -> np.ndarray:
    matrix = np.rint(to_input[:3]).astype(int)
    axes = np.abs(matrix[:, :3]).argmax(axis=0)  # the input axis along which each output axis runs
    steps = matrix[axes, range(3)]
    out = np.full(shape, fill, data.dtype if data.dtype.kind != "b" else np.uint8)
    moved = data.transpose(axes)
    targets, sources = [], []
    for axis in range(3):
        target, source = _overlap(shape[axis], moved.shape[axis], matrix[axes[axis], 3], steps[axis])
        targets.append(target)
        sources.append(source)
    out[tuple(targets)] = moved[tuple(sources)]
    return out


def _overlap(size: int, input_size: int, offset: int, step: int) -> tuple[slice, slice]:
    """Output indices o for which offset + step * o (step 1 or -1) is an input index, and those input indices."""
    first, last = (-offset, input_size - 1 - offset) if step > 0 else (offset - input_size + 1, offset)
    low, high = max(0, first), min(size - 1, last)
    if low > high:
        return slice(0, 0), slice(0, 0)
    start, stop = offset + step * low, offset + step * high + step
    return slice(low, high + 1), slice(start, None if stop < 0 else stop, step)


def _interpolate(source: sitk.Image, to_input: np.ndarray, shape: list[int], fill: float) -> np.ndarray:
    transform = sitk.AffineTransform(to_input[:3, :3].ravel().tolist(), to_input[:3, 3].tolist())
    identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    image = sitk.Resample(
        source, shape, transform, sitk.sitkLinear, [0.0] * 3, [1.0] * 3, identity, fill, sitk.sitkFloat32
    )
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


def _to_sitk(data: np.ndarray) -> sitk.Image:
    """The array as an image whose physical space is index space."""
    kept = data if data.dtype in (np.uint8, np.float32) else data.astype(np.float32)
    return sitk.GetImageFromArray(kept.transpose(2, 1, 0))


def _means(values: np.ndarray, counts: list[int]) -> np.ndarray:
    """Mean over blocks of ``counts`` voxels."""
    for axis, count in enumerate(counts):
        if count > 1:
            parts = [np.moveaxis(values, axis, 0)[k::count] for k in range(count)]
            total = parts[0].astype(np.float32)
            for part in parts[1:]:
                total += part
            values = np.moveaxis(total / np.float32(count), 0, axis)
    return values


def _subsamples(to_input: np.ndarray) -> list[int]:
    """Samples along each output axis, so that neighboring ones are at most one input voxel apart."""
    steps = np.abs(to_input[:3, :3]).max(axis=0)
    return [int(k) for k in np.clip(np.ceil(steps - 1e-3), 1, MAX_SUBSAMPLES)]


def _finer(counts: list[int]) -> np.ndarray:
    """Map from indices of a grid with ``counts`` voxels per voxel to indices of the coarse grid."""
    matrix = np.diag([*(1.0 / k for k in counts), 1.0])
    matrix[:3, 3] = [0.5 / k - 0.5 for k in counts]
    return matrix


def _shifted(start: list[int]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = start
    return matrix


def _reached(input_shape: tuple[int, ...], to_input: np.ndarray, shape: tuple[int, int, int]) -> Window:
    """Output voxels whose box may overlap the input's."""
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*[(-0.5, n - 0.5) for n in input_shape])])
    points = (np.linalg.inv(to_input) @ corners.T)[:3]
    low = np.clip(np.floor(points.min(axis=1) + 0.5 - 1e-6), 0, shape).astype(int)
    high = np.clip(np.ceil(points.max(axis=1) + 0.5 + 1e-6), low, shape).astype(int)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


@dataclass(frozen=True)
class LabelPart:
    """Fractions of one label, float32 in [0, 1], inside ``window`` of a grid; 0 outside it."""

    value: int
    window: Window
    fractions: np.ndarray


@dataclass(frozen=True)
class _LostPiece:
    value: int
    voxels: np.ndarray  # flat indices into the grid, highest fraction first
    size: int


def label_parts(
    labels: np.ndarray, values: Iterable[int], to_input: np.ndarray, shape: tuple[int, int, int]
) -> list[LabelPart]:
    """The share of each output voxel that each label covers. Labels that do not occur have no part."""
    parts = []
    for value in values:
        indicator = labels == value
        box = bounding_box(indicator)
        if box is None:
            continue
        # A border of one voxel, so that linear interpolation fades to the neighbor and not to the box.
        low = [max(0, s.start - 1) for s in box]
        grown = tuple(slice(a, s.stop + 1) for a, s in zip(low, box, strict=True))
        moved = np.eye(4)
        moved[:3, 3] = [-a for a in low]
        window, block = resample_window(indicator[grown].view(np.uint8), moved @ to_input, shape, 0.0)
        parts.append(LabelPart(value, window, block))
    return parts


def labels_of_parts(parts: Sequence[LabelPart], shape: tuple[int, int, int]) -> np.ndarray:
    """The label with the largest share of each voxel, uint8; 0 where background, the rest to 1, has more.

    At a tie the label with the smaller volume wins, and any label against background. Each connected piece of a label
    with fractions above ``THRESHOLD`` (or, if it has none, above half of its largest) keeps at least one voxel: a
    piece that won none gets those in which it is strongest, as many as make up its volume.
    """
    ordered = sorted(parts, key=lambda part: float(part.fractions.sum(dtype=np.float64)))
    labels = _largest(ordered, shape)
    fragile = np.zeros(shape, bool)
    lost = [piece for part in ordered for piece in _lost_pieces(part, labels, fragile)]
    flat, guarded = labels.reshape(-1), fragile.reshape(-1)
    for piece in sorted(lost, key=lambda piece: len(piece.voxels)):
        chosen = piece.voxels[~guarded[piece.voxels]][: piece.size]
        flat[chosen] = piece.value
        guarded[chosen] = True
    return labels


def _largest(parts: Sequence[LabelPart], shape: tuple[int, int, int]) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    best = np.zeros(shape, np.float32)
    rest = np.ones(shape, np.float32)
    for part in parts:
        inside = part.window
        rest[inside] -= part.fractions
        stronger = part.fractions > best[inside] + 1e-6
        labels[inside][stronger] = part.value
        best[inside][stronger] = part.fractions[stronger]
    labels[rest > best + 1e-6] = 0
    return labels


def _lost_pieces(part: LabelPart, labels: np.ndarray, fragile: np.ndarray) -> list[_LostPiece]:
    """Pieces of a label that won no voxel; voxels of pieces that won only a few are marked in ``fragile``."""
    if part.fractions.size == 0:
        return []
    threshold = min(THRESHOLD, float(part.fractions.max()) / 2)
    present = (part.fractions > threshold).astype(np.uint8)
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(present), True)
    pieces = sitk.GetArrayViewFromImage(image)
    won = labels[part.window] == part.value
    counts = np.bincount(pieces[won], minlength=int(pieces.max()) + 1)
    few = counts <= _FRAGILE
    fragile[part.window] |= won & few[pieces]
    lost = np.flatnonzero(counts == 0)
    return _pieces(part, pieces, lost[lost > 0], labels.shape)


def _pieces(part: LabelPart, pieces: np.ndarray, lost: np.ndarray, shape: tuple[int, ...]) -> list[_LostPiece]:
    if not len(lost):
        return []
    voxels = np.nonzero(np.isin(pieces, lost))
    numbers, fractions = pieces[voxels], part.fractions[voxels]
    corner = [s.start for s in part.window]
    flat = np.ravel_multi_index(tuple(v + c for v, c in zip(voxels, corner, strict=True)), shape)
    order = np.lexsort((-fractions, numbers))
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    groups = zip(np.split(flat[order], starts[1:]), np.split(fractions[order], starts[1:]), strict=True)
    return [_LostPiece(part.value, group, max(1, round(float(share.sum())))) for group, share in groups]

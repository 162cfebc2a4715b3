"""Series of masks made from one: a scale series, a shift series, and a tumor over time.

The first two are those of Med-DDPM's authors, published for whole-head masks (1 head, 2 tumor); here for any scheme.
Both yield ``(name, labels)`` lazily, so a caller may stop or write as it goes; ``sample`` takes that many of the kept
ones at random, repeatably by ``seed``. Each raises InputError where the mask has no tumor or is not one of ``scheme``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypeVar

import numpy as np

from ..errors import InputError
from ..geometry.volume import spacing_of
from ..labels.morphology import Spacing, components, distance_to
from ..labels.scheme import LabelScheme
from .edit import transform_tumor
from .fields import bounding_box
from .stack import nesting_order, one_of, open_stack, room_values

# The authors' numbers. A tumor below the least size is not kept; nor is one of which less than half is in the head.
LARGEST, SMALLEST, SCALES, LEAST_VOXELS = 2.0, 0.5, 20, 30
REACH_VOXELS, STEP_VOXELS, LEAST_INSIDE = 40, 10, 0.5
MAX_CANDIDATES = 1_000_000

T = TypeVar("T")
MAX_FRAMES = 200


def scale_series(
    labels: np.ndarray,
    affine: np.ndarray,
    scheme: LabelScheme,
    count: int = SCALES,
    published: bool = False,
    sample: int | None = None,
    seed: int = 0,
) -> Iterator[tuple[str, np.ndarray]]:
    """The tumor at ``count`` factors evenly spaced from 2.0 down to 0.5, about its centroid.

    A mask is kept if its tumor has at least 30 voxels. ``published`` resamples by nearest neighbor as the authors do;
    otherwise parts keep their volumes (see ``edit.transform_tumor``). Names are like ``"scale-1.50"``.
    """
    _require_positive(count, "count")
    stack = open_stack(labels, affine, scheme)
    kept = 0
    for factor in _shuffled(np.linspace(LARGEST, SMALLEST, count).tolist(), sample, seed):
        if sample is not None and kept == sample:
            return
        if published:
            scaled = _scaled_by_nearest(stack.labels, scheme, factor)
        else:
            scaled = transform_tumor(stack.labels, stack.affine, scheme, factor).labels
        if np.count_nonzero(one_of(scaled, stack.values)) >= LEAST_VOXELS:
            kept += 1
            yield f"scale-{factor:.2f}", scaled


def shift_series(
    labels: np.ndarray,
    affine: np.ndarray,
    scheme: LabelScheme,
    reach_voxels: int = REACH_VOXELS,
    step_voxels: int = STEP_VOXELS,
    published: bool = False,
    sample: int | None = None,
    seed: int = 0,
) -> Iterator[tuple[str, np.ndarray]]:
    """The tumor moved by all offsets from -40 to +40 voxels in steps of 10 along the three array axes (729).

    The old place becomes surround and the tumor is clipped to the outline. A mask is kept if at least half of the
    tumor is inside: on surround, tissue or the old tumor. With ``published`` the old tumor does not count as inside, as
    in the authors' code, which so drops small shifts, too. Names are like ``"shift-+10+00-40"``.
    """
    _require_positive(step_voxels, "step_voxels")
    _require_positive(reach_voxels + 1, "reach_voxels")
    stack = open_stack(labels, affine, scheme)
    steps = np.arange(-reach_voxels, reach_voxels + 1, step_voxels).tolist()
    if len(steps) ** 3 > MAX_CANDIDATES:
        raise InputError(f"{len(steps)}^3 shifts are too many to try. Choose a larger step_voxels than {step_voxels}.")
    tumor = np.argwhere(one_of(stack.labels, stack.values))
    parts = stack.labels[tuple(tumor.T)]
    empty = stack.labels.copy(order="K")
    empty[tuple(tumor.T)] = scheme.surround
    kept = 0
    for offset in _shuffled(list(product(steps, repeat=3)), sample, seed):
        if sample is not None and kept == sample:
            return
        places = tumor + np.array(offset)
        on_grid = ((places >= 0) & (places < empty.shape)).all(axis=1)
        places, moved = places[on_grid], parts[on_grid]
        inside = one_of(empty[tuple(places.T)], room_values(scheme))
        counted = one_of((stack.labels if published else empty)[tuple(places.T)], room_values(scheme))
        if np.count_nonzero(counted) >= LEAST_INSIDE * len(tumor):
            result = empty.copy(order="K")
            result[tuple(places[inside].T)] = moved[inside]
            kept += 1
            yield "shift-" + "".join(f"{n:+03d}" for n in offset), result


def _require_positive(number: int, what: str) -> None:
    if number < 1:
        raise InputError(f"A series cannot have {what} = {number}; it must be at least 1.")


def _shuffled(candidates: Sequence[T], sample: int | None, seed: int) -> Sequence[T]:
    """All ``candidates``; in random order where only some of them will be taken."""
    if sample is None:
        return candidates
    _require_positive(sample, "sample")
    return [candidates[i] for i in np.random.default_rng(seed).permutation(len(candidates))]


def _scaled_by_nearest(labels: np.ndarray, scheme: LabelScheme, factor: float) -> np.ndarray:
    """The tumor scaled in voxels about its centroid: each voxel takes the part at the nearest old place."""
    inside = one_of(labels, scheme.tumor_values)
    box = bounding_box(inside)
    center = np.argwhere(inside).mean(axis=0)
    result = labels.copy(order="K")
    result[inside] = scheme.surround
    axes, sources = [], []
    for axis in range(3):
        voxels = np.arange(labels.shape[axis])
        source = np.rint((voxels - center[axis]) / factor + center[axis]).astype(int)
        within = (source >= box.low[axis]) & (source < box.high[axis])
        axes.append(voxels[within])
        sources.append(source[within])
    moved = labels[np.ix_(*sources)]
    block = result[np.ix_(*axes)]
    paint = one_of(moved, scheme.tumor_values) & one_of(block, room_values(scheme))
    result[np.ix_(*axes)] = np.where(paint, moved, block)
    return result


def growth_series(
    labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme, frames: int, start: float = 0.2
) -> Iterator[np.ndarray]:
    """The label map (X, Y, Z) at ``frames`` equal steps of time, the last being ``labels`` itself.

    ``start``: the diameter at the first frame as a share of the last one's, above 0 and below 1; it grows linearly, as
    untreated gliomas do (Mandonnet et al. 2003, doi:10.1002/ana.10528). Each part grows from its deepest point to its
    final border: a voxel is reached at the time d / (d + b), with its distances d from that point and b from the border
    (mm). Frames are nested, and so are the parts in each: where the core has not come yet there is edema, where
    necrosis has not come yet the part around it. What the tumor has not reached is surround. Raises InputError where
    there is no tumor, or a number is out of range.
    """
    if not 2 <= frames <= MAX_FRAMES or not 0 < start < 1:
        raise InputError(
            f"A series of {frames} frames from {start:g} of the diameter is not possible: it takes 2 to {MAX_FRAMES} "
            "frames and a share above 0 and below 1."
        )
    tumor = one_of(labels, scheme.tumor_values)
    if not tumor.any():
        raise InputError("The mask has no tumor that could grow. Give a mask with the tumor at its final size.")
    box = bounding_box(tumor).padded(np.ones(3)).clipped(labels.shape).slices
    times = _part_times(labels[box], spacing_of(affine), scheme)
    for diameter in np.linspace(start, 1, frames):
        frame = labels.copy()
        frame[box] = _at(diameter**3, times, labels[box], scheme)
        yield frame


def _part_times(labels: np.ndarray, spacing: Spacing, scheme: LabelScheme) -> list[tuple[int, np.ndarray]]:
    """For the outermost part first: its value and when it, with all inside of it, reaches a voxel.

    Times are shares of the final volume, infinite where the part never comes.
    """
    order = nesting_order(scheme)
    found = []
    for number in reversed(range(len(order))):
        body = one_of(labels, order[: number + 1])
        if (labels == order[number]).any():
            found.append((order[number], _times(body, spacing)))
    return found


def _times(body: np.ndarray, spacing: Spacing) -> np.ndarray:
    """When each voxel of ``body`` is reached, 0 to 1: the share of the volume of its piece that is reached before."""
    times = np.full(body.shape, np.inf, np.float32)
    pieces, sizes = components(body)
    for number in range(1, len(sizes) + 1):
        piece = pieces == number
        border = distance_to(~np.pad(piece, 1), spacing)[1:-1, 1:-1, 1:-1]
        seed = np.zeros_like(piece)
        seed[np.unravel_index(np.argmax(np.where(piece, border, 0)), piece.shape)] = True
        away = distance_to(seed, spacing)[piece]
        order = np.argsort(away / (away + border[piece]), kind="stable")
        ranks = np.empty(len(order), np.float32)
        ranks[order] = np.arange(len(order), dtype=np.float32) / len(order)
        times[piece] = ranks
    return times


def _at(share: float, times: list[tuple[int, np.ndarray]], final: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """The part of the label map around the tumor when ``share`` of its volume is there."""
    tumor = one_of(final, scheme.tumor_values)
    frame = np.where(tumor, np.uint8(scheme.surround), final)
    reached = tumor
    for value, when in times:
        reached = reached & (when < share)
        frame[reached] = value
    return frame

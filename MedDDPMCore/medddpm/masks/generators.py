"""The two generators with which Med-DDPM's authors made new masks from one: a scale series and a shift series.

Published for whole-head masks (1 head, 2 tumor); here for any scheme. Both yield ``(name, labels)`` lazily, so a caller
may stop or write as it goes; ``sample`` takes that many of the kept ones at random, repeatably by ``seed``. Each raises
InputError where the mask has no tumor or is not one of ``scheme``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypeVar

import numpy as np

from ..errors import InputError
from ..labels.scheme import LabelScheme
from .edit import scale_tumor
from .fields import bounding_box
from .roles import room_values
from .stack import one_of, open_stack

# The authors' numbers. A tumor below the least size is not kept; nor is one of which less than half is in the head.
LARGEST, SMALLEST, SCALES, LEAST_VOXELS = 2.0, 0.5, 20, 30
REACH_VOXELS, STEP_VOXELS, LEAST_INSIDE = 40, 10, 0.5
MAX_CANDIDATES = 1_000_000

T = TypeVar("T")


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
    otherwise parts keep their volumes (see ``edit.scale_tumor``). Names are like ``"scale-1.50"``.
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
            scaled = scale_tumor(stack.labels, stack.affine, scheme, factor).labels
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

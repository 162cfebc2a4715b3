"""A tumor over time: masks of the same head from its first cells to what the mask shows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import InputError
from ..geometry.volume import spacing_of
from ..labels.morphology import Spacing, bounding_box, components, distance_to
from ..labels.scheme import LabelScheme
from .roles import nesting_order
from .stack import one_of

MAX_FRAMES = 200


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
    box = bounding_box(tumor, 1)
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

"""Label maps as fractions: one indicator a label, resampled as a volume, and back without losing small structures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from .resample import resample_window
from .window import Window, bounding_box

THRESHOLD = 0.02  # smallest fraction that is taken for a structure; one voxel in a 3x3x3 block is 0.037
_FRAGILE = 8  # pieces of at most so many voxels are never painted over when lost pieces are put back


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

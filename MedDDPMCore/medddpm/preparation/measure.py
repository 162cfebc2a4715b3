"""Measuring a prepared case: what the outlier check and the report are told."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ..geometry.content import content_hash
from ..geometry.intensity import Scaling
from ..geometry.volume import Volume, axis_codes, voxel_ml
from ..labels.conventions import outline_kind
from ..labels.placed import PlacedMask
from .case_files import CaseFiles
from .facts import Geometry, ImageFacts, MaskFacts, Move, Triple

BINS = 32
# Scaled intensities up to this one count as empty space.
EMPTY = -0.97


def image_facts(
    case: CaseFiles,
    name: str,
    volume: Volume,
    scaled: tuple[np.ndarray, Scaling],
    placed: PlacedMask,
    covered: float,
    moves: Sequence[Move],
) -> ImageFacts:
    """What is known of the modality ``name``; ``scaled``: the volume on the model's grid, and how it came there."""
    image, scale = scaled
    filled = placed.fractions.sum(axis=0)
    inside, outside = image[filled > 0.5], image[filled == 0]
    counts, _ = np.histogram(inside, BINS, (-1, 1))
    low, high = scale.limits
    return ImageFacts(
        modality=name,
        geometry=geometry_of(volume),
        low=low,
        high=high,
        mean=float(inside.mean()) if inside.size else -1.0,
        std=float(inside.std()) if inside.size else 0.0,
        surroundings=float(np.median(outside)) if outside.size else -1.0,
        histogram=tuple(int(n) for n in counts),
        covered=covered,
        empty=_share(inside <= EMPTY),
        tumor_empty=_share(image[_tumor(placed) > 0.5] <= EMPTY),
        sha256=content_hash(case.images[name]),
        voxels=voxel_hash(volume.data),
        moves=tuple(moves),
    )


def mask_facts(case: CaseFiles, original: Volume, placed: PlacedMask, made: bool) -> MaskFacts:
    """What is known of the mask; ``original`` as it was in the file."""
    labels, one = placed.labels, voxel_ml(placed.labels.affine)
    counts = np.bincount(labels.data.ravel(), minlength=256)
    outline_ml = float(counts[1:].sum()) * one
    return MaskFacts(
        kind=outline_kind(placed.scheme),
        geometry=None if case.mask is None else geometry_of(original),
        sha256=None if case.mask is None else content_hash(case.mask),
        outline_ml=outline_ml,
        tumor_ml=float(sum(counts[v] for v in placed.scheme.tumor_values)) * one,
        labels_ml=tuple((v, float(counts[v]) * one) for v in placed.scheme.values),
        extent_mm=_extent(labels),
        lost_ml=placed.placement.lost * outline_ml,
        lost_share=placed.placement.lost,
        tumor_lost_ml=_outside_grid(np.isin(labels.data, placed.scheme.tumor_values), placed) * one,
        made=made,
        voxels=voxel_hash(original.data),
    )


def geometry_of(volume: Volume) -> Geometry:
    """The grid of a file."""
    return Geometry(volume.shape, volume.spacing, axis_codes(volume.affine))


def voxel_hash(data: np.ndarray) -> str:
    """SHA-256 of shape and values, whatever the file's format and compression."""
    values = np.ascontiguousarray(data.astype(np.float32, copy=False))
    return hashlib.sha256(str(values.shape).encode() + values.tobytes()).hexdigest()


def _share(which: np.ndarray) -> float:
    return float(which.mean()) if which.size else 0.0


def _tumor(placed: PlacedMask) -> np.ndarray:
    """The share of each voxel of the model's grid that any tumor part covers."""
    parts = [part for part, label in zip(placed.fractions, placed.scheme.labels, strict=True) if label.tumor]
    return np.sum(parts, axis=0) if parts else np.zeros(placed.placement.grid_shape, np.float32)


def _extent(labels: Volume) -> Triple:
    """Size of the outline along R, A and S, mm, between outermost voxel centers and one voxel more."""
    inside = np.argwhere(labels.data > 0)
    if not len(inside):
        return 0.0, 0.0, 0.0
    size = np.ptp(inside @ labels.affine[:3, :3].T, axis=0) + np.abs(labels.affine[:3, :3]).max(axis=1)
    return float(size[0]), float(size[1]), float(size[2])


def _outside_grid(region: np.ndarray, placed: PlacedMask) -> int:
    """Voxels of ``region`` (bool, the mask's own grid) whose centers are outside the model's grid."""
    to_grid = placed.placement.source_to_grid
    points = np.argwhere(region) @ to_grid[:3, :3].T + to_grid[:3, 3]
    last = np.array(placed.placement.grid_shape) - 0.5 + 1e-6
    return int(np.count_nonzero(((points < -0.5 - 1e-6) | (points > last)).any(axis=1)))

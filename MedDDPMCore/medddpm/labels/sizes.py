"""The values in a label map, each with its size and place, and which of them is the outline of brain or head."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from .conventions import BRAIN, HEAD, outline_kind
from .outline import BRAIN_HEAD_LIMIT_ML
from .scheme import LabelScheme

# A field of view outside of these (mm) cannot be a head's: the unit of the spacing is wrong, or it was cropped to
# what was drawn: where voxels would be larger than these (mm) in another unit.
VIEW_MM = (40.0, 600.0)
COARSEST = 4.5
# No brain, not even a newborn's, fits into a field of view shorter than this (mm) along an axis.
LEAST_BRAIN_MM = 80.0
# No tumor is this large, every brain is (mL).
OUTLINE_ML = 400.0
# A label that spans this part of the field of view in all directions is an outline, where volume cannot tell.
OUTLINE_SPAN = 0.6


@dataclass(frozen=True)
class LabelSizes:
    """The values present in a label map with the size and box of each."""

    voxels: dict[int, int]
    boxes: dict[int, tuple[slice, slice, slice]]
    labels: np.ndarray
    spacing: tuple[float, float, float]

    @property
    def present(self) -> frozenset[int]:
        return frozenset(self.voxels)

    def volume_ml(self, value: int) -> float:
        """Volume with the unit of the spacing put right where it is plainly wrong."""
        return self.voxels[value] * float(np.prod(self.spacing)) * unit_factor(self.view, self.spacing) ** 3 / 1000

    @property
    def view(self) -> float:
        """Longest side of the field of view, mm."""
        return max(n * s for n, s in zip(self.labels.shape, self.spacing, strict=True))

    def span(self, *values: int) -> float:
        """The smallest part of the field of view that the box of the labels, one at least, spans along an axis.

        0 where the field of view holds no brain, since it was cropped to what was drawn.
        """
        sides = [n * s for n, s in zip(self.labels.shape, self.spacing, strict=True)]
        if min(sides) < LEAST_BRAIN_MM and unit_factor(self.view, self.spacing) == 1:
            return 0.0
        boxes = np.array([[(side.start, side.stop) for side in self.boxes[value]] for value in values])
        return float(((boxes[:, :, 1].max(axis=0) - boxes[:, :, 0].min(axis=0)) / self.labels.shape).min())

    def whole(self, values: Collection[int]) -> bool:
        """Whether these labels together are as large as a brain, in milliliters or in the field of view."""
        if sum(map(self.volume_ml, values)) >= OUTLINE_ML:
            return True
        most = 2 * sum(self.voxels[value] for value in values) > sum(self.voxels.values())
        return most and self.span(*values) >= OUTLINE_SPAN

    def without(self, values: Collection[int]) -> LabelSizes:
        """The sizes in the label map with these values as background."""
        labels = self.labels.copy()
        for value in values:
            labels[self.boxes[value]][self.labels[self.boxes[value]] == value] = 0
        voxels = {value: count for value, count in self.voxels.items() if value not in values}
        return LabelSizes(voxels, self.boxes, labels, self.spacing)


def unit_factor(extent: float, spacing: tuple[float, float, float]) -> float:
    """The power of ten that brings a field of view (mm) of a head into the possible range.

    1 where it is in it, or where its voxels tell that it is a small part of a head.
    """
    factor = 1.0
    while extent * factor > VIEW_MM[1]:
        factor /= 10
    while 0 < extent * factor < VIEW_MM[0] and min(spacing) * factor * 10 <= COARSEST:
        factor *= 10
    return factor


def label_sizes(labels: np.ndarray, spacing: tuple[float, float, float]) -> LabelSizes:
    """Measure a label map (X, Y, Z), whole numbers of 0 or more, with ``spacing`` in mm."""
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.SetComputePerimeter(False)
    statistics.Execute(sitk.GetImageFromArray(np.ascontiguousarray(labels)))
    voxels, boxes = {}, {}
    for value in statistics.GetLabels():
        x, y, z, dx, dy, dz = statistics.GetBoundingBox(value)
        voxels[int(value)] = int(statistics.GetNumberOfPixels(value))
        boxes[int(value)] = (slice(z, z + dz), slice(y, y + dy), slice(x, x + dx))
    return LabelSizes(voxels, boxes, labels, spacing)


def find_outline(values: LabelSizes, scheme: LabelScheme) -> int | None:
    """The value that surrounds the others and is large, if there is one."""
    total = sum(values.voxels.values())
    for value in sorted(values.present, key=lambda v: -values.voxels[v]):
        if values.voxels[value] < 0.3 * total:
            return None
        if _large(values, value, scheme) and _surrounds(values, value, total):
            return value
    return None


def _large(values: LabelSizes, value: int, scheme: LabelScheme) -> bool:
    others = values.present - {value}
    if values.volume_ml(value) >= OUTLINE_ML:
        return True
    usual = (
        value == scheme.surround
        or not others
        or (value == 4 and others <= {1, 2, 3})
        or (value == 1 and others <= {2})
        or (value > 4 and others <= {1, 2, 3, 4})
    )
    return usual and values.span(value) >= OUTLINE_SPAN


def _surrounds(values: LabelSizes, value: int, total: int) -> bool:
    """Whether nearly all voxels of the other labels lie in the box of this one."""
    others = total - values.voxels[value]
    within = int(np.count_nonzero(values.labels[values.boxes[value]])) - values.voxels[value]
    return within >= 0.9 * others


def kind_of(values: LabelSizes, outline: int, scheme: LabelScheme) -> str:
    """Head or brain, by volume; one with the scheme's own value may be small (a child's head)."""
    if values.volume_ml(outline) > BRAIN_HEAD_LIMIT_ML:
        return HEAD
    known = outline == scheme.surround or values.volume_ml(outline) < OUTLINE_ML
    return outline_kind(scheme) if known else BRAIN

"""Between the intensities of a scan, which have no unit of their own, and the [-1, 1] of the network.

A rule says what becomes -1 and +1. Its name is stored with a prepared dataset and with the model trained on it
(``ModelConfig.normalization``), and a local edit of a real scan follows the rule of its model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..errors import InputError
from .grid import Placement, image_from_grid, image_to_grid
from .resample import reached
from .volume import Volume

PERCENTILE, MIN_MAX, SLICE_MIN_MAX = "percentile", "min-max", "slice-min-max"
# A single bright vessel or dark artifact would set the minimum or the maximum.
DARKEST_PERCENTILE, BRIGHTEST_PERCENTILE = 0.1, 99.9
# What the configurations of models say that were written before rules had names.
OTHER_NAMES = {
    "per volume: background at -1, 99.9th percentile inside the outline at +1, clipped": PERCENTILE,
    "min-max per volume to [-1, 1]": MIN_MAX,
    "min-max per axial slice to [-1, 1]": SLICE_MIN_MAX,
}
SLICES_SENTENCE = (
    "The model was trained on images whose axial slices were normalized separately, so the intensity of a slice "
    "cannot be recovered exactly: inpainted voxels get the range of the same slice of the scan. They cannot be "
    "brighter than its brightest voxel, and intensity may change from slice to slice."
)


class Scaling(Protocol):
    """How one image was brought to [-1, 1] on a model's grid, and the way back, float32 and clipped on both ways."""

    @property
    def limits(self) -> tuple[float, float]:
        """The intensities that are -1 and +1; where slices differ, the outermost."""

    def from_network(self, image: np.ndarray) -> np.ndarray:
        """[-1, 1] on the model's grid, (X, Y, Z), as intensities of the scan."""

    def on_source(self, placement: Placement) -> Scaling:
        """The same for images on the grid that ``placement`` came from."""


@dataclass(frozen=True)
class IntensityRange:
    """The intensities of one volume that are -1 (``low``) and +1 (``high``) in the network; linear in between."""

    low: float
    high: float

    @classmethod
    def between(cls, low: float, high: float, name: str = "An image") -> IntensityRange:
        """A range that is one. Raises InputError, beginning with ``name``, where high is not above low."""
        if not high > low:
            raise InputError(f"{name} is constant inside its mask. Check that it is the right file.")
        return cls(float(low), float(high))

    @classmethod
    def of(cls, data: np.ndarray, outlined: np.ndarray, name: str = "An image") -> IntensityRange:
        """The range by robust percentiles: the darkest of the volume, the brightest inside the outline.

        ``outlined``: intensities inside the outline, any shape. Raises InputError as ``between``.
        """
        low = float(np.percentile(data, DARKEST_PERCENTILE))
        high = float(np.percentile(outlined, BRIGHTEST_PERCENTILE)) if outlined.size else low
        return cls.between(low, high, name)

    @classmethod
    def whole(cls, data: np.ndarray, outlined: np.ndarray, name: str = "An image") -> IntensityRange:
        """The range from the smallest to the largest value of the volume, as in the paper. Raises as ``between``."""
        if outlined.size:
            cls.between(float(outlined.min()), float(outlined.max()), name)
        return cls.between(float(data.min()), float(data.max()), name)

    @property
    def limits(self) -> tuple[float, float]:
        """See Scaling."""
        return self.low, self.high

    def to_network(self, data: np.ndarray) -> np.ndarray:
        """Intensities of the volume as [-1, 1], float32, clipped."""
        scaled = np.clip((data - self.low) / (self.high - self.low), 0, 1).astype(np.float32)
        return scaled * 2 - 1

    def from_network(self, image: np.ndarray) -> np.ndarray:
        """[-1, 1] as intensities of the volume, float32; what is beyond is clipped."""
        share = (np.clip(image, -1, 1).astype(np.float32) + 1) / 2
        return np.asarray(self.low + share * (self.high - self.low), np.float32)

    def on_source(self, placement: Placement) -> IntensityRange:
        """The range of a volume is the same on every grid."""
        return self


@dataclass(frozen=True)
class SliceRanges:
    """The intensities that are -1 and +1 in each axial slice; arrays that broadcast over the image (X, Y, Z)."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, axis: int, where: np.ndarray | None = None) -> SliceRanges:
        """Smallest and largest value of every slice across ``axis``, of the voxels ``where`` (bool; all).

        A slice without such voxels gets the smallest value of all, twice.
        """
        across = tuple(a for a in range(3) if a != axis)
        seen = np.ones(image.shape, bool) if where is None else where
        none = ~seen.any(axis=across, keepdims=True)
        low = np.where(seen, image, image.max()).min(axis=across, keepdims=True)
        high = np.where(seen, image, image.min()).max(axis=across, keepdims=True)
        return cls(np.where(none, image.min(), low), np.where(none, image.min(), high))

    @property
    def limits(self) -> tuple[float, float]:
        """See Scaling."""
        return float(self.low.min()), float(self.high.max())

    def to_network(self, image: np.ndarray) -> np.ndarray:
        """Intensities as [-1, 1], float32; a slice of one value only becomes -1."""
        width = np.where(self.high > self.low, self.high - self.low, np.inf)
        return (np.clip((image - self.low) / width, 0, 1) * 2 - 1).astype(np.float32)

    def from_network(self, image: np.ndarray) -> np.ndarray:
        """[-1, 1] as intensities of the slice, float32; what is beyond is clipped."""
        share = (np.clip(image, -1, 1).astype(np.float32) + 1) / 2
        return np.asarray(self.low + share * (self.high - self.low), np.float32)

    def on_source(self, placement: Placement) -> SliceRanges:
        """The ranges at every voxel of the source's grid, between the model's slices interpolated."""
        shape = placement.grid_shape
        limits = [np.ascontiguousarray(np.broadcast_to(part, shape)) for part in (self.low, self.high)]
        low, high = (image_from_grid(part.astype(np.float32), placement, float(part.min())) for part in limits)
        return SliceRanges(low, high)


RangeOf = Callable[[np.ndarray, np.ndarray, str], IntensityRange]


@dataclass(frozen=True)
class IntensityRule:
    """One way of scaling. ``range_of`` is None where every axial slice has a range of its own."""

    name: str
    sentence: str
    range_of: RangeOf | None

    @property
    def exact(self) -> bool:
        """Whether a scan's intensities can be got back from the network's but for what was clipped."""
        return self.range_of is not None

    def to_grid(
        self, volume: Volume, outlined: np.ndarray, placement: Placement, background: float, name: str = "An image"
    ) -> tuple[np.ndarray, Scaling]:
        """``volume`` on the model's grid, (X, Y, Z) float32 in [-1, 1], and how it was scaled.

        ``outlined``: the volume's intensities inside the outline. ``background`` where the volume does not reach.
        Raises InputError, beginning with ``name``, where there is one value only.
        """
        if self.range_of is not None:
            scale = self.range_of(volume.data, outlined, name)
            return image_to_grid(replace(volume, data=scale.to_network(volume.data)), placement, background), scale
        IntensityRange.whole(volume.data, outlined, name)
        # As published: the images were cut from volumes that were on the model's grid already.
        image = image_to_grid(volume, placement, float(volume.data.min()))
        seen = reached(volume, np.array(placement.grid_affine), placement.grid_shape)
        slices = SliceRanges.of(image, axial_axis(np.array(placement.grid_affine)), seen)
        return np.where(seen, slices.to_network(image), np.float32(background)), slices


RULES = {
    rule.name: rule
    for rule in (
        IntensityRule(
            PERCENTILE,
            "per volume: 0.1st percentile of the volume at -1, 99.9th percentile inside the outline at +1, clipped",
            IntensityRange.of,
        ),
        IntensityRule(
            MIN_MAX,
            "per volume: smallest value at -1, largest at +1",
            IntensityRange.whole,
        ),
        IntensityRule(
            SLICE_MIN_MAX,
            "per axial slice of the model's grid: smallest value at -1, largest at +1",
            None,
        ),
    )
}


def intensity_rule(text: str) -> IntensityRule:
    """The rule by its name, or by what models of before say. Raises InputError for any other text."""
    name = OTHER_NAMES.get(text, text)
    if name not in RULES:
        raise InputError(
            f"The intensity normalization '{text[:80]}' is unknown. Known are {', '.join(RULES)}; the model may have "
            "been written by a newer version or by hand."
        )
    return RULES[name]


def axial_axis(affine: np.ndarray) -> int:
    """The array axis that runs nearest to the patient's feet-to-head direction."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return int(np.abs(directions[2]).argmax())

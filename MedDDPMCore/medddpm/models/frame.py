"""What a model computes in, for one condition: images themselves, or what they show beyond the means of the labels."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..network.appearance import BACKGROUND, Coder, Look, inside
from ..network.wavelet import to_bands

MARGIN = 4  # voxels around what the mask covers, so that its opposite ends do not touch in the filters' circles


class Frame(Protocol):
    """A way to write images (1, C, D, H, W) as the numbers that a network sees and samplers work on.

    ``condition``: the channels that follow them in the network's input.
    """

    condition: Tensor

    def source(self) -> Tensor | None:
        """What is known of the images before the first evaluation, (1, C, D, H, W); None for nothing."""

    def noise(self, white: Tensor) -> Tensor:
        """Standard normal noise of an image's shape as noise of these numbers."""

    def encode(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] as these numbers."""

    def decode(self, x: Tensor) -> Tensor:
        """The inverse; not clamped."""


class VoxelFrame:
    """Images as they are, of a network in the domain of voxels. ``condition``: (1, L, D, H, W) as encoded."""

    def __init__(self, condition: Tensor) -> None:
        self.condition = condition

    def source(self) -> None:
        """See Frame."""

    def noise(self, white: Tensor) -> Tensor:
        """See Frame."""
        return white

    encode = decode = noise


class ResidualFrame:
    """Bands of what an image shows beyond the image of means, in a box around what the mask covers.

    ``fractions`` (1, L, D, H, W), ``look``: the appearance wanted. Each side of the box is a multiple of ``divisor``;
    it may reach beyond the volume, into empty space.
    """

    def __init__(self, fractions: Tensor, coder: Coder, look: Look, divisor: int) -> None:
        self._coder, self._look, self._shape = coder, look, fractions.shape[2:]
        self._starts, self._sides = box_around(inside(fractions)[0, 0], divisor)
        self._fractions = cut(fractions, self._starts, self._sides)
        self.condition = residual_condition(look.source(self._fractions), self._fractions)

    def source(self) -> Tensor:
        """See Frame: the image of means."""
        return self._placed(self._look.source(self._fractions))

    def noise(self, white: Tensor) -> Tensor:
        """See Frame."""
        return to_bands(cut(white, self._starts, self._sides))

    def encode(self, images: Tensor) -> Tensor:
        """See Frame; nothing is seen where no label is."""
        images = cut(images, self._starts, self._sides, BACKGROUND)
        return self._coder.encode(self._look, self._look.left(images, self._fractions))

    def decode(self, x: Tensor) -> Tensor:
        """See Frame; -1 where no label is."""
        return self._placed(self._look.images(self._coder.decode(self._look, x), self._fractions))

    def _placed(self, images: Tensor) -> Tensor:
        return cut(images, tuple(-start for start in self._starts), self._shape, BACKGROUND)


def residual_condition(source: Tensor, fractions: Tensor) -> Tensor:
    """What the residual network is told: bands of the image of means, which are 0 outside, and mean fractions."""
    return torch.cat([to_bands(source - BACKGROUND), F.avg_pool3d(fractions, 2)], dim=1)


def box_around(mask: Tensor, divisor: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First voxel and sides, multiples of ``divisor``, of a box around ``mask`` (D, H, W) above 0 with a margin."""
    starts, sides = [], []
    for axis, length in enumerate(mask.shape):
        there = (mask.amax([other for other in range(3) if other != axis]) > 0).nonzero().flatten()
        first, last = (int(there[0]), int(there[-1])) if len(there) else (length // 2, length // 2)
        side = -(-(last + 1 - first + 2 * MARGIN) // divisor) * divisor
        starts.append((first + last + 1 - side) // 2)
        sides.append(side)
    return tuple(starts), tuple(sides)


def cut(volume: Tensor, starts: tuple[int, ...], sides: tuple[int, ...], fill: float = 0.0) -> Tensor:
    """The box of ``sides`` from ``starts`` on of a volume (..., D, H, W); ``fill`` where it reaches beyond that."""
    pads: list[int] = []
    for start, side, length in zip(starts, sides, volume.shape[-3:], strict=True):
        pads = [-start, start + side - length, *pads]
    return F.pad(volume, pads, value=fill)

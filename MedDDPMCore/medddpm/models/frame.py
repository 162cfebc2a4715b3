"""What a model computes in, for one condition: images themselves, or what they show beyond the means of the labels."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..network.appearance import BACKGROUND, Look, inside
from ..network.wavelet import to_bands

Box = tuple[slice, slice, slice]


class Frame(Protocol):
    """A way to write images (1, C, D, H, W) as the numbers that a network sees and samplers work on.

    ``condition``: the channels that follow them in the network's input.
    """

    condition: Tensor

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

    def noise(self, white: Tensor) -> Tensor:
        """See Frame."""
        return white

    encode = decode = noise


class ResidualFrame:
    """The scaled bands of what an image shows beyond the image of means, in the box around what the mask covers.

    ``fractions`` (1, L, D, H, W), ``look``: the appearance wanted. Each side of the box is a multiple of ``divisor``.
    """

    def __init__(self, fractions: Tensor, look: Look, divisor: int) -> None:
        self._look, self._shape = look, fractions.shape[2:]
        self._box = box_around(inside(fractions)[0, 0], divisor)
        fractions = fractions[:, :, *self._box]
        self._inside, self._source = inside(fractions), look.source(fractions)
        self.condition = residual_condition(self._source, fractions)

    def noise(self, white: Tensor) -> Tensor:
        """See Frame."""
        return to_bands(white[:, :, *self._box])

    def encode(self, images: Tensor) -> Tensor:
        """See Frame; nothing is seen where no label is."""
        return self._look.encode(images[:, :, *self._box], self._source, self._inside)

    def decode(self, x: Tensor) -> Tensor:
        """See Frame; -1 where no label is."""
        images = x.new_full((1, self._source.shape[1], *self._shape), BACKGROUND)
        images[:, :, *self._box] = self._look.decode(x, self._source, self._inside)
        return images


def residual_condition(source: Tensor, fractions: Tensor) -> Tensor:
    """What the residual network is told: bands of the image of means, which are 0 outside, and mean fractions."""
    return torch.cat([to_bands(source - BACKGROUND), F.avg_pool3d(fractions, 2)], dim=1)


def box_around(mask: Tensor, divisor: int) -> Box:
    """The smallest box (D, H, W) that holds all of ``mask`` above 0, its sides multiples of ``divisor``, as the
    volume's are; an empty mask has one of one step in the middle.
    """
    slices = []
    for axis, length in enumerate(mask.shape):
        others = [other for other in range(3) if other != axis]
        there = (mask.amax(others) > 0).nonzero().flatten()
        first, last = (int(there[0]), int(there[-1])) if len(there) else (length // 2, length // 2)
        size = -(-(last + 1 - first) // divisor) * divisor
        start = min(max(0, (first + last + 1 - size) // 2), length - size)
        slices.append(slice(start, start + size))
    return slices[0], slices[1], slices[2]

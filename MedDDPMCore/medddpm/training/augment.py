"""Augmentation that keeps image and mask together: flips, shifts, crops; the others are in ``training.warp`` and
``training.intensities``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import ModelConfig
from ..network.position import place_in_head
from .config import AugmentConfig
from .intensities import IntensityChange
from .warp import Warp

Pair = tuple[Tensor, Tensor]
Box = tuple[slice, slice, slice]


class Augmentation:
    """The augmentation that a training asks for, for images (C, D, H, W) and label fractions (L, D, H, W).

    All of it draws from the generator given, so that the same generator gives the same result, bit for bit on a CPU.
    Images keep within -1 and 1; fractions within 0 and 1, and their sum at most 1.
    """

    def __init__(self, config: AugmentConfig, model: ModelConfig) -> None:
        self._config = config
        self._background = model.background
        self._left_right = -1 - next(i for i, letter in enumerate(model.grid.orientation) if letter in "LR")
        spacing = tuple(reversed(model.grid.spacing))
        self._told = model.network.position
        self._warp = Warp(config, spacing, model.background) if config.affine or config.elastic else None
        self._intensity = IntensityChange(config, model.background) if config.intensity else None

    def __call__(self, images: Tensor, fractions: Tensor, generator: torch.Generator, progress: float = 0.0) -> Pair:
        """Both, changed; ``progress``: the share of the run that is done.

        In a crop for a network that is told the position, the three channels of ``place_in_head`` follow the fractions.
        """
        config = self._config
        if config.flip:
            images, fractions = flip_left_right(images, fractions, self._left_right, generator)
        if config.shift_voxels:
            images, fractions = shift(images, fractions, config.shift_voxels, self._background, generator)
        cropped = config.crop_voxels and progress < config.crop_until
        place = place_in_head(fractions[None])[0] if cropped and self._told else images[:0]
        box = random_box(images.shape[1:], config.crop_voxels if cropped else 0, generator)
        carried = torch.cat([images, place])
        if self._warp is not None:
            carried, fractions = self._warp(carried, fractions, box, generator)
        else:
            carried, fractions = carried[:, *box], fractions[:, *box]
        images, place = carried.split([len(images), len(place)])
        images = images if self._intensity is None else self._intensity(images, generator)
        return images, torch.cat([fractions, place])


def flip_left_right(images: Tensor, fractions: Tensor, axis: int, generator: torch.Generator) -> Pair:
    """Mirror both along ``axis`` (the spatial axis that runs left-right) with probability one half."""
    if torch.rand((), generator=generator) < 0.5:
        return images.flip(axis), fractions.flip(axis)
    return images, fractions


def shift(images: Tensor, fractions: Tensor, most: int, background: float, generator: torch.Generator) -> Pair:
    """Move both by the same whole voxels, up to ``most`` along each axis; what enters is empty space."""
    offsets = torch.randint(-most, most + 1, (3,), generator=generator).tolist()
    return _moved(images, offsets, background), _moved(fractions, offsets, 0.0)


def random_box(shape: torch.Size, side: int, generator: torch.Generator) -> Box:
    """A random cube of ``side`` voxels (less where the volume is smaller) in a volume of ``shape``; 0 for all of it."""
    first, second, third = (_random_range(length, side, generator) for length in shape)
    return first, second, third


def _random_range(length: int, side: int, generator: torch.Generator) -> slice:
    if not 0 < side < length:
        return slice(0, length)
    start = int(torch.randint(length - side + 1, (), generator=generator))
    return slice(start, start + side)


def _moved(x: Tensor, offsets: list[int], fill: float) -> Tensor:
    moved = x.roll(offsets, dims=(-3, -2, -1))
    for dim, offset in zip((-3, -2, -1), offsets, strict=True):
        offset = max(-x.shape[dim], min(x.shape[dim], offset))
        if offset:
            start = 0 if offset > 0 else x.shape[dim] + offset
            moved.narrow(dim, start, abs(offset)).fill_(fill)
    return moved

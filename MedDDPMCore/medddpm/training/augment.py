"""Augmentation that keeps image and mask together."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import ModelConfig
from .config import TrainConfig


class Augmentation:
    """The augmentation that a training asks for, for images (C, D, H, W) and label fractions (L, D, H, W)."""

    def __init__(self, config: TrainConfig, model: ModelConfig) -> None:
        self._config = config
        self._background = model.background
        self._left_right = -1 - next(i for i, letter in enumerate(model.grid.orientation) if letter in "LR")

    def __call__(self, images: Tensor, fractions: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        config = self._config
        if config.flip:
            images, fractions = flip_left_right(images, fractions, self._left_right, generator)
        if config.shift_voxels:
            images, fractions = shift(images, fractions, config.shift_voxels, self._background, generator)
        if config.crop_voxels:
            images, fractions = crop(images, fractions, config.crop_voxels, generator)
        return images, fractions


def flip_left_right(images: Tensor, fractions: Tensor, axis: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror both along ``axis`` (the spatial axis that runs left-right) with probability one half."""
    if torch.rand((), generator=generator) < 0.5:
        return images.flip(axis), fractions.flip(axis)
    return images, fractions


def shift(
    images: Tensor, fractions: Tensor, most: int, background: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Move both by the same whole voxels, up to ``most`` along each axis; what enters is empty space."""
    offsets = torch.randint(-most, most + 1, (3,), generator=generator).tolist()
    return _moved(images, offsets, background), _moved(fractions, offsets, 0.0)


def crop(images: Tensor, fractions: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same random cube of ``side`` voxels (less where the volume is smaller) of both."""
    for dim in (-3, -2, -1):
        length = min(side, images.shape[dim])
        start = int(torch.randint(images.shape[dim] - length + 1, (), generator=generator))
        images, fractions = images.narrow(dim, start, length), fractions.narrow(dim, start, length)
    return images, fractions


def _moved(x: Tensor, offsets: list[int], fill: float) -> Tensor:
    moved = x.roll(offsets, dims=(-3, -2, -1))
    for dim, offset in zip((-3, -2, -1), offsets, strict=True):
        if offset:
            start = 0 if offset > 0 else x.shape[dim] + offset
            moved.narrow(dim, start, abs(offset)).fill_(fill)
    return moved

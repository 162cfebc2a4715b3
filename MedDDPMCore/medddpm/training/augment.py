"""Augmentation that keeps image and mask together: flips, shifts, crops; the others are in ``training.warp`` and
``training.intensities``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import ModelConfig
from ..models.frame import cut
from ..network.position import place_in_head
from .config import AugmentConfig
from .dataset import as_floats
from .intensities import IntensityChange
from .warp import Warp

RIM = 16  # voxels; the filters of ``network.appearance`` fall off within fewer
COARSE = 4  # every how many voxels a label is looked for when a cube is placed
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
        self._rim = RIM if model.network.domain == "residual" else 0
        self._tumor = [i for i, label in enumerate(model.scheme.labels) if label.tumor]
        self._warp = Warp(config, spacing, model.background) if config.affine or config.elastic else None
        self._intensity = IntensityChange(config, model.background) if config.intensity else None

    def __call__(self, images: Tensor, fractions: Tensor, generator: torch.Generator, progress: float = 0.0) -> Pair:
        """Both, changed, as float32; ``progress``: the share of the run that is done. They may come as stored.

        In a crop for a network that is told the position, the three channels of ``place_in_head`` follow the fractions.
        """
        config = self._config
        cropped, rim = self._cropped(progress), self.rim(progress)
        box = self._box(fractions, generator) if cropped else _whole(images.shape[1:])
        if self._warp is None and not self._told:  # nothing asks for what is outside of the box
            starts = tuple(part.start - rim for part in box)
            sides = tuple(part.stop - part.start + 2 * rim for part in box)
            images, fractions = cut(images, starts, sides, self._background), cut(fractions, starts, sides)
            box = _whole(images.shape[1:])
        images, fractions = as_floats(images, fractions) if fractions.dtype == torch.uint8 else (images, fractions)
        if config.flip:
            images, fractions = flip_left_right(images, fractions, self._left_right, generator)
        if config.shift_voxels and not cropped:
            images, fractions = shift(images, fractions, config.shift_voxels, self._background, generator)
        place = place_in_head(fractions[None])[0] if cropped and self._told else images[:0]
        carried = torch.cat([images, place])
        if self._warp is not None:
            carried, fractions = self._warp(carried, fractions, box, generator)
        else:
            carried, fractions = carried[:, *box], fractions[:, *box]
        images, place = carried.split([len(images), len(place)])
        images = images if self._intensity is None else self._intensity(images, generator)
        return images, torch.cat([fractions, place])

    def rim(self, progress: float) -> int:
        """How many voxels come around a cube, into which the filters of a network in the residual domain reach."""
        return self._rim if self._cropped(progress) else 0

    def _cropped(self, progress: float) -> bool:
        return bool(self._config.crop_voxels) and progress < self._config.crop_until

    def _box(self, fractions: Tensor, generator: torch.Generator) -> Box:
        """A cube with a labeled voxel, or a tumor voxel; anywhere in an empty mask."""
        config = self._config
        coarse = fractions[:, ::COARSE, ::COARSE, ::COARSE]
        on_tumor = float(torch.rand((), generator=generator)) < config.crop_tumor
        for labels in ([self._tumor] if on_tumor and self._tumor else []) + [list(range(len(fractions)))]:
            found = (coarse[labels].amax(0) > 0).nonzero()
            if len(found):
                break
        else:
            found = torch.ones(coarse.shape[1:]).nonzero()
        chosen = found[int(torch.randint(len(found), (), generator=generator))] * COARSE
        return box_at(fractions.shape[1:], config.crop_voxels, tuple(chosen.tolist()), generator)


def flip_left_right(images: Tensor, fractions: Tensor, axis: int, generator: torch.Generator) -> Pair:
    """Mirror both along ``axis`` (the spatial axis that runs left-right) with probability one half."""
    if torch.rand((), generator=generator) < 0.5:
        return images.flip(axis), fractions.flip(axis)
    return images, fractions


def shift(images: Tensor, fractions: Tensor, most: int, background: float, generator: torch.Generator) -> Pair:
    """Move both by the same whole voxels, up to ``most`` along each axis; what enters is empty space."""
    offsets = torch.randint(-most, most + 1, (3,), generator=generator).tolist()
    return _moved(images, offsets, background), _moved(fractions, offsets, 0.0)


def box_at(shape: torch.Size, side: int, voxel: tuple[int, ...], generator: torch.Generator) -> Box:
    """A random cube of ``side`` voxels in a volume of ``shape`` that holds ``voxel``; less of a smaller volume."""
    slices = []
    for length, at in zip(shape, voxel, strict=True):
        size = min(side, length)
        first, last = max(0, at - size + 1), min(at, length - size)
        start = first + int(torch.randint(last - first + 1, (), generator=generator))
        slices.append(slice(start, start + size))
    return slices[0], slices[1], slices[2]


def _whole(shape: torch.Size) -> Box:
    return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])


def _moved(x: Tensor, offsets: list[int], fill: float) -> Tensor:
    moved = x.roll(offsets, dims=(-3, -2, -1))
    for dim, offset in zip((-3, -2, -1), offsets, strict=True):
        offset = max(-x.shape[dim], min(x.shape[dim], offset))
        if offset:
            start = 0 if offset > 0 else x.shape[dim] + offset
            moved.narrow(dim, start, abs(offset)).fill_(fill)
    return moved

"""Augmentation that keeps image and mask together: flips, shifts, crops; the others are in ``training.warp`` and
``training.intensities``.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import ModelConfig
from ..models.frame import cut
from ..network.position import place_in_head
from .config import AugmentConfig
from .dataset import as_floats

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
        if config.intensity:
            images = change_intensities(images, config, self._background, generator)
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


# Less of a voxel than this no prepared mask knows: its fractions are stored in steps of 1/255.
SMALLEST_FRACTION = 1 / 510


class Warp:
    """The deformation that ``AugmentConfig`` describes; ``spacing`` in mm along (D, H, W).

    Lengths and angles are those of the patient, whatever the spacing. Every output voxel is interpolated once,
    linearly, from the volume before; what lies outside of it is empty space.
    """

    def __init__(self, config: AugmentConfig, spacing: tuple[float, ...], background: float) -> None:
        self._config, self._background = config, background
        self._spacing = torch.tensor(spacing, dtype=torch.float32)

    def __call__(
        self, images: Tensor, fractions: Tensor, box: tuple[slice, slice, slice], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The voxels of ``box`` of the deformed images (C, D, H, W) and fractions (L, D, H, W)."""
        matrix = self._affine(generator)
        bumps = self._elastic(images.shape[1:], generator)
        if matrix is None and bumps is None:
            return images[:, *box], fractions[:, *box]
        points = self._points(images.shape[1:], box)
        if bumps is not None:
            points = points + bumps[:, *box] / self._spacing[:, None, None, None]
        if matrix is not None:
            points = torch.einsum("ij,jdhw->idhw", matrix, points)
        both = torch.cat([images - self._background, fractions])
        moved = _resampled(both, points)
        return moved[: len(images)] + self._background, _as_fractions(moved[len(images) :])

    def _points(self, shape: torch.Size, box: tuple[slice, slice, slice]) -> Tensor:
        """The places of the box's voxels, (3, D, H, W), in voxels from the center of the volume."""
        axes = [torch.arange(part.start, part.stop) - (side - 1) / 2 for side, part in zip(shape, box, strict=True)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"))

    def _affine(self, generator: torch.Generator) -> Tensor | None:
        """From an output voxel to the place that it is taken from, in voxels around the center, (3, 3)."""
        config = self._config
        if not _chosen(config.affine, generator):
            return None
        angles = math.radians(config.rotation_degrees) * _between(3, generator)
        scales = 1 + config.scaling * _between(3, generator)
        rotation = _rotation_about(0, angles[0]) @ _rotation_about(1, angles[1]) @ _rotation_about(2, angles[2])
        in_mm = rotation / scales
        return in_mm * self._spacing[None] / self._spacing[:, None]

    def _elastic(self, shape: torch.Size, generator: torch.Generator) -> Tensor | None:
        """The displacement of every voxel in mm, (3, D, H, W): smooth noise, at most ``elastic_mm`` along each axis."""
        config = self._config
        if not _chosen(config.elastic, generator):
            return None
        # One random vector every half width, smoothed over as much, gives bumps of about that width.
        step = config.elastic_smoothness_mm / 2
        sides = [math.ceil(n * s / step) + 3 for n, s in zip(shape, self._spacing.tolist(), strict=True)]
        coarse = _smoothed(torch.randn((1, 3, *sides), generator=generator))
        bumps = F.interpolate(coarse, size=tuple(shape), mode="trilinear", align_corners=True)[0]
        strength = config.elastic_mm * float(torch.rand((), generator=generator))
        return strength * bumps / bumps.abs().amax().clamp_min(1e-6)


def _chosen(probability: float, generator: torch.Generator) -> bool:
    return float(torch.rand((), generator=generator)) < probability


def _between(count: int, generator: torch.Generator) -> Tensor:
    """Numbers evenly between -1 and 1."""
    return torch.rand(count, generator=generator) * 2 - 1


def _rotation_about(axis: int, angle: Tensor) -> Tensor:
    matrix = torch.eye(3)
    first, second = (i for i in range(3) if i != axis)
    matrix[first, first] = matrix[second, second] = angle.cos()
    matrix[first, second], matrix[second, first] = -angle.sin(), angle.sin()
    return matrix


def _as_fractions(moved: Tensor) -> Tensor:
    """Interpolated fractions as proper ones: 0 to 1, together at most 1."""
    clean = torch.where(moved < SMALLEST_FRACTION, 0.0, moved)
    return clean / clean.sum(0, keepdim=True).clamp_min(1.0)


def _resampled(volume: Tensor, points: Tensor) -> Tensor:
    """``volume`` (C, D, H, W) at ``points`` (3, ...) in voxels from its center; 0 outside of it."""
    to_edges = torch.tensor([2.0 / max(2, side) for side in volume.shape[:0:-1]], dtype=torch.float64)
    grid = points.flip(0).permute(1, 2, 3, 0).double() * to_edges
    return F.grid_sample(volume.double()[None], grid[None], padding_mode="zeros", align_corners=False)[0].float()


def _smoothed(noise: Tensor) -> Tensor:
    """(1, C, D, H, W) under a Gaussian of one voxel: the integral of its bell over each voxel, along each axis."""
    ends = 0.70710678 * (torch.arange(-4.0, 6.0) - 0.5)
    kernel = (0.5 * (ends[1:].erf() - ends[:-1].erf())).clamp(min=0)
    for axis in range(3):
        shape, padding = [1] * 5, [0] * 3
        shape[axis + 2], padding[axis] = -1, len(kernel) // 2
        weight = kernel.reshape(shape).repeat(noise.shape[1], 1, 1, 1, 1)
        noise = F.conv3d(noise, weight, padding=padding, groups=noise.shape[1])
    return noise


# A bias field of polynomials is smooth: it is computed at this many points along each axis, and interpolated.
FIELD_POINTS, FIELD_DEGREE = 16, 3
# An intensity this close to the background's is background; prepared images are in half precision.
TOLERANCE = 2e-3


def change_intensities(images: Tensor, config: AugmentConfig, background: float, generator: torch.Generator) -> Tensor:
    """Each of the changes that scanners differ by, for each image on its own, as probable as ``config.intensity``.

    Images are (C, D, H, W) in [-1, 1] and stay so; voxels of the background's value are not changed.
    """

    def chosen() -> bool:
        return _chosen(config.intensity, generator)

    def drawn() -> float:
        return float(torch.rand((), generator=generator))

    changed = []
    for image in images:
        share = (image + 1) / 2  # bias and gamma act on the share of the brightest value, 0 to 1
        if chosen() and config.bias_field:
            share = share * bias_field(share.shape, config.bias_field * drawn(), generator)
        if chosen() and config.gamma:
            share = share.clamp(0, 1) ** ((1 + config.gamma) ** (drawn() * 2 - 1))
        noise = torch.zeros(())
        if chosen() and config.noise:
            strength = config.noise * drawn()
            noise = strength * torch.randn(share.shape, generator=generator)
        changed.append(2 * share - 1 + noise)
    empty = (images - background).abs() < TOLERANCE
    return torch.where(empty, images, torch.stack(changed).clamp(-1, 1))


def bias_field(shape: torch.Size, strength: float, generator: torch.Generator) -> Tensor:
    """A smooth field around 1 of ``shape`` to multiply an image with, from exp(-strength) to exp(strength).

    Its logarithm is a sum of Legendre polynomials of degree 3 at most, with random coefficients (as MONAI's
    RandBiasField), less its mean, so that the image as a whole becomes neither brighter nor darker.
    """
    drawn = np.random.RandomState(int(torch.randint(2**31, (), generator=generator)))
    drawn.rand()
    degrees = [ijk for ijk in itertools.product(range(FIELD_DEGREE + 1), repeat=3) if sum(ijk) <= FIELD_DEGREE]
    coefficients = np.zeros((FIELD_DEGREE + 1,) * 3)
    coefficients[tuple(np.transpose(degrees))] = drawn.uniform(-1.0, 1.0, len(degrees))
    points = np.linspace(-1.0, 1.0, FIELD_POINTS, dtype=np.float32)
    # By way of the field itself in single precision, so that runs of former versions go on bit for bit.
    field = np.exp(np.polynomial.legendre.leggrid3d(points, points, points, coefficients))
    coarse = torch.from_numpy(field).float().log()
    coarse = coarse - coarse.mean()
    smooth = F.interpolate(coarse[None, None], size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]
    return (smooth * (strength / smooth.abs().amax().clamp_min(1e-6))).exp()

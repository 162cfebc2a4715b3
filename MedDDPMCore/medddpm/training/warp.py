"""Random affine and elastic deformation of an image and its mask together."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import AugmentConfig

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

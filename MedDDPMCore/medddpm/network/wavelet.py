"""One level of the orthonormal 3D Haar transform: between voxels and bands at half the resolution.

Orthonormal means that white noise stays white noise of the same strength, and that a sum of squares is the same on
both sides; so a diffusion model may live on either side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .spectrum import AXES

BANDS = 8  # of a block of 2x2x2 voxels: its mean and seven differences


def to_bands(x: Tensor) -> Tensor:
    """(B, C, D, H, W) with even sides -> (B, 8 C, D/2, H/2, W/2); channel 8 c + b is band b of channel c.

    Band 0 is the mean of a block times sqrt(8); the highest bit of b tells whether it is a difference along D, the
    lowest whether it is one along W.
    """
    parts = [x]
    for axis in AXES:  # a third of the time of a product with the matrix of all bands
        pairs = [part.unflatten(axis, (-1, 2)).unbind(axis) for part in parts]
        parts = [found for first, second in pairs for found in (first + second, first - second)]
    return (torch.stack(parts, dim=2) / BANDS**0.5).flatten(1, 2)


def from_bands(bands: Tensor) -> Tensor:
    """The inverse of ``to_bands``."""
    parts = bands.unflatten(1, (-1, BANDS)).unbind(2)
    for axis in reversed(AXES):
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = tuple(torch.stack((a + b, a - b), dim=axis).flatten(axis - 1, axis) for a, b in pairs)
    return parts[0] / BANDS**0.5
